"""The settings that the results of a folder were made with; results of others are refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from .. import __version__
from ..detect.onnx.config import files_of_model
from ..detect.protocol import DetectorError
from ..downloads.cache import file_sha256
from ..io.calibration.reader import file_and_name
from ..io.frame_source import VideoError
from ..io.outputs import OutputError, write_text
from ..io.paths import from_home
from ..lift.engine import weights_file
from .lifting import LiftSettings

#: Name of the file that has the settings of a folder's results.
SETTINGS_NAME = "lift.json"

#: Settings that do not change the results.
_NO_RESULT = ("device", "threads")

#: Settings that name files, or for which a file of this package is taken.
_FILES = ("weights", "model", "camera_info")


def check_same(folder: str | Path, settings: LiftSettings, formats: Sequence[str]) -> None:
    """Refuse a folder that holds results of other settings.

    Files among the settings, such as the intrinsics, are compared by what they hold: a file of the
    same name may have changed, and one file has several names.

    Args:
        folder: of the results; it may be missing.
        settings: how sources are to be lifted.
        formats: endings of the files beside the npz.

    Raises:
        OutputError: the folder has such results, or a file of the settings cannot be read.
        EngineError, VideoError: there are no such weights, or no such detector.
    """
    now, contents = _described(settings, formats), _contents(settings)
    path = Path(folder) / SETTINGS_NAME
    if not path.exists():
        return
    try:
        before = json.loads(path.read_text("utf-8"))
        changes = ", ".join(
            f"{name} {before.get(name)!r}, not {value!r}"
            for name, value in now.items()
            if before.get(name) != value
        )
        files = before.get("files", {})
        changed = [name for name, value in contents.items() if files.get(name) != value]
    except (AttributeError, OSError, ValueError) as error:
        raise OutputError(f"cannot read {path}: {error}") from None
    for name in changed:
        given = f" {value}" if (value := getattr(settings, name)) else ""
        changes += f"{', ' if changes else ''}{name}{given} has changed, or is another file"
    if changes:
        raise OutputError(
            f"{folder} has results of other settings ({changes}): choose another folder"
        )


def write_settings(folder: str | Path, settings: LiftSettings, formats: Sequence[str]) -> None:
    """Write the settings that `check_same` compares.

    Raises:
        OutputError: they cannot be written, or a file of the settings cannot be read.
        EngineError, VideoError: there are no such weights, or no such detector.
    """
    described = {**_described(settings, formats), "files": _contents(settings)}
    text = json.dumps(described, indent=1)
    write_text(Path(folder) / SETTINGS_NAME, f"{text}\n")


def _described(settings: LiftSettings, formats: Sequence[str]) -> dict[str, object]:
    """The settings that the results depend on, but for the files."""
    described: dict[str, object] = {"emf_ros": __version__, "formats": sorted(formats)}
    for name, value in asdict(settings).items():
        if name not in (*_NO_RESULT, *_FILES):
            described[name] = value
    return described


def _contents(settings: LiftSettings) -> dict[str, list[str]]:
    """SHA-256 of the files of each setting that names files; empty where it names none."""
    weights = weights_file(settings.preset, settings.weights)
    # Either may run: `lift.engine`.
    exported = weights.with_suffix(".onnx")
    files = {"weights": [weights, exported] if exported.is_file() else [weights]}
    selected: list[str] = []
    if settings.camera_info:
        camera, name = file_and_name(settings.camera_info)
        files["camera_info"] = [camera]
        selected = [f"#{name}"] if name else []
    if settings.detector == "onnx" and settings.model:
        try:
            files["model"] = files_of_model(from_home(settings.model))
        except DetectorError as error:
            raise VideoError(str(error)) from None
    contents: dict[str, list[str]] = {name: [] for name in _FILES}
    for name, paths in files.items():
        for path in dict.fromkeys(paths):
            found = file_sha256(path)
            if found is None:
                raise OutputError(f"cannot read {path}, which {name} names")
            contents[name].append(found)
    contents["camera_info"] += selected
    return contents
