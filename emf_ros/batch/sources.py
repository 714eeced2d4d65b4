"""The sources in files and folders: videos, folders of images and bags."""

from __future__ import annotations

import os
from pathlib import Path

from ..io.bags import is_bag
from ..io.frame_source import VideoError
from ..io.paths import IMAGE_SUFFIXES, from_home
from ..io.video import natural_order

#: Endings of the videos that are looked for in folders.
VIDEO_SUFFIXES = (
    ".mp4",
    ".m4v",
    ".mov",
    ".mkv",
    ".webm",
    ".avi",
    ".mpg",
    ".mpeg",
    ".ts",
    ".mts",
    ".mcap",
)


def find_sources(paths: list[str], results: str = "") -> dict[str, Path]:
    """The sources in files and folders.

    A folder with images, or with the metadata of a bag, is one source. Other folders are searched,
    with the folders in them. Hidden files and folders are left out.

    Args:
        paths: files and folders.
        results: folder of the results, which is not searched; empty for none.

    Returns:
        the sources by their names: the path in the folder that was given, or the file's name.

    Raises:
        VideoError: a path does not exist or is the folder of the results, there is no source, or
            two have the same name.
    """
    own = os.path.realpath(results) if results else ""
    found: dict[str, Path] = {}

    def add(name: str, path: Path) -> None:
        if name in found:
            raise VideoError(
                f"{found[name]} and {path} have the same name; lift them to different folders"
            )
        found[name] = path

    for text in paths:
        path = from_home(text)
        if not path.exists():
            raise VideoError(f"there is no file or folder {text}")
        if own and os.path.realpath(path) == own:
            raise VideoError(f"{text} cannot have the results, too: they would be sources")
        before = len(found)
        if not path.is_dir() or _is_one(path, os.listdir(path)):
            add(path.resolve().name, path)
            continue
        for folder, folders, files in os.walk(path):
            here = Path(folder)
            folders[:] = [
                name
                for name in folders
                if not name.startswith(".") and os.path.realpath(here / name) != own
            ]
            if _is_one(here, files):
                add(str(here.relative_to(path)), here)
                folders.clear()
                continue
            for name in files:
                if name.lower().endswith(VIDEO_SUFFIXES) and not name.startswith("."):
                    add(str((here / name).relative_to(path)), here / name)
        if len(found) == before:
            raise VideoError(f"there is no video, bag or folder of images in {text}")
    return dict(sorted(found.items(), key=lambda item: natural_order(Path(item[0]))))


def _is_one(folder: Path, files: list[str]) -> bool:
    """Whether a folder is a bag, or holds images."""
    return is_bag(folder) or any(
        name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".") for name in files
    )
