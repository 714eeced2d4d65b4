"""The launch arguments, most from the declarations of parameters. This module needs no ROS."""

from __future__ import annotations

import functools
import math
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from ..io.paths import share_folder
from .param_specs import NodeParams, ParamError, ParamSpec, default_text
from .params import (
    KeypointDetectorParams,
    SkeletonLifterParams,
    SkeletonViewerParams,
    VideoSourceParams,
)

#: Levels of the log, as ROS names them.
LOG_LEVELS = ("debug", "info", "warn", "error", "fatal")

#: All nodes whose parameters are launch arguments.
NODES: tuple[type[NodeParams], ...] = (
    KeypointDetectorParams,
    SkeletonLifterParams,
    VideoSourceParams,
    SkeletonViewerParams,
)


@dataclass(frozen=True)
class LaunchArgument:
    """A launch argument. An empty text is not given.

    Attributes:
        text: description.
        default: its text where it is not given.
        choices: the allowed texts; empty where there are others than these.
    """

    text: str
    default: str = ""
    choices: tuple[str, ...] = ()


_SWITCH = ("true", "false")

#: Arguments of every launch file that are no parameters of nodes.
_GENERAL = {
    "namespace": LaunchArgument("Namespace of the nodes and their topics."),
    "params_file": LaunchArgument(
        "YAML file of parameters. Arguments that are given win over it.",
        str(share_folder("config") / "lift.yaml"),
    ),
    "rviz": LaunchArgument(
        "Start RViz, in the frame of the images, when the first comes.", "false", _SWITCH
    ),
    "viewer": LaunchArgument(
        "Start the web viewer, one for each camera; needs the package viser.", "false", _SWITCH
    ),
    "viewer_port": LaunchArgument(
        "Port of the web viewer, or of that of the first camera; the others have the next ones. "
        f"Default: {SkeletonViewerParams.port}."
    ),
    "respawn": LaunchArgument(
        "Start a node again that has ended. With false, the launch ends with the first node.",
        "true",
        _SWITCH,
    ),
    "log_level": LaunchArgument("Level of the nodes' logs. Default: info.", choices=LOG_LEVELS),
}

#: Arguments that say where the images or the keypoints come from.
_INPUT = {
    "image": LaunchArgument(
        "Topic of the images (sensor_msgs/Image). With cameras, it is under each one's name.",
        "image",
    ),
    "camera_info": LaunchArgument(
        "Topic of the intrinsics (sensor_msgs/CameraInfo). With cameras, it is under each one's "
        "name.",
        "camera_info",
    ),
    "depth": LaunchArgument(
        "Topic of depth images (sensor_msgs/Image) that are registered to the images. Distances "
        "are then taken from them. With cameras, it is under each one's name."
    ),
    "keypoints": LaunchArgument(
        "Topic of the keypoints of another node: with keypoints_type or lifter_only. With "
        "cameras, it is under each one's name. Default: keypoints."
    ),
    "cameras": LaunchArgument(
        "Names of several cameras, separated by commas: one detector for each, one lifter for "
        "all, and each camera's topics under its name. Empty: one camera."
    ),
    "source": LaunchArgument(
        "Webcam number, video file, bag or folder of images, read in the process of detector and "
        "lifter. Empty: the images are those of a topic."
    ),
    "composed": LaunchArgument(
        "Run detector and lifter in one process, as source does.", "false", _SWITCH
    ),
    "lifter_only": LaunchArgument(
        "Start no detector: another node publishes the topic keypoints. Third-party keypoints "
        "start none either.",
        "false",
        _SWITCH,
    ),
    "use_sim_time": LaunchArgument("Take the time from /clock, as with a bag.", choices=_SWITCH),
}

#: Parameters that mean nothing where the images are those of a video.
_NOT_OF_A_VIDEO = ("image_transport", "keypoints_type")


def lift_arguments() -> dict[str, LaunchArgument]:
    """The arguments of lift.launch.py, by name."""
    return {**_INPUT, **_GENERAL, **launch_arguments(NODES)}


def demo_arguments() -> dict[str, LaunchArgument]:
    """The arguments of demo.launch.py, by name."""
    video = LaunchArgument(
        "Video file, bag, folder of images or webcam number. Empty: a video of two people, "
        "downloaded once."
    )
    found = {"video": video, **_GENERAL, **launch_arguments(NODES)}
    return {name: own for name, own in found.items() if name not in _NOT_OF_A_VIDEO}


def launch_arguments(nodes: Iterable[type[NodeParams]]) -> dict[str, LaunchArgument]:
    """The launch arguments that are parameters of some nodes, by name.

    An argument of several nodes is passed to each of them.
    """
    found: dict[str, list[ParamSpec]] = {}
    for node in nodes:
        for spec in node.specs().values():
            if spec.launch:
                found.setdefault(spec.name, []).append(spec)
    return {name: _argument(specs) for name, specs in found.items()}


def _argument(specs: list[ParamSpec]) -> LaunchArgument:
    # All nodes accept the values of the narrowest range.
    narrow = min(specs, key=lambda spec: math.inf if spec.high is None else spec.high)
    choices = ("true", "false") if narrow.kind is bool else narrow.choices
    # Launch itself lists the choices.
    allowed = f" Allowed: {narrow.allowed}." if narrow.allowed and not choices else ""
    default = default_text(narrow)
    by_default = f" Default: {default}." if default != "''" else ""
    return LaunchArgument(f"{narrow.text}{allowed}{by_default}", choices=choices)


def given_parameters(node: type[NodeParams], arguments: Mapping[str, str]) -> dict[str, Any]:
    """The parameters of a node that are given as launch arguments.

    Args:
        node: the dataclass of its parameters.
        arguments: texts by name; an empty text is not given.

    Returns:
        values by name, lists as lists; only those that are given.

    Raises:
        ParamError: the node refuses a value; the message names node, argument and remedy.
    """
    given = {}
    for name, spec in node.specs().items():
        text = arguments.get(name, "") if spec.launch else ""
        if not text:
            continue
        try:
            value = spec.parse(text)
        except ParamError as error:
            raise ParamError(
                f"launch argument {name}:={text} is refused by {node.node}: {error}"
            ) from None
        given[name] = list(value) if spec.is_list else value
    return given


def ignored_arguments(nodes: Iterable[type[NodeParams]], names: Iterable[str]) -> list[str]:
    """Warnings about launch arguments that name a parameter but are ignored, one sentence each.

    Args:
        nodes: the nodes that are launched.
        names: the names of all given arguments.
    """
    given = list(names)
    found = []
    for node in nodes:
        specs = node.specs()
        for name in given:
            remedy = node.gone.get(name, "")
            if name in specs and not specs[name].launch:
                remedy = f"set {name} of {node.node} in params_file"
            sentence = f"{name} is no launch argument and is ignored: {remedy}"
            if remedy and sentence not in found:
                found.append(sentence)
    return found


def read_switch(name: str, text: str) -> bool:
    """Read a launch argument that is true or false.

    Raises:
        ParamError: it is neither; the message names the argument.
    """
    if text.lower() not in ("true", "false"):
        raise ParamError(f"launch argument {name}:={text} is refused: it must be true or false")
    return text.lower() == "true"


def write_parameters(
    values: Mapping[type[NodeParams], Mapping[str, Any]], namespace: str = "/**/**"
) -> str:
    """Write a temporary parameters file for one or several nodes.

    Each section names its node, because a node refuses the parameters of another node.

    Args:
        values: parameter values of each node, by name.
        namespace: namespace of the nodes, with wildcards. The default matches any namespace, as
            '/**' does, but users do not write it. ROS merges sections of the same name, and then a
            string does not replace a number (`lag`). ROS reads sections in the order in which their
            names first appear. So these values replace those of an earlier file.

    Returns:
        path of the file; an empty string if there are no values.
    """
    content = {
        f"{namespace}/{node.node}": {"ros__parameters": dict(own)}
        for node, own in values.items()
        if own
    }
    if not content:
        return ""
    return write_temporary(yaml.safe_dump(content), ".yaml")


@functools.cache
def _temporary_folder() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="emf_ros_")


def write_temporary(text: str, suffix: str) -> str:
    """Write a file that exists until this process ends; its path."""
    with tempfile.NamedTemporaryFile(
        "w", suffix=suffix, delete=False, dir=_temporary_folder().name, encoding="utf-8"
    ) as file:
        file.write(text)
    return file.name
