"""Folders: the package's own files, the cache, and images."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

#: Endings of the image files of a folder.
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")


def share_folder(name: str) -> Path:
    """A folder of the repository's top level: in the checkout, or installed by ament or pip.

    Args:
        name: 'models', 'config', 'launch' or 'emf_ros_msgs', which has the definitions of messages.
    """
    beside = Path(__file__).resolve().parents[2] / name
    if beside.is_dir():
        return beside
    try:
        from ament_index_python.packages import get_package_share_directory

        return Path(get_package_share_directory("emf_ros")) / name
    except (ImportError, LookupError):
        return Path(sys.prefix) / "share" / "emf_ros" / name


def from_home(text: str | Path) -> Path:
    """A path with the home folder in place of ~ or ~USER; as it is where there is no such user."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def cache_folder() -> Path:
    """The user's folder for files that are downloaded or built once; it may be missing.

    `$EMF_ROS_CACHE`, else `$XDG_CACHE_HOME/emf_ros`, else `~/.cache/emf_ros`.
    """
    own = os.environ.get("EMF_ROS_CACHE")
    if own:
        return from_home(own).absolute()
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:  # neither HOME nor an entry for this user
        base = Path(tempfile.gettempdir()) / f"cache-{os.getuid()}"
    return Path(base).absolute() / "emf_ros"
