"""Checks of the weights: those that ship, and BlazePose's in the cache."""

from __future__ import annotations

import json
from pathlib import Path

from ..detect.weights import VARIANTS, landmark_network
from ..downloads.cache import build_record, file_sha256
from ..downloads.manifest import BLAZEPOSE_FOLDER, FILES
from ..io.paths import cache_folder, share_folder
from .result import Result, error, ok, warning

#: File with the SHA-256 of the shipped weights, as `sha256sum` writes it; tools/generate.py makes
#: it.
SUMS = "SHA256SUMS"

#: What to do about shipped weights that are missing or damaged.
_AGAIN = "install emf_ros again (in a clone: git checkout models)"


def shipped(folder: Path | None = None) -> list[Result]:
    """The weights that ship are there and undamaged.

    Args:
        folder: of the weights; None: the installed ones.
    """
    folder = share_folder("models") if folder is None else folder
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
        expected = {name: sha256 for sha256, name in (line.split(maxsplit=1) for line in lines)}
    except (OSError, ValueError):
        return [error("weights", f"{folder / SUMS} is missing or damaged", _AGAIN)]
    results = []
    for name, sha256 in expected.items():
        found = file_sha256(folder / name)
        if found is None:
            results.append(error("weights", f"{folder / name} is missing", _AGAIN))
        elif found != sha256:
            results.append(
                error(
                    "weights",
                    f"{folder / name} is damaged or not the shipped file: its SHA-256 differs",
                    _AGAIN,
                )
            )
    return results or [ok("weights", f"{', '.join(expected)} in {folder} are undamaged")]


def downloaded(cache: Path | None = None) -> list[Result]:
    """BlazePose's networks in the cache are undamaged.

    Args:
        cache: folder of downloads; None: the user's.
    """
    cache = cache_folder() if cache is None else cache
    folder = cache / BLAZEPOSE_FOLDER
    fetch = "ros2 run emf_ros fetch_weights, or fetch_weights"
    results = []
    names = [path for path in FILES if path.startswith(f"{BLAZEPOSE_FOLDER}/")]
    present = [name for name in names if (cache / name).exists()]
    for name in present:
        if file_sha256(cache / name) != FILES[name][1].sha256:
            results.append(
                error(
                    "BlazePose",
                    f"{cache / name} is damaged: its SHA-256 differs",
                    f"{fetch}: it downloads the file again",
                )
            )
    for path in sorted(folder.glob("*.onnx")):
        record = build_record(path)
        try:
            sha256 = json.loads(record.read_text(encoding="utf-8"))["sha256"]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # a file of the user's
        if file_sha256(path) != sha256:
            results.append(
                error(
                    "BlazePose",
                    f"{path} is damaged: its SHA-256 differs",
                    f"{fetch}: it converts the network again",
                )
            )
    if results:
        return results
    full = f"{BLAZEPOSE_FOLDER}/{landmark_network('full')}"
    if full not in present:
        return [
            warning(
                "BlazePose",
                f"its weights are not in {folder}: the first start downloads 36 MB",
                f"{fetch}, while there is a network",
            )
        ]
    variants = [v for v in VARIANTS if f"{BLAZEPOSE_FOLDER}/{landmark_network(v)}" in present]
    return [ok("BlazePose", f"{', '.join(variants)} in {folder} are undamaged")]
