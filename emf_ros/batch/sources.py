"""The sources in files and folders: videos, folders of images and bags."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from ..io.bags import BAG_SUFFIXES, is_bag
from ..io.frame_source import VideoError
from ..io.paths import IMAGE_SUFFIXES, from_home
from ..io.video import natural_order

#: Endings of the videos and bags that are looked for in folders.
VIDEO_SUFFIXES = (
    *BAG_SUFFIXES,
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".wmv", ".3gp"),
    *(".mpg", ".mpeg", ".ts", ".mts", ".h264", ".mjpeg"),
)


def find_sources(
    paths: list[str], results: str = "", tell: Callable[[str], None] = lambda sentence: None
) -> dict[str, Path]:
    """The sources in files and folders.

    A folder with the metadata of a bag is one source. Others are searched, with the folders in them
    and those that links lead to. Images in a folder without videos are one source: the folder.
    Hidden files and folders are left out.

    Args:
        paths: files and folders.
        results: folder of the results, which is not searched; empty for none.
        tell: called with a sentence on images that are left out, as they are beside videos.

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
        if not path.is_dir():
            add(_name(path), path)
            continue
        before = len(found)
        for folder, files in _folders(path, own):
            inside = str(folder.relative_to(path)) if folder != path else _name(path)
            videos = [name for name in files if name.lower().endswith(VIDEO_SUFFIXES)]
            has_images = any(name.lower().endswith(IMAGE_SUFFIXES) for name in files)
            if is_bag(folder) or (has_images and not videos):
                add(inside, folder)
                continue
            if has_images:
                tell(f"{folder}: the images beside the videos are left out")
            for name in videos:
                add(str((folder / name).relative_to(path)), folder / name)
        if len(found) == before:
            raise VideoError(f"there is no video, bag or folder of images in {text}")
    return dict(sorted(found.items(), key=lambda item: natural_order(Path(item[0]))))


def _name(path: Path) -> str:
    """The last part of a path; of a link its own, not its target's."""
    return path.name if path.name not in ("", "..") else path.resolve().name


def _folders(top: Path, results: str) -> Iterator[tuple[Path, list[str]]]:
    """Folders to look into, and the names of their files, without what is hidden.

    A link to a folder is followed if the folder is not found without it.
    """
    seen: set[str] = set()
    root = os.path.realpath(top)

    def is_searched(path: Path) -> bool:
        real = os.path.realpath(path)
        if path.name.startswith(".") or real in (results, root):
            return False
        return not (path.is_symlink() and Path(root) in Path(real).parents)

    for name, folders, files in os.walk(top, followlinks=True):
        folder, real = Path(name), os.path.realpath(name)
        if real in seen:  # links in a circle
            folders.clear()
            continue
        seen.add(real)
        yield folder, [file for file in files if not file.startswith(".")]
        folders[:] = [each for each in folders if is_searched(folder / each)]
        if is_bag(folder):
            folders.clear()
