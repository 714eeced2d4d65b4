"""Which processes the launch files start, from their arguments. This module needs no ROS.

All that can be checked is checked here, before the first process starts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..geometry.camera import CameraError
from ..io.frame_source import VideoError
from ..io.paths import from_home, share_folder
from .launch_arguments import (
    LOG_LEVELS,
    given_parameters,
    read_switch,
    write_parameters,
    write_temporary,
)
from .param_specs import NodeParams, ParamError
from .parameter_files import read_parameters
from .params import (
    KeypointDetectorParams,
    SkeletonLifterParams,
    SkeletonViewerParams,
    VideoSourceParams,
)
from .topic_names import ALLOWED, is_relative_name, is_topic_name

#: Parameters that name a file.
FILE_PARAMETERS = ("camera_info_file", "model", "weights")


@dataclass(frozen=True)
class Process:
    """A process to start.

    Attributes:
        executable: program of the package emf_ros.
        namespace: of its nodes; empty for none.
        parameters: paths of parameters files, in their order.
        remappings: pairs of topic names.
        options: of its command line, without those for ROS.
        respawn: whether it is started again when it ends.
    """

    executable: str
    namespace: str
    parameters: list[str]
    remappings: list[tuple[str, str]] = field(default_factory=list)
    options: list[str] = field(default_factory=list)
    respawn: bool = False

    @property
    def enclave(self) -> str:
        """Path of its enclave for SROS2; without security ROS ignores it."""
        return "/" + "/".join(part for part in (self.namespace, self.executable) if part)


@dataclass(frozen=True)
class Plan:
    """What a launch file starts.

    Attributes:
        processes: in their order.
        rviz: starts RViz; None where it is not wanted.
        log_level: of all nodes; empty for ROS's own.
    """

    processes: list[Process]
    rviz: Process | None
    log_level: str


def plan(arguments: Mapping[str, str], defaults: Mapping[str, Any] | None = None) -> Plan:
    """The processes for these arguments.

    Args:
        arguments: texts by name; a missing or empty one is not given.
        defaults: parameters of the video source that parameters file and arguments win over.

    Raises:
        ParamError: an argument or the parameters file is refused, or a file is missing.
    """
    text = {name: value.strip() for name, value in arguments.items()}
    composed, lifter_only, rviz, viewer, respawn = (
        read_switch(name, text.get(name) or default)
        for name, default in (
            ("composed", "false"),
            ("lifter_only", "false"),
            ("rviz", "false"),
            ("viewer", "false"),
            ("respawn", "true"),
        )
    )
    source, namespace = text.get("source", ""), text.get("namespace", "").strip("/")
    if namespace and not is_relative_name(namespace):
        raise _bad_name("namespace", text["namespace"])
    log_level = text.get("log_level", "")
    if log_level and log_level not in LOG_LEVELS:
        raise ParamError(
            f"launch argument log_level:={log_level} is refused: it must be one of "
            + ", ".join(LOG_LEVELS)
        )

    # ---------------------------------------------------------------- the values of all parameters
    kinds: tuple[type[NodeParams], ...] = (
        VideoSourceParams,
        KeypointDetectorParams,
        SkeletonLifterParams,
        SkeletonViewerParams,
    )
    given = {kind: given_parameters(kind, text) for kind in kinds}
    if cameras := text.get("cameras", "").replace(",", " ").split():
        given[SkeletonLifterParams]["cameras"] = cameras
    if source:
        given[VideoSourceParams]["source"] = source
    if text.get("depth"):
        given[SkeletonLifterParams]["use_depth"] = True
    if text.get("use_sim_time"):
        for values in given.values():
            values["use_sim_time"] = read_switch("use_sim_time", text["use_sim_time"])
    files = [
        write_parameters({VideoSourceParams: dict(defaults or {})}, namespace="/**"),
        text.get("params_file", ""),
        write_parameters(given),
    ]
    files = [name for name in files if name]

    def read(kind: type[Any], camera: str = "") -> Any:
        full_name = "/" + "/".join(part for part in (namespace, camera, kind.node) if part)
        values = read_parameters(kind, full_name, files)
        for name in FILE_PARAMETERS:
            path = str(getattr(values, name, "")).partition("#")[0]
            if path and not from_home(path).is_file():
                raise ParamError(f"parameter '{name}' of {kind.node}: there is no file {path}")
        return values

    lifter: SkeletonLifterParams = read(SkeletonLifterParams)
    names = [name for name in lifter.camera_names() if name]
    for name in SkeletonLifterParams.PER_CAMERA:
        lifter.per_camera(name)
    lifter.check_floor()
    third_party = lifter.keypoints_type != "emf_ros"

    # ---------------------------------------------------------------- what goes together
    one_process = f"source:={source}" if source else "composed:=true" if composed else ""
    no_detector = (
        f"keypoints_type:={lifter.keypoints_type}"
        if third_party
        else "lifter_only:=true"
        if lifter_only
        else ""
    )
    if one_process and names:
        raise ParamError(f"{one_process} is for one camera, and cameras names {len(names)}")
    if one_process and no_detector:
        raise ParamError(f"{one_process} runs our detector, and {no_detector} runs none")
    for name in ("image", "camera_info") if source else ():
        if text.get(name, name) not in ("", name):
            raise ParamError(
                f"launch argument {name}:={text[name]} is refused: {one_process} reads the camera "
                "itself; its intrinsics come from camera_info_file:=..."
            )
    if source and text.get("depth"):
        raise ParamError(f"{one_process} is one camera without depth images, and depth names some")
    if text.get("keypoints") and not no_detector:
        raise ParamError(
            f"launch argument keypoints:={text['keypoints']} is refused: our detector publishes "
            "the keypoints; give keypoints_type:=... or lifter_only:=true, too"
        )
    if text.get("keypoints") and lifter.keypoints_type == "hri_msgs":
        raise ParamError(
            f"launch argument keypoints:={text['keypoints']} is refused: hri_msgs has a topic for "
            "each body, under humans/bodies"
        )
    if source:
        camera: VideoSourceParams = read(VideoSourceParams)
        _check_source(camera)
    else:
        shared = {*KeypointDetectorParams.specs(), *SkeletonLifterParams.specs(), "use_sim_time"}
        for name in given[VideoSourceParams].keys() - shared:
            raise ParamError(f"{name}:=... is for the camera of source:=..., which is not given")
    for name in [] if no_detector else names or [""]:
        read(KeypointDetectorParams, name)

    # ---------------------------------------------------------------- the processes
    image, info = (_topic(name, text.get(name) or name, names) for name in ("image", "camera_info"))
    images = [("image", image), ("image/compressed", f"{image}/compressed")]
    # What the lifter hears of each camera, and a camera's viewer.
    heard, seen = [], [("image", image)]
    for name, topic in (
        ("camera_info", info),
        *((n, _topic(n, text[n], names)) for n in ("depth", "keypoints") if text.get(n)),
    ):
        heard += [(f"{camera}/{name}", f"{camera}/{topic}") for camera in names] or [(name, topic)]
        seen += [(name, topic)] if name != "depth" else []
    processes = []

    def add(
        executable: str,
        within: str = "",
        remappings: Sequence[tuple[str, str]] = (),
        options: Sequence[str] = (),
        respawn: bool = respawn,
        files: list[str] = files,
    ) -> None:
        space = "/".join(part for part in (namespace, within) if part)
        processes.append(
            Process(executable, space, files, list(remappings), list(options), respawn)
        )

    if source:
        add("composed", options=["--camera"], respawn=respawn and not camera.exit_at_end)
    elif composed:
        add("composed", remappings=[*images, *heard])
    else:
        for name in [] if no_detector else names or [""]:
            add("keypoint_detector", name, images)
        add("skeleton_lifter", remappings=heard)
    port = text.get("viewer_port", "")
    if port and not viewer:
        raise ParamError(f"viewer_port:={port} is for the viewer of viewer:=true")
    for number, name in enumerate(names or [""]) if viewer else []:
        shown: SkeletonViewerParams = read(SkeletonViewerParams, name)
        first = shown.port if not port else _read_port(port)
        # Of port 0 each takes a free one.
        own: dict[type[NodeParams], dict[str, Any]] = {
            SkeletonViewerParams: {"port": first + number if first else 0}
        }
        add(
            "skeleton_viewer",
            name,
            [] if source else seen,
            files=[*files, write_parameters(own)],
        )
    window = None
    if rviz:
        fixed = lifter.target_frame
        config = write_rviz_config(namespace, names, not no_detector, fixed)
        options = ["--camera", names[0]] if names else []
        options += ["-f", fixed] if fixed else []
        sim_time = given[SkeletonLifterParams].get("use_sim_time", False)
        ros = ["--ros-args", "-p", "use_sim_time:=true"] if sim_time else []
        remappings = [] if source else heard
        options += ["-d", config, *ros]
        window = Process("rviz", namespace, [], list(remappings), options)
    return Plan(processes, window, log_level)


def write_rviz_config(
    namespace: str, cameras: Sequence[str], with_overlay: bool, fixed_frame: str
) -> str:
    """Write a temporary configuration of RViz with the displays of all cameras.

    Args:
        namespace: of the nodes.
        cameras: names of several cameras; empty for one without a name.
        with_overlay: whether a detector publishes its overlay.
        fixed_frame: frame of the skeletons whose z is up; empty for the camera's.

    Returns:
        path of the file.
    """
    config = yaml.safe_load((share_folder("config") / "emf_ros.rviz").read_text(encoding="utf-8"))
    manager = config["Visualization Manager"]
    displays = []
    for display in manager["Displays"]:
        if display["Class"].endswith("/Grid") and fixed_frame:
            # The floor is that of the frame, not one under a camera.
            display["Offset"] = {"X": 0, "Y": 0, "Z": 0}
        if "Topic" not in display:
            displays.append(display)
            continue
        if display["Topic"]["Value"] == "overlay" and not with_overlay:
            continue
        for camera in cameras or [""]:
            name = f"{display['Name']} {camera}".strip()
            parts = (namespace, camera, display["Topic"]["Value"])
            topic = {**display["Topic"], "Value": "/" + "/".join(part for part in parts if part)}
            displays.append({**display, "Name": name, "Topic": topic})
    manager["Displays"] = displays
    return write_temporary(yaml.safe_dump(config, sort_keys=False), ".rviz")


def _topic(argument: str, name: str, cameras: Sequence[str]) -> str:
    """A topic that is given as a launch argument.

    Raises:
        ParamError: it is no name of a topic, or would be the same for several cameras.
    """
    if not is_topic_name(name):
        raise _bad_name(argument, name)
    if cameras and not is_relative_name(name):
        last = name.rpartition("/")[2]
        raise ParamError(
            f"launch argument {argument}:={name} is refused: with cameras the topic is under each "
            f"one's name; {argument}:={last} means {', '.join(f'{c}/{last}' for c in cameras)}"
        )
    return name


def _bad_name(argument: str, name: str) -> ParamError:
    return ParamError(f"launch argument {argument}:={name} is refused: a name in ROS has {ALLOWED}")


def _read_port(text: str) -> int:
    try:
        return int(SkeletonViewerParams.specs()["port"].parse(text))
    except ParamError as error:
        raise ParamError(f"launch argument viewer_port:={text} is refused: {error}") from None


def _check_source(camera: VideoSourceParams) -> None:
    """Refuse a video that cannot be opened, or brings intrinsics that cannot be used.

    A webcam may be plugged in later.
    """
    from ..io.calibration.reader import choose_camera
    from ..io.video import open_source

    if camera.source.strip().isdecimal() and not Path(camera.source).exists():
        return
    try:
        source = open_source(
            camera.source, camera.rate_hz or None, camera.source_topic, camera.rectified
        )
        source.close()
        if isinstance(source.camera, CameraError) and camera.fov_deg == "auto":
            choose_camera(source.size, camera.camera_info_file, brought=source.camera)
    except (CameraError, VideoError) as error:
        raise ParamError(str(error)) from None
