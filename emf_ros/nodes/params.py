"""The parameters of the nodes, each declared once. Needs no ROS.

From these dataclasses come the ROS declarations (`base.BaseNode`), the launch arguments, and, by
`tools/generate.py`, config/lift.yaml and docs/reference/parameters.md. To add a parameter, add a
field here and run `make generated`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ..detect.budget import BUSY_SHARE
from ..detect.factory import BACKENDS
from ..geometry.camera import DEFAULT_FOV_DEG
from ..lift.config import PipelineConfig
from ..lift.engine import DEVICES
from ..model.presets import presets_with_weights
from .param_specs import NodeParams, ParamError, param

#: Packages of the keypoint messages that the lifter reads.
KEYPOINTS_TYPES = ("emf_ros", "yolo_msgs", "vision_msgs", "hri_msgs")

#: Sizes of BlazePose's landmark model.
VARIANTS = ("lite", "full")

#: Ways in which images are sent.
IMAGE_TRANSPORTS = ("raw", "compressed")

#: Defaults of the core.
_CORE = PipelineConfig()

#: Time constant of the jitter filter, s, and cutoff of the One Euro filter, Hz, by value of
#: `smoothing`. 0 is no filter.
SMOOTHING = {
    "none": (0.0, 0.0),
    "light": (_CORE.jitter_filter_s, _CORE.smoothing_cutoff_hz),
    "strong": (_CORE.jitter_filter_s, 1.0),
}

#: Names of cameras that can stand in a topic's name.
_CAMERA_NAME = re.compile(r"(?!.*__)[A-Za-z][A-Za-z0-9_]*(/[A-Za-z][A-Za-z0-9_]*)*")

# Parameters of several nodes have one description.
_USE_CUDA = "set device to cuda, which never runs on the CPU"
_DEVICE = (
    "Run the model on this device; auto prefers a GPU and falls back to the CPU, cuda never does."
)
_MAX_PEOPLE = "Limit the number of people of each camera."
_KEYPOINTS_TYPE = (
    "Subscribe to keypoint messages of this package: emf_ros, or third-party messages."
)
_RECTIFIED = "Use P instead of K, without distortion: the images are rectified (image_rect)."
_SYNCHRONOUS = "Process every message in order, whatever the delay: for bags and tests."


@dataclass(frozen=True)
class VideoSourceParams(NodeParams):
    """Parameters of the node video_source."""

    node: ClassVar[str] = "video_source"

    source: str = param(
        "",
        "Play this video file, bag, folder of images or webcam number; an existing path has "
        "priority.",
        whole_numbers=True,
    )
    source_topic: str = param("", "Play the images of this topic of a bag.", launch=True)
    loop: bool = param(False, "Start again at the end.", launch=True, live=True)
    rate_hz: float = param(
        0.0,
        "Set the mean number of images a second of a file or folder.",
        unit="Hz",
        zero="a file's own times; a folder at 30 Hz",
        low=0.0,
        high=1000.0,
        launch=True,
    )
    frame_id: str = param(
        "camera_optical_frame", "Name the frame of the images and of the intrinsics."
    )
    camera_info_file: str = param(
        "",
        "Read the intrinsics from this calibration file; FILE#NAME selects one of its cameras.",
        launch=True,
    )
    fov_deg: float | str = param(
        "auto",
        "Set the horizontal field of view; auto takes a bag's intrinsics, or guesses "
        f"{DEFAULT_FOV_DEG:g} across the longer side.",
        unit="degrees",
        zero="unknown, no intrinsics",
        low=0.0,
        high=170.0,
        words=("auto",),
        launch=True,
    )
    rectified: bool = param(False, _RECTIFIED, launch=True)
    start_when_subscribed: bool = param(
        False, "Wait with the first image until a subscriber is connected."
    )
    exit_at_end: bool = param(False, "End the process at the end of the video.", advanced=True)


@dataclass(frozen=True)
class KeypointDetectorParams(NodeParams):
    """Parameters of the node keypoint_detector."""

    node: ClassVar[str] = "keypoint_detector"
    gone: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("search_every", "detection_interval"), "set detection_share"),
        "require_gpu": _USE_CUDA,
    }

    detector: str = param(
        "blazepose",
        "Detect 2D keypoints with this backend; onnx runs your own model.",
        choices=BACKENDS,
        launch=True,
    )
    variant: str = param(
        "full",
        "Use this size of BlazePose: lite is faster, full is more accurate.",
        choices=VARIANTS,
        launch=True,
    )
    model: str = param(
        "",
        "With detector onnx, load this .onnx file; its settings are in the .yaml beside it.",
        launch=True,
    )
    device: str = param("auto", _DEVICE, choices=DEVICES, launch=True)
    max_people: int = param(_CORE.max_people, _MAX_PEOPLE, low=1, high=20, launch=True, live=True)
    min_score: float = param(
        _CORE.birth_score,
        "Set the minimum score of a detection that begins a track; half of this score continues "
        "a track.",
        zero="every detection",
        low=0.0,
        high=1.0,
        launch=True,
        live=True,
    )
    image_transport: str = param(
        "raw",
        "Subscribe to Image on 'image', or with compressed to CompressedImage on "
        "'image/compressed'.",
        choices=IMAGE_TRANSPORTS,
        launch=True,
    )
    max_rate_hz: float = param(
        0.0,
        "Drop images above this rate, by their stamps.",
        unit="Hz",
        zero="no limit",
        low=0.0,
        high=1000.0,
        live=True,
    )
    roi: tuple[int, ...] = param(
        (0, 0, 0, 0),
        "Detect only in this part of the image: x, y, width, height.",
        unit="px",
        zero="as width or height, to the edge",
        low=0,
        high=32766,
    )
    synchronous: bool = param(False, _SYNCHRONOUS, launch=True)
    max_side: int = param(
        0,
        "Shrink images by 2, 4 or 8 until the longer side fits; large JPEGs then decode faster.",
        unit="px",
        zero="no shrinking",
        low=0,
        high=32766,
        advanced=True,
    )
    detection_share: float = param(
        BUSY_SHARE,
        "While the computer is busy, limit person detection and verification to this share of the "
        "detector's time.",
        low=0.02,
        high=1.0,
        advanced=True,
        live=True,
    )
    appearance: bool = param(
        True,
        "Compare colours of trunk and thighs when people cross or return.",
        advanced=True,
        live=True,
    )


@dataclass(frozen=True)
class SkeletonLifterParams(NodeParams):
    """Parameters of the node skeleton_lifter."""

    node: ClassVar[str] = "skeleton_lifter"
    #: Names of the parameters with one value for all cameras, or one for each.
    PER_CAMERA: ClassVar[tuple[str, ...]] = (
        "camera_height_m",
        "camera_pitch_deg",
        "camera_roll_deg",
    )
    gone: ClassVar[Mapping[str, str]] = {
        "require_gpu": _USE_CUDA,
        "engine": "the fastest engine of the device is taken",
        "min_frames": f"tracks are TRACKED from image {_CORE.min_frames} on",
        **dict.fromkeys(("keep_sides", "swap_correction"), "left/right swaps are always corrected"),
        **dict.fromkeys(
            ("bone_memory_s", "bone_length_memory_s"), "bone lengths are always averaged"
        ),
        **dict.fromkeys(
            ("steady_s", "jitter_filter_s", "smoothing_cutoff_hz", "smoothing_beta"),
            "set smoothing",
        ),
    }

    preset: str = param(
        "lite",
        "Use this size of the lifting model.",
        choices=presets_with_weights(),
        launch=True,
    )
    weights: str = param(
        "", "Load this .safetensors or .onnx file instead of the preset's weights.", launch=True
    )
    device: str = param("auto", _DEVICE, choices=DEVICES, launch=True)
    cameras: tuple[str, ...] = param(
        ("",),
        "Lift these cameras in one pass, each with its topics under its name; [''] means one "
        "unnamed camera.",
    )
    keypoints_type: str = param("emf_ros", _KEYPOINTS_TYPE, choices=KEYPOINTS_TYPES, launch=True)
    lag: int | str = param(
        _CORE.lag,
        "Publish the pose this number of model frames (30 Hz) behind the newest image; auto "
        "follows latency_budget_ms.",
        unit="frames",
        zero="the newest image's pose",
        low=0,
        high=26,
        words=("auto",),
        launch=True,
        live=True,
    )
    latency_budget_ms: float = param(
        150.0,
        "With lag auto, limit the age of poses at publication.",
        unit="ms",
        low=1.0,
        high=2000.0,
        launch=True,
        live=True,
    )
    max_people: int = param(_CORE.max_people, _MAX_PEOPLE, low=1, high=256, launch=True, live=True)
    min_score: float = param(
        _CORE.birth_score,
        "Set the minimum score of a person without id that begins a track; half of this score "
        "continues it.",
        zero="every person",
        low=0.0,
        high=1.0,
        launch=True,
        live=True,
    )
    coast_s: float = param(
        _CORE.coast_s,
        "Set the maximum coasting time without keypoints; a younger track coasts for its age.",
        unit="s",
        zero="none",
        low=0.0,
        high=5.0,
        live=True,
    )
    person_height_m: float = param(
        0.0,
        "Set the standing height of all people.",
        unit="m",
        zero="unknown",
        low=0.0,
        high=2.5,
        launch=True,
        live=True,
    )
    camera_height_m: tuple[float, ...] = param(
        (0.0,),
        "Set the height of the camera above a level floor, which determines distances; one "
        "value, or one per camera.",
        unit="m",
        zero="unknown",
        launch=True,
        live=True,
    )
    camera_pitch_deg: tuple[float, ...] = param(
        (0.0,),
        "With camera_height_m, set the pitch of the camera, positive downwards.",
        unit="degrees",
        zero="level",
        launch=True,
        live=True,
    )
    camera_roll_deg: tuple[float, ...] = param(
        (0.0,),
        "With camera_height_m, set the roll of the camera, positive with its right side down.",
        unit="degrees",
        zero="level",
        launch=True,
        live=True,
    )
    use_depth: bool = param(
        False, "Take distances from the topic 'depth', registered to the camera's images."
    )
    smoothing: str = param(
        "light",
        "Filter the poses; light removes jitter without delay; strong removes more, and delays "
        "motion by some milliseconds.",
        choices=tuple(SMOOTHING),
        launch=True,
        live=True,
    )
    rectified: bool = param(False, _RECTIFIED, launch=True)
    target_frame: str = param(
        "",
        "Give poses in this TF frame, such as odom; empty means the camera's frame.",
        launch=True,
    )
    ground_frame: str = param(
        "",
        "Take the floor from TF in place of camera_height_m: this frame lies on it with z up, such "
        "as base_footprint.",
        launch=True,
    )
    base_frame: str = param(
        "",
        "Tell the closest approach to this TF frame, such as base_link; empty means the camera.",
        launch=True,
    )
    publish_tf: bool = param(
        False, "Publish each pelvis as a TF frame; needs the package tf2_msgs.", launch=True
    )
    tf_prefix: str = param(
        "",
        "Begin the names of these TF frames with this text; empty means the namespace of the node.",
        launch=True,
    )
    hri: bool = param(
        False,
        "Publish people by REP-155 (ROS4HRI) on humans/bodies/; needs the package hri_msgs.",
        launch=True,
    )
    synchronous: bool = param(False, _SYNCHRONOUS, launch=True)
    threads: int = param(
        0,
        "Set the number of CPU threads of the model.",
        zero="chosen by the number of cores",
        low=0,
        high=64,
        advanced=True,
    )
    max_gap_s: float = param(
        _CORE.max_gap_s,
        "Interpolate keypoints over gaps up to this time; set it above twice the camera's period.",
        unit="s",
        low=0.01,
        high=2.0,
        advanced=True,
    )

    def camera_names(self) -> list[str]:
        """The names of the cameras; [""] for one without a name.

        Raises:
            ParamError: a name cannot stand in a topic's name, or is there twice.
        """
        names = list(self.cameras or ("",))
        for name in names:
            if names != [""] and not _CAMERA_NAME.fullmatch(name):
                raise ParamError(
                    f"parameter 'cameras' has {name!r}, which cannot stand in a topic's name"
                )
        if len(set(names)) < len(names):
            raise ParamError(f"parameter 'cameras' names one twice: {', '.join(names)}")
        return names

    @property
    def uses_tf(self) -> str:
        """The first given parameter that needs transforms; empty for none."""
        names = ("target_frame", "ground_frame", "base_frame")
        return next((name for name in names if getattr(self, name)), "")

    def check_floor(self) -> None:
        """Refuse two sources of the floor.

        Raises:
            ParamError: camera_height_m and ground_frame are both given.
        """
        if self.ground_frame and any(self.per_camera("camera_height_m")):
            raise ParamError(
                f"parameters ground_frame ({self.ground_frame}) and camera_height_m "
                f"({list(self.camera_height_m)}) both tell the floor: leave one of them out, or "
                "set camera_height_m to 0"
            )

    def per_camera(self, name: str) -> tuple[float, ...]:
        """The values of one of `PER_CAMERA`, one for each camera.

        Raises:
            ParamError: the number of values does not fit.
        """
        values, cameras = getattr(self, name), len(self.camera_names())
        if len(values) not in (1, cameras):
            wanted = "1" if cameras == 1 else f"1 or {cameras}"
            raise ParamError(f"parameter '{name}' has {len(values)} values; there must be {wanted}")
        return values * (cameras // len(values))


@dataclass(frozen=True)
class SkeletonViewerParams(NodeParams):
    """Parameters of the node skeleton_viewer."""

    node: ClassVar[str] = "skeleton_viewer"

    host: str = param(
        "127.0.0.1",
        "Listen on this address: 127.0.0.1 for this computer only, 0.0.0.0 for the network, where "
        "no password protects the images.",
    )
    port: int = param(
        8080,
        "Listen on this port, or on the next free one.",
        zero="any free port",
        low=0,
        high=65535,
    )
    rectified: bool = param(False, _RECTIFIED, launch=True)
    keypoints_type: str = param("emf_ros", _KEYPOINTS_TYPE, choices=KEYPOINTS_TYPES, launch=True)


#: All dataclasses of parameters, in the order of the flow.
NODES: tuple[type[NodeParams], ...] = (
    VideoSourceParams,
    KeypointDetectorParams,
    SkeletonLifterParams,
    SkeletonViewerParams,
)
