"""Names of the release before, which scripts of users import. They warn, and go with the next one.

A module that had such names ends with `__getattr__ = former_names(__name__)`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

#: Module and name of what has replaced each name, by the module and the name of before.
REPLACED = {
    ("emf_ros.detect.weights", "ensure_demo_video"): ("downloads.videos", "ensure_demo_video"),
    ("emf_ros.lift.pipeline", "KeypointFrame"): ("types", "Frame2D"),
    ("emf_ros.lift.pipeline", "Person2D"): ("former_names", "person_2d"),
}


def person_2d(track_id: int, keypoints: Any, score: float = 1.0) -> Any:
    """A `types.Pose2D`, from the arguments of the former `Person2D` in their order."""
    from .types import Pose2D

    return Pose2D(keypoints, score, track_id)


def former_names(module: str) -> Callable[[str], Any]:
    """The `__getattr__` of a module.

    Raises:
        AttributeError: the module never had the name.
    """

    def get(name: str) -> Any:
        if (module, name) not in REPLACED:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        new_module, new_name = REPLACED[module, name]
        new = "types.Pose2D" if new_name == "person_2d" else f"{new_module}.{new_name}"
        warnings.warn(f"{module}.{name} has become emf_ros.{new}", DeprecationWarning, stacklevel=2)
        return getattr(import_module(f".{new_module}", __package__), new_name)

    return get
