"""Metric 3D human skeletons from one RGB camera, live, in ROS 2 and in Python.

The public API is imported when it is used: `import emf_ros` itself loads nothing.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .geometry.camera import Camera
    from .session import Person, SkeletonTracker
    from .types import Frame2D, Frame3D, Pose2D, Pose3D, TrackState

    __version__: str

__all__ = [
    "Camera",
    "Frame2D",
    "Frame3D",
    "Person",
    "Pose2D",
    "Pose3D",
    "SkeletonTracker",
    "TrackState",
]

#: The module of each public name.
_MODULES = {
    "Camera": "geometry.camera",
    "Frame2D": "types",
    "Frame3D": "types",
    "Person": "session",
    "Pose2D": "types",
    "Pose3D": "types",
    "SkeletonTracker": "session",
    "TrackState": "types",
}


def _version() -> str:
    """The version of this package: it stands in package.xml, and nowhere else."""
    from importlib.metadata import version
    from xml.etree import ElementTree

    in_checkout = Path(__file__).resolve().parents[1] / "package.xml"
    if in_checkout.is_file():
        return ElementTree.parse(in_checkout).findtext("version", "")
    return version("emf_ros")


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
