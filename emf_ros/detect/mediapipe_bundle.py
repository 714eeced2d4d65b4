"""Builds the bundle (.task) of BlazePose that MediaPipe's Tasks API loads.

A bundle is a zip of two networks, each with metadata on the normalisation of its input image.
The published networks have no such metadata; it is added here, with mediapipe's own schema. A
bundle that is built here has a record (.json) beside it. One without a record is the user's own,
and is used as it is.
"""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

from ..downloads.cache import DownloadError, build_record, ensure_built
from ..downloads.manifest import BLAZEPOSE_FOLDER
from ..io.paths import cache_folder
from .weights import DETECTION_NETWORK, ensure_tflite, landmark_network, network_sha256

#: Name of the person detection network in a bundle.
BUNDLE_DETECTION = "pose_detector.tflite"
#: Name of the landmark network in a bundle.
BUNDLE_LANDMARKS = "pose_landmarks_detector.tflite"
#: Mean and standard deviation that normalise the detection network's input to -1..1.
DETECTION_NORMALISATION = (127.5, 127.5)
#: Mean and standard deviation that normalise the landmark network's input to 0..1.
LANDMARK_NORMALISATION = (0.0, 255.0)
#: Version of the bundle's building: bundles of another version are built again.
BUNDLE_VERSION = 1
#: Alignment of the networks in a bundle and of the weights in a network, bytes.
ALIGNMENT_BYTES = 16
#: Length of the header of a member of a zip without its name, bytes.
ZIP_HEADER_BYTES = 30
#: Length of the header of an extra field in a zip, bytes.
ZIP_EXTRA_HEADER_BYTES = 4
#: Identifier of the extra field that tools use for padding in a zip.
ZIP_PADDING_ID = 0xD935
#: Name of the metadata entry that is written into a network.
METADATA_NAME = "TFLITE_METADATA"
#: Room that the metadata may take beside the network, bytes.
METADATA_ROOM_BYTES = 65536


def bundle_path(variant: str) -> Path:
    """Path of a variant's bundle in the cache."""
    return cache_folder() / BLAZEPOSE_FOLDER / f"pose_landmarker_{variant}.task"


def ensure_pose_task(variant: str = "full") -> Path:
    """Path of a variant's bundle; its networks are downloaded and it is built when needed.

    The first call downloads 36 MB, for "lite" and "heavy" another 41 MB, and needs mediapipe. Later
    ones read the bundle (6, 9 or 30 MB) to check it.

    Raises:
        DownloadError: there is no such variant, or it is not available.
    """
    landmarks, path = landmark_network(variant), bundle_path(variant)
    if not build_record(path).exists() and is_whole_bundle(path):
        return path

    def build() -> bytes:
        # The landmarks first: where npm is missing, nothing is downloaded in vain.
        landmark, detection = (
            ensure_tflite(n).read_bytes() for n in (landmarks, DETECTION_NETWORK)
        )
        return _stored_zip(
            {
                BUNDLE_DETECTION: _with_normalisation(detection, *DETECTION_NORMALISATION),
                BUNDLE_LANDMARKS: _with_normalisation(landmark, *LANDMARK_NORMALISATION),
            }
        )

    sources = {BUNDLE_DETECTION: DETECTION_NETWORK, BUNDLE_LANDMARKS: landmarks}
    hashes = {member: network_sha256(source) for member, source in sources.items()}
    return ensure_built(path, {"recipe": BUNDLE_VERSION, "sources": hashes}, build)


def is_whole_bundle(path: Path) -> bool:
    """Whether a file is an undamaged bundle of the pose landmarker."""
    try:
        with zipfile.ZipFile(path) as bundle:
            names = set(bundle.namelist())
            return {BUNDLE_DETECTION, BUNDLE_LANDMARKS} <= names and bundle.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False


def _stored_zip(members: dict[str, bytes]) -> bytes:
    """Make an uncompressed zip: mediapipe maps the networks straight from the file.

    Each network starts at a multiple of the alignment that its weights need. The padding before it
    is an extra field of the zip, which readers skip. The times of the members are fixed, so that
    the same networks always give the same bundle.
    """
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as bundle:
        for name, data in members.items():
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            start = file.tell() + ZIP_HEADER_BYTES + len(name.encode()) + ZIP_EXTRA_HEADER_BYTES
            padding = -start % ALIGNMENT_BYTES
            info.extra = struct.pack("<HH", ZIP_PADDING_ID, padding) + bytes(padding)
            bundle.writestr(info, data)
    return file.getvalue()


def _text(value: bytes | str | None) -> str:
    """Decode a string of the schema module, which gives bytes for a string that it has read."""
    return value.decode() if isinstance(value, bytes) else value or ""


def _with_normalisation(network: bytes, mean: float, std: float) -> bytes:
    """The network with metadata of its input: an RGB image, (value - mean) / std."""
    try:
        import flatbuffers
        from mediapipe.tasks.metadata import metadata_schema_py_generated as meta
        from mediapipe.tasks.metadata import schema_py_generated as tflite
    except ImportError as error:
        raise DownloadError(
            f"The detector 'mediapipe' needs a package that this Python lacks ({error}).\n"
            "Install it with: pip install mediapipe==1.2.2"
        ) from error

    options = meta.NormalizationOptionsT()
    options.mean, options.std = [mean], [std]
    unit = meta.ProcessUnitT()
    unit.optionsType = meta.ProcessUnitOptions.NormalizationOptions
    unit.options = options
    image = meta.ImagePropertiesT()
    image.colorSpace = meta.ColorSpaceType.RGB
    content = meta.ContentT()
    content.contentPropertiesType = meta.ContentProperties.ImageProperties
    content.contentProperties = image
    tensor = meta.TensorMetadataT()
    tensor.name = "image"
    tensor.content = content
    tensor.processUnits = [unit]
    graph = meta.SubGraphMetadataT()
    graph.inputTensorMetadata = [tensor]
    description = meta.ModelMetadataT()
    description.subgraphMetadata = [graph]
    description.minParserVersion = "1.0.0"
    builder = flatbuffers.Builder(0)
    builder.Finish(description.Pack(builder), b"M001")

    class AlignedBuilder(flatbuffers.Builder):
        """Aligns byte vectors, the weights among them, so that TensorFlow Lite can use them in
        place.

        The schema asks for 16 bytes; the generated Python code leaves that out.
        """

        def StartVector(self, elemSize, numElems, alignment):  # noqa: N802, N803 (its names)
            aligned = ALIGNMENT_BYTES if elemSize == 1 else alignment
            return super().StartVector(elemSize, numElems, aligned)

    # The detection network has metadata of its own, about faces, which are replaced.
    model = tflite.ModelT.InitFromPackedBuf(network, 0)
    kept = [entry for entry in model.metadata or [] if _text(entry.name) != METADATA_NAME]
    buffer = tflite.BufferT()
    buffer.data = bytes(builder.Output())
    model.buffers.append(buffer)
    entry = tflite.MetadataT()
    entry.name = METADATA_NAME
    entry.buffer = len(model.buffers) - 1
    model.metadata = [*kept, entry]
    builder = AlignedBuilder(len(network) + METADATA_ROOM_BYTES)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
