"""BlazePose's weights: the networks as published, and converted to ONNX.

The networks are downloaded into the cache (see `downloads`), and converted there when they are
first used.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from ..downloads.cache import DownloadError, ensure_built
from ..downloads.fetch import ensure_file
from ..downloads.manifest import BLAZEPOSE_FOLDER, FILES
from ..former_names import former_names
from ..io.paths import cache_folder

__all__ = ["VARIANTS", "available_variants", "ensure_onnx", "ensure_tflite", "landmark_network"]

#: Sizes of the landmark network, lightest first.
VARIANTS = ("lite", "full", "heavy")
#: File of the person detection network.
DETECTION_NETWORK = "pose_detection.tflite"
#: Names of the outputs of the person detection network, by their index.
DETECTION_OUTPUTS = {0: "boxes", 1: "scores"}
#: Names of the outputs of the landmark network, by their index. The third, a segmentation, is not
#: used.
LANDMARK_OUTPUTS = {0: "landmarks", 1: "presence", 3: "heatmap", 4: "world"}
#: Values that the person detection network takes for the tones 0 and 255.
DETECTION_TONES = (-1.0, 1.0)
#: Values that the landmark network takes for the tones 0 and 255.
LANDMARK_TONES = (0.0, 1.0)
#: Version of the conversion to ONNX. It is in the file's name: releases may share the cache.
CONVERSION_VERSION = 4


def landmark_network(variant: str) -> str:
    """File name of a variant's landmark network.

    Raises:
        DownloadError: there is no such variant.
    """
    if variant not in VARIANTS:
        names = ", ".join(available_variants())
        raise DownloadError(f"BlazePose has no variant '{variant}': choose one of {names}.")
    return f"pose_landmark_{variant}.tflite"


def available_variants() -> tuple[str, ...]:
    """The variants that are available here, lightest first.

    "full" always; "lite" and "heavy" where npm is installed, or where the cache has them already.
    """

    def is_available(name: str) -> bool:
        by_pip = FILES[name][0].client == "pip"
        return by_pip or bool(shutil.which("npm")) or (cache_folder() / name).exists()

    return tuple(v for v in VARIANTS if is_available(f"{BLAZEPOSE_FOLDER}/{landmark_network(v)}"))


def network_sha256(name: str) -> str:
    """SHA-256 of one of BlazePose's networks as published."""
    return FILES[f"{BLAZEPOSE_FOLDER}/{name}"][1].sha256


def ensure_tflite(name: str) -> Path:
    """Path of one of BlazePose's networks as published; it is downloaded when needed.

    Raises:
        DownloadError: there is no such network, or it is not available.
    """
    path = f"{BLAZEPOSE_FOLDER}/{name}"
    if path not in FILES:
        names = sorted(Path(known).name for known in FILES if known.startswith(BLAZEPOSE_FOLDER))
        raise DownloadError(f"No network '{name}': there are {', '.join(names)}.")
    return ensure_file(path)


def ensure_onnx(variant: str | None = None) -> Path:
    """Path of one of BlazePose's networks as ONNX; it is downloaded and converted when needed.

    The person detection network takes `image` (N, 224, 224, 3) uint8, RGB, and gives

        boxes   (N, 2254, 12), px of the input, relative to each anchor: the centre, the size and
                four points, x before y
        scores  (N, 2254, 1), logits.

    The landmark network takes `image` (N, 256, 256, 3) uint8, RGB, and gives

        landmarks  (N, 195) of 39 points: x, y, z in px of the input, visibility and presence as
                   logits
        presence   (N, 1) of a person, 0..1
        heatmap    (N, 39, 64, 64), logits
        world      (N, 117) of 39 points: x, y, z, m, from the middle of the hips.

    The first call downloads 36 MB, for "lite" and "heavy" another 41 MB.

    Args:
        variant: of the landmark network; None for the person detection network.

    Raises:
        DownloadError: there is no such variant, or it is not available.
    """
    name = DETECTION_NETWORK if variant is None else landmark_network(variant)
    outputs = DETECTION_OUTPUTS if variant is None else LANDMARK_OUTPUTS
    tones = DETECTION_TONES if variant is None else LANDMARK_TONES
    sha256, stem = network_sha256(name), Path(name).stem

    def build() -> bytes:
        from .tflite_graph import ConversionError
        from .tflite_to_onnx import convert

        network = ensure_tflite(name).read_bytes()
        try:
            return convert(network, outputs, stem, tones)
        except ConversionError as error:
            raise DownloadError(f"{name} cannot be converted to ONNX: {error}") from error

    recipe = {"recipe": CONVERSION_VERSION, "sources": {"network": sha256}}
    file = f"{stem}_{sha256[:12]}_{CONVERSION_VERSION}.onnx"
    return ensure_built(cache_folder() / BLAZEPOSE_FOLDER / file, recipe, build)


__getattr__ = former_names(__name__)
