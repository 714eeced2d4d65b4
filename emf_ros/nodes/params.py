"""The parameters of the nodes, each declared once. Needs no ROS.

From these dataclasses come the ROS declarations (`common.BaseNode`), the launch arguments, and, by
`tools/generate.py`, config/lift.yaml and docs/reference/parameters.md. To add a parameter, add a
field here and run `make generated`.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any, ClassVar, get_args, get_origin, get_type_hints

import yaml

from ..detect.factory import BACKENDS, SEARCH_EVERY
from ..geometry.camera import DEFAULT_FOV_DEG
from ..lift.engine import DEVICES, ENGINES
from ..lift.pipeline import PipelineConfig
from ..model.presets import presets_with_weights

#: Packages of the keypoint messages that the lifter reads.
KEYPOINTS_TYPES = ("emf_ros", "yolo_msgs", "vision_msgs", "hri_msgs")

#: Sizes of BlazePose's landmark model.
VARIANTS = ("lite", "full")

#: Ways in which images are sent.
IMAGE_TRANSPORTS = ("raw", "compressed")

_METADATA = "emf_ros"

#: Defaults of the core.
_CORE = PipelineConfig()


class ParamError(ValueError):
    """A parameter's value is refused; the message says what is allowed."""


@dataclass(frozen=True)
class ParamSpec:
    """Everything about one parameter but its value.

    Attributes:
        name, default: as ROS knows them.
        kind: bool, int, float or str; of a list, the type of its elements.
        is_list: whether the value is a list, a tuple in Python.
        description: one imperative sentence.
        unit: of a number; empty where it has none.
        zero: what 0 means; empty where 0 is an ordinary value or out of range.
        low, high: inclusive range of a number.
        choices: the values that a text may have.
        words: texts that may stand in place of a number.
        whole_numbers: take a whole number in place of a text: `source:=0` gives one.
        launch: whether it is a launch argument.
        advanced: whether most users leave it alone.
    """

    name: str
    default: Any
    kind: type
    is_list: bool
    description: str
    unit: str = ""
    zero: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    whole_numbers: bool = False
    launch: bool = False
    advanced: bool = False

    @property
    def text(self) -> str:
        """Description, unit and the meaning of 0, in one line."""
        unit = f" Unit: {self.unit}." if self.unit else ""
        zero = f" 0: {self.zero}." if self.zero else ""
        return self.description + unit + zero

    @property
    def allowed(self) -> str:
        """The values that are allowed, in words; empty where the type is all there is to say."""
        if self.choices:
            return ", ".join(self.choices)
        if self.low is None or self.high is None:
            return ""
        return " or ".join([f"{self.low:g} to {self.high:g}", *self.words])

    def check(self, value: Any) -> Any:
        """Check a value.

        Args:
            value: as ROS or YAML gives it.

        Returns:
            The value in the type of the dataclass's field.

        Raises:
            ParamError: the value is refused.
        """
        if self.is_list:
            if isinstance(value, str) or not isinstance(value, Iterable):
                raise ParamError("it must be a list")
            return tuple(self._check_one(element) for element in value)
        return self._check_one(value)

    def _check_one(self, value: Any) -> Any:
        if self.words and value in self.words:
            return value
        if self.kind is str:
            if self.whole_numbers and type(value) is int:
                return str(value)
            if not isinstance(value, str):
                raise ParamError(f"it must be text; quote it: {self.name}:='\"{value}\"'")
            if self.choices and value not in self.choices:
                raise ParamError(f"it must be one of {', '.join(self.choices)}")
            return value
        if self.kind is bool:
            if not isinstance(value, bool):
                raise ParamError("it must be true or false")
            return value
        if type(value) is not int and (self.kind is int or type(value) is not float):
            name = "a whole number" if self.kind is int else "a number"
            raise ParamError(f"it must be {' or '.join([name, *map(repr, self.words)])}")
        # NaN is in no range.
        low = -math.inf if self.low is None else self.low
        high = math.inf if self.high is None else self.high
        if not low <= value <= high:
            raise ParamError(f"it must be in {low:g}..{high:g}")
        return self.kind(value)

    def parse(self, text: str) -> Any:
        """A value that was typed, as on a command line.

        Returns:
            As `check`.

        Raises:
            ParamError: the text is no allowed value.
        """
        if self.kind is str and not self.is_list:
            return self.check(text)
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            value = text
        return self.check([value] if self.is_list and not isinstance(value, list) else value)


def param(
    default: Any,
    description: str,
    *,
    unit: str = "",
    zero: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    words: tuple[str, ...] = (),
    whole_numbers: bool = False,
    launch: bool = False,
    advanced: bool = False,
) -> Any:
    """A field of a dataclass of parameters; the arguments are `ParamSpec`'s."""
    given = dict(locals())
    return field(default=given.pop("default"), metadata={_METADATA: given})


@dataclass(frozen=True)
class NodeParams:
    """Parameters of a node.

    Attributes:
        node: name of the node.
        replaced: old names, and what to set in their place.
    """

    node: ClassVar[str]
    replaced: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def specs(cls) -> dict[str, ParamSpec]:
        """The parameters by name, in their order."""
        hints = get_type_hints(cls)
        return {f.name: _spec(f, hints[f.name]) for f in fields(cls)}

    @classmethod
    def refuse_unknown(cls, names: Iterable[str]) -> None:
        """Refuse names that the node does not have.

        Raises:
            ParamError: names the first such parameter, and the remedy.
        """
        known = [f.name for f in fields(cls)]
        for name in names:
            if name in cls.replaced:
                raise ParamError(f"parameter '{name}' was renamed: set '{cls.replaced[name]}'")
            if name not in known:
                raise ParamError(f"unknown parameter '{name}'; this node has: {', '.join(known)}")


def _spec(declared: Field, hint: Any) -> ParamSpec:
    is_list = get_origin(hint) is tuple
    # The hint is `int`, `int | str` for a number with words, or `tuple[int, ...]` for a list.
    kind = (get_args(hint) or (hint,))[0]
    return ParamSpec(
        name=declared.name,
        default=declared.default,
        kind=kind,
        is_list=is_list,
        **declared.metadata[_METADATA],
    )


# Parameters of several nodes have one description.
_DEVICE = "Run the model on this device; auto uses a GPU where one works."
_REQUIRE_GPU = "Refuse to start where the model would run on the CPU."
_MAX_PEOPLE = "Limit the number of people of each camera."
_RECTIFIED = "Read P in place of K, without distortion: the images are rectified (image_rect)."
_SYNCHRONOUS = "Process every message in its order, however long it takes: for bags and tests."


@dataclass(frozen=True)
class VideoSourceParams(NodeParams):
    """Parameters of the node video_source."""

    node: ClassVar[str] = "video_source"

    source: str = param(
        "",
        "Play this video file, folder of images or webcam number; an existing path wins.",
        whole_numbers=True,
    )
    loop: bool = param(False, "Start again at the end.", launch=True)
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
        "Read the intrinsics from this calibration file; FILE#NAME takes one camera of several.",
        launch=True,
    )
    fov_deg: float | str = param(
        "auto",
        "Set the horizontal field of view where no calibration file is given; auto guesses "
        f"{DEFAULT_FOV_DEG:g} across the longer side.",
        unit="degrees",
        zero="unknown, no intrinsics",
        low=0.0,
        high=170.0,
        words=("auto",),
        launch=True,
    )
    rectified: bool = param(False, _RECTIFIED, launch=True)
    start_when_subscribed: bool = param(False, "Hold the first image until a subscriber is there.")
    exit_at_end: bool = param(False, "End the process at the end of the video.", advanced=True)


@dataclass(frozen=True)
class KeypointDetectorParams(NodeParams):
    """Parameters of the node keypoint_detector."""

    node: ClassVar[str] = "keypoint_detector"
    replaced: ClassVar[Mapping[str, str]] = {
        "search_every": "detection_interval",
    }

    detector: str = param(
        "blazepose",
        "Detect 2D keypoints with this backend; onnx runs a model of yours.",
        choices=BACKENDS,
        launch=True,
    )
    variant: str = param(
        "full",
        "Use this size of BlazePose: lite is faster, full is more exact.",
        choices=VARIANTS,
        launch=True,
    )
    model: str = param(
        "",
        "With detector onnx, load this .onnx file; its settings are in the .yaml beside it.",
        launch=True,
    )
    device: str = param("auto", _DEVICE, choices=DEVICES, launch=True)
    max_people: int = param(_CORE.max_people, _MAX_PEOPLE, low=1, high=20, launch=True)
    min_score: float = param(
        0.4,
        "Start tracks at this score; a track goes on down to half of it.",
        zero="every detection",
        low=0.0,
        high=1.0,
        launch=True,
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
    )
    roi: tuple[int, ...] = param(
        (0, 0, 0, 0),
        "Detect only in this part of the image: x, y, width, height.",
        unit="px",
        zero="as width or height, to the edge",
        low=0,
        high=32766,
    )
    max_side: int = param(
        0,
        "Shrink images with a longer side by 2, 4 or 8; large JPEGs decode faster.",
        unit="px",
        zero="no shrinking",
        low=0,
        high=32766,
    )
    synchronous: bool = param(False, _SYNCHRONOUS)
    require_gpu: bool = param(False, _REQUIRE_GPU, advanced=True)
    detection_interval: int = param(
        SEARCH_EVERY,
        "With blazepose, detect people in one tile per this number of landmark inferences, while "
        "places are free.",
        low=1,
        high=1000,
        advanced=True,
    )
    appearance: bool = param(
        True, "Compare colours of clothes to tell crossing people apart.", advanced=True
    )


@dataclass(frozen=True)
class SkeletonLifterParams(NodeParams):
    """Parameters of the node skeleton_lifter."""

    node: ClassVar[str] = "skeleton_lifter"
    replaced: ClassVar[Mapping[str, str]] = {
        "keep_sides": "swap_correction",
        "steady_s": "jitter_filter_s",
        "bone_memory_s": "bone_length_memory_s",
    }

    preset: str = param(
        "lite",
        "Use this size of the lifting model.",
        choices=presets_with_weights(),
        launch=True,
    )
    weights: str = param(
        "", "Load this .safetensors or .onnx file in place of the preset's weights.", launch=True
    )
    device: str = param("auto", _DEVICE, choices=DEVICES, launch=True)
    cameras: tuple[str, ...] = param(
        ("",),
        "Lift these cameras in one pass, each with its topics under its name; [''] means one "
        "unnamed camera.",
    )
    keypoints_type: str = param(
        "emf_ros",
        "Subscribe to keypoint messages of this package: emf_ros, or third-party messages.",
        choices=KEYPOINTS_TYPES,
        launch=True,
    )
    lag: int | str = param(
        _CORE.lag,
        "Publish the pose this number of model frames (30 Hz) behind the newest image; auto takes "
        "what latency_budget_ms allows.",
        unit="frames",
        zero="the newest image's pose",
        low=0,
        high=26,
        words=("auto",),
        launch=True,
    )
    latency_budget_ms: float = param(
        150.0,
        "With lag auto, limit the age of poses at publication.",
        unit="ms",
        low=1.0,
        high=2000.0,
        launch=True,
    )
    max_people: int = param(_CORE.max_people, _MAX_PEOPLE, low=1, high=256, launch=True)
    coast_s: float = param(
        _CORE.coast_s,
        "Keep a track without keypoints for this time, if it was seen for as long before.",
        unit="s",
        zero="none",
        low=0.0,
        high=5.0,
    )
    person_height_m: float = param(
        0.0,
        "Set the standing height of all people.",
        unit="m",
        zero="unknown",
        low=0.0,
        high=2.5,
        launch=True,
    )
    camera_height_m: tuple[float, ...] = param(
        (0.0,),
        "Take distances from the floor under a camera at this height; one value, or one a camera.",
        unit="m",
        zero="unknown",
        launch=True,
    )
    camera_pitch_deg: tuple[float, ...] = param(
        (0.0,),
        "With camera_height_m, set how far the camera looks down.",
        unit="degrees",
        zero="level",
        launch=True,
    )
    camera_roll_deg: tuple[float, ...] = param(
        (0.0,),
        "With camera_height_m, set how far the camera's right side is down.",
        unit="degrees",
        zero="level",
        launch=True,
    )
    use_depth: bool = param(
        False, "Take distances from the topic 'depth', registered to the camera's images."
    )
    jitter_filter_s: float = param(
        _CORE.jitter_filter_s,
        "Set the time constant of the filter against jumps from pose to pose; it delays no motion.",
        unit="s",
        zero="no filter",
        low=0.0,
        high=1.0,
    )
    smoothing_cutoff_hz: float = param(
        _CORE.smoothing_cutoff_hz,
        "Smooth poses by a One Euro filter with this cutoff at rest; 1 is a good value.",
        unit="Hz",
        zero="no filter and no delay",
        low=0.0,
        high=100.0,
    )
    rectified: bool = param(False, _RECTIFIED, launch=True)
    publish_tf: bool = param(
        False, "Publish each pelvis as a TF frame; needs the package tf2_msgs.", launch=True
    )
    synchronous: bool = param(False, _SYNCHRONOUS)
    require_gpu: bool = param(False, _REQUIRE_GPU, advanced=True)
    engine: str = param(
        "auto",
        "Run the model with this library; auto takes the fastest.",
        choices=ENGINES,
        advanced=True,
    )
    threads: int = param(
        0,
        "Set the number of CPU threads of the model.",
        zero="chosen by the number of cores",
        low=0,
        high=64,
        advanced=True,
    )
    min_frames: int = param(
        _CORE.min_frames,
        "Set the number of images until a person's state is TRACKED.",
        low=1,
        high=100,
        advanced=True,
    )
    max_gap_s: float = param(
        _CORE.max_gap_s,
        "Interpolate over gaps in the keypoints up to this time; more than two images' time.",
        unit="s",
        low=0.01,
        high=2.0,
        advanced=True,
    )
    swap_correction: bool = param(
        _CORE.swap_correction, "Correct left/right swaps of the detector.", advanced=True
    )
    bone_length_memory_s: float = param(
        _CORE.bone_length_memory_s,
        "Average a person's bone lengths over this time.",
        unit="s",
        zero="each pose has its own",
        low=0.0,
        high=3600.0,
        advanced=True,
    )
    smoothing_beta: float = param(
        _CORE.smoothing_beta,
        "With smoothing_cutoff_hz, raise the cutoff by this much per speed.",
        unit="Hz per m/s",
        zero="the same cutoff at any speed",
        low=0.0,
        high=1000.0,
        advanced=True,
    )


#: All dataclasses of parameters, in the order of the flow.
NODES: tuple[type[NodeParams], ...] = (
    VideoSourceParams,
    KeypointDetectorParams,
    SkeletonLifterParams,
)


# --- launch arguments ----------------------------------------------------------------------------


def launch_arguments(nodes: Iterable[type[NodeParams]]) -> dict[str, str]:
    """The launch arguments of some nodes.

    Returns:
        Descriptions by name. An argument of several nodes goes to each of them.
    """
    found: dict[str, list[ParamSpec]] = {}
    for node in nodes:
        for spec in node.specs().values():
            if spec.launch:
                found.setdefault(spec.name, []).append(spec)
    return {name: _argument_text(specs) for name, specs in found.items()}


def _argument_text(specs: list[ParamSpec]) -> str:
    # The narrowest range is the one that every node takes.
    narrow = min(specs, key=lambda spec: math.inf if spec.high is None else spec.high)
    values = "true, false" if narrow.kind is bool else narrow.allowed
    allowed = f" Allowed: {values}." if values else ""
    default = default_text(narrow)
    by_default = f" Default: {default}." if default != "''" else ""
    return f"{narrow.text}{allowed}{by_default}"


def default_text(spec: ParamSpec) -> str:
    """A parameter's default, as YAML on one line."""
    default = list(spec.default) if spec.is_list else spec.default
    text = yaml.safe_dump(default, default_flow_style=True, width=math.inf)
    return text.replace("\n...", "").strip()


def given_parameters(node: type[NodeParams], arguments: Mapping[str, str]) -> dict[str, Any]:
    """The parameters of a node that launch arguments give.

    Args:
        node: the dataclass of its parameters.
        arguments: texts by name; an empty one was not given.

    Returns:
        Values by name, lists as lists; only of what was given.

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
    """Sentences on launch arguments that name a parameter, but are no launch arguments of it.

    Args:
        nodes: that are launched.
        names: of all arguments that were given.
    """
    given = list(names)
    found = []
    for node in nodes:
        specs = node.specs()
        for name in given:
            new = node.replaced.get(name, name)
            if new in specs and not (name in specs and specs[name].launch):
                found.append(
                    f"{name} is no launch argument and is ignored: set {new} of {node.node} in "
                    "params_file"
                )
    return found


def read_switch(name: str, text: str) -> bool:
    """A launch argument that is true or false.

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

    Two nodes in one process refuse each other's parameters, so the file says whose they are.

    Args:
        values: of each node, by name.
        namespace: of the nodes, with wildcards. ROS reads sections in the order in which their
            names first appear, and merges sections of one name: there a word does not replace a
            number (`lag`). The default stands for any namespace as '/**' does, but no user's file
            has it, so these values win over those of a file that is given before.

    Returns:
        The file's path; empty where there are no values.
    """
    content = {
        f"{namespace}/{node.node}": {"ros__parameters": dict(own)}
        for node, own in values.items()
        if own
    }
    if not content:
        return ""
    with tempfile.NamedTemporaryFile("w", prefix="emf_ros_", suffix=".yaml", delete=False) as file:
        yaml.safe_dump(content, file)
    return file.name
