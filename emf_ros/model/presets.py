"""Configuration of a lifter, and the presets. Needs no torch."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from .. import __version__
from ..io.one_line import one_line
from ..io.paths import share_folder
from ..skeletons import get_layout

#: Name of the format of weights files. Its number rises when the meaning of input, output or
#: metadata changes; older files are then refused.
FORMAT = "emf_ros-lifter-2"

ALIGNMENTS = ("paper", "causal")
PADDINGS = ("replicate", "zero")
COMBINATIONS = ("residual", "motion_only", "compressed")


#: Maximum width of a layer. A network of weights of others is not built beyond it.
MAX_WIDTH = 65_536
#: Maximum number of layers, of taps or of scales.
MAX_COUNT = 1000
#: Maximum number of frames of a window: five minutes.
MAX_FRAMES = 10_000
#: Minimum and maximum rate of the frames, Hz.
RATES_HZ = (1.0, 1000.0)


def _check_whole(config: object, ranges: dict[str, tuple[int, int]]) -> None:
    """Refuse settings that are no whole number in their range."""
    for name, (least, most) in ranges.items():
        value = getattr(config, name)
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"{name} must be a whole number in {least}..{most}, not {value!r}")


def _check_number(config: object, name: str, least: float, most: float) -> None:
    """Refuse a setting that is no number in its range."""
    value = getattr(config, name)
    if type(value) not in (int, float) or not least <= value <= most:
        raise ValueError(f"{name} must be a number in {least:g}..{most:g}, not {value!r}")


def _check_switches(config: object, *names: str) -> None:
    """Refuse settings that are neither true nor false."""
    for name in names:
        if not isinstance(value := getattr(config, name), bool):
            raise ValueError(f"{name} must be true or false, not {value!r}")


@dataclass(frozen=True)
class MotionFlowConfig:
    """Settings of EMF. Other values than the defaults serve `benchmarks/paper_claims.py`.

    Attributes:
        dim: D, width of the features; a multiple of the number of scales.
        channels: C, width of the input: x, y and score.
        scales: S, temporal scales.
        max_taps: maximum number of taps; a kernel has min(s + 1, max_taps).
        alignment: positions of the taps. 'paper': offsets i - floor(k/2), as in equation (1), so
            that scale 4 depends on two later frames. 'causal': the last tap is the current frame.
        padding: frames beyond the ends. 'replicate' repeats the first and the last frame. 'zero'
            is zeros, which act as a jump.
        dilated: whether taps are s frames apart, not one.
        joint_kernels: number of joints with separate kernels. 0 shares one kernel per scale and
            channel among all joints, K_s in R^(k_s x 3) as in 3.1.2.
        pattern_score: whether the finite differences of 3.4.2 also initialise the kernels of the
            score. Otherwise these begin at zero.
        forward_sign: whether scale 1 begins as x[t] - x[t-1]. The paper's [1, -1] is x[t-1] - x[t],
            opposite in sign to scale 2's [-0.5, 0, 0.5].
        final_relu: whether f, g and h end in a ReLU, as in (2), (4) and (5).
        dropout: rate after the first ReLU of f, g and h. The paper does not give the position.
        combine: 'residual' is F_output = g(X) + h(F_motion), (6). 'motion_only' leaves g(X) out.
            'compressed' is X + h(F_motion) in R^C, which the paper rejects in 3.1.1.
    """

    dim: int = 66
    channels: int = 3
    scales: tuple[int, ...] = (1, 2, 4)
    max_taps: int = 5
    alignment: str = "paper"
    padding: str = "replicate"
    dilated: bool = False
    joint_kernels: int = 0
    pattern_score: bool = True
    forward_sign: bool = False
    final_relu: bool = True
    dropout: float = 0.1
    combine: str = "residual"

    def __post_init__(self) -> None:
        if not isinstance(self.scales, (list, tuple)):
            raise ValueError(f"scales must be a list of whole numbers, not {self.scales!r}")
        # JSON gives the scales as a list, which is not equal to a tuple.
        object.__setattr__(self, "scales", tuple(self.scales))
        if not 1 <= len(self.scales) <= MAX_COUNT or any(
            type(s) is not int or not 1 <= s <= MAX_COUNT for s in self.scales
        ):
            raise ValueError(
                f"scales must be one or more whole numbers in 1..{MAX_COUNT}, not {self.scales}"
            )
        _check_whole(
            self,
            {
                "dim": (1, MAX_WIDTH),
                "channels": (1, MAX_COUNT),
                "max_taps": (2, MAX_COUNT),
                "joint_kernels": (0, MAX_COUNT),
            },
        )
        _check_number(self, "dropout", 0.0, 1.0)
        _check_switches(self, "dilated", "pattern_score", "forward_sign", "final_relu")
        if self.dim % len(self.scales):
            raise ValueError(f"dim {self.dim} is no multiple of the {len(self.scales)} scales")
        for name, known in (
            ("alignment", ALIGNMENTS),
            ("padding", PADDINGS),
            ("combine", COMBINATIONS),
        ):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} must be one of {', '.join(known)}, not {getattr(self, name)!r}"
                )

    @property
    def width(self) -> int:
        """Number of features per frame and joint."""
        return self.channels if self.combine == "compressed" else self.dim


NORMALIZATIONS = ("virtual_camera", "image_width")
FEATURES = ("emf", "difference", "none")
POSITIONS = ("before_embedding", "after_embedding")


@dataclass(frozen=True)
class LifterConfig:
    """Shape of a lifter and meaning of its input.

    Attributes:
        frames: T, number of frames of a window.
        frame_stride: number of frames per token of TCPFormer. EMF runs at every frame. One token
            has the features of `frame_stride` neighbouring frames, and the heads give the joints of
            each of these frames. The newest frame ends the last token. T must be a multiple.
        rate_hz: rate of the frames, Hz.
        layers, dim, dim_rep, heads, mlp_ratio, layer_scale, local_branch: see `TCPFormer`.
        layout: joints of input and output.
        features: input of TCPFormer: 'emf'; 'difference', keypoints and x[t] - x[t-1]; or 'none',
            keypoints alone. The last two are for comparisons.
        motion: settings of EMF.
        position: where P, learned per joint, is added: 'before_embedding', at width D as in 3.1.6
            of the EMF paper, or 'after_embedding', as in TCPFormer.
        temporal_position: whether a learned vector per frame is added after the embedding.
            TCPFormer has none.
        normalization: of the input. 'virtual_camera': see `geometry.canonical_window`.
            'image_width': as in the published networks, x from -1 to 1 across the image, and y in
            the same unit. It gives no metric output.
    """

    frames: int
    layers: int
    dim: int
    dim_rep: int
    frame_stride: int = 1
    rate_hz: float = 30.0
    heads: int = 8
    mlp_ratio: float = 4.0
    layer_scale: float = 0.1
    local_branch: bool = False
    layout: str = "h36m17"
    features: str = "emf"
    motion: MotionFlowConfig = field(default_factory=MotionFlowConfig)
    position: str = "before_embedding"
    temporal_position: bool = False
    normalization: str = "virtual_camera"

    def __post_init__(self) -> None:
        get_layout(self.layout)
        _check_whole(
            self,
            {
                "frames": (3, MAX_FRAMES),
                "frame_stride": (1, MAX_FRAMES),
                "layers": (1, MAX_COUNT),
                "dim": (1, MAX_WIDTH),
                "dim_rep": (1, MAX_WIDTH),
                "heads": (1, MAX_WIDTH),
            },
        )
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} is no multiple of the {self.heads} heads")
        if self.frames % self.frame_stride:
            raise ValueError(
                f"frames {self.frames} is no multiple of the frame_stride {self.frame_stride}"
            )
        if self.tokens < 3:
            raise ValueError(
                f"{self.frames} frames with a frame_stride of {self.frame_stride} are "
                f"{self.tokens} tokens; TCPFormer needs 3 or more"
            )
        for name, (low, high) in (
            ("rate_hz", RATES_HZ),
            ("mlp_ratio", (0.0, float(MAX_COUNT))),
            ("layer_scale", (-float(MAX_COUNT), float(MAX_COUNT))),
        ):
            _check_number(self, name, low, high)
        _check_switches(self, "local_branch", "temporal_position")
        for name, known in (
            ("features", FEATURES),
            ("position", POSITIONS),
            ("normalization", NORMALIZATIONS),
        ):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} must be one of {', '.join(known)}, not {getattr(self, name)!r}"
                )
        if self.features != "emf" and self.position == "before_embedding":
            # P would duplicate the offset of the embedding.
            object.__setattr__(self, "position", "after_embedding")

    @property
    def tokens(self) -> int:
        """Number of tokens per joint in TCPFormer: T / frame_stride."""
        return self.frames // self.frame_stride

    @property
    def feature_width(self) -> int:
        """Width of the features of one frame and joint."""
        channels = self.motion.channels
        return {"emf": self.motion.width, "difference": 2 * channels, "none": channels}[
            self.features
        ]

    def metadata(self) -> dict[str, str]:
        """Metadata of a weights file: what a reader in another language needs, and the whole
        configuration as JSON.
        """
        return {
            "format": FORMAT,
            "version": __version__,
            "layout": self.layout,
            "frames": str(self.frames),
            "rate_hz": f"{self.rate_hz:g}",
            "normalization": self.normalization,
            "config": json.dumps(self.as_dict(), sort_keys=True),
        }

    @classmethod
    def from_metadata(cls, metadata: dict[str, str]) -> LifterConfig:
        """The inverse of `metadata`.

        Raises:
            ValueError: the format differs, or the configuration is missing, impossible, or
                contradicts the other entries.
        """
        if metadata.get("format") != FORMAT:
            found = one_line(repr(metadata.get("format")))
            raise ValueError(f"the format is {found}; this version reads {FORMAT!r}")
        try:
            config = cls.from_dict(json.loads(metadata["config"]))
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise ValueError(f"it describes no lifter: {one_line(error)}") from None
        for key, value in config.metadata().items():
            if key not in ("version", "config") and metadata.get(key, value) != value:
                raise ValueError(
                    f"it says {key} {one_line(repr(metadata[key]))} and describes a lifter of "
                    f"{value!r}"
                )
        return config

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> LifterConfig:
        """The inverse of `as_dict`.

        Raises:
            TypeError, ValueError: a setting is unknown, missing or impossible.
        """
        stored = dict(stored)
        motion = stored.pop("motion", {})
        for given, kind in ((stored, cls), (motion, MotionFlowConfig)):
            unknown = set(given) - {f.name for f in fields(kind)}
            if unknown:
                raise ValueError(f"unknown settings {sorted(map(str, unknown))}")
        return cls(**stored, motion=MotionFlowConfig(**motion))


def get_preset(name: str) -> LifterConfig:
    """The configuration of a preset.

    Raises:
        ValueError: there is no preset of that name.
    """
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; known: {', '.join(PRESETS)}")
    return PRESETS[name]


def presets_with_weights() -> tuple[str, ...]:
    """Names of the presets whose weights are installed. Nodes and tools offer only these."""
    folder = share_folder("models")
    return tuple(name for name in PRESETS if (folder / f"{name}.safetensors").is_file())


PRESETS: dict[str, LifterConfig] = {
    # Half the paper's heads and MLP width, since these cost most of the time on a CPU. Measurements
    # are in docs/experiments/accuracy.md.
    "lite": LifterConfig(
        frames=27,
        # Three frames are one token: two thirds of the time of a pass, at 1.5 times the width.
        frame_stride=3,
        layers=2,
        dim=96,
        dim_rep=128,
        heads=4,
        mlp_ratio=2.0,
        layer_scale=1.0,
        temporal_position=True,
        # A network of this size does not overfit.
        motion=MotionFlowConfig(dropout=0.0),
    ),
    "small": LifterConfig(frames=81, layers=8, dim=128, dim_rep=256),
    "base": LifterConfig(frames=81, layers=16, dim=128, dim_rep=512),
}
