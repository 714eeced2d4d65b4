"""What fixes a lifter, and the sizes that we ship. Needs no torch."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from .. import __version__
from ..io.paths import share_folder
from ..skeletons import get_layout

#: Of weights files. Raised by one whenever the meaning of input or output changes, or what is said
#: of it: older files then do not fit.
FORMAT = "emf_ros-lifter-2"

ALIGNMENTS = ("paper", "causal")
PADDINGS = ("replicate", "zero")
COMBINATIONS = ("residual", "motion_only", "compressed")


@dataclass(frozen=True)
class MotionFlowConfig:
    """What the paper fixes, and what it leaves open; the defaults are what we ship.

    Attributes:
        dim: D, the width of the features (66); a multiple of the number of scales.
        channels: C, the width of the input (3: x, y and score).
        scales: S, the temporal scales (1, 2, 4).
        max_taps: a kernel has min(s + 1, max_taps) taps (5).
        alignment: where the taps lie. 'paper' (default): at offsets i - floor(k/2), as equation (1)
            has it, so that scale 4 sees two frames ahead. 'causal': the last tap is the newest
            frame and nothing is seen ahead.
        padding: what lies beyond the ends: 'replicate' (default) repeats the first and last frame,
            'zero' puts zeros, which the kernels take for a jump.
        dilated: taps lie s frames apart (False: next to each other).
        joint_kernels: number of joints that have kernels of their own; 0 (default) shares one
            kernel per scale and channel among all joints, K_s in R^(k_s x 3) as in 3.1.2.
        pattern_score: the finite differences of 3.4.2 also start the kernels of the score (True);
            otherwise only x and y's, and the score's start from zero.
        forward_sign: scale 1 starts as x[t] - x[t-1]. False (default) is the paper's literal
            [1, -1], which is x[t-1] - x[t] and so runs against scale 2's [-0.5, 0, 0.5].
        final_relu: f, g and h end in a ReLU (True), as in (2), (4) and (5).
        dropout: after the first ReLU of f, g and h (0.1). The paper gives the rate, not the place.
        combine: 'residual' (default) is F_output = g(X) + h(F_motion), (6). 'motion_only' leaves
            g(X) out. 'compressed' is what the paper argues against in 3.1.1: motion squeezed back
            into the input's width, X + h(F_motion) in R^C.
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
        # From JSON the scales come as a list, which would make the settings unequal to themselves.
        object.__setattr__(self, "scales", tuple(self.scales))
        if not self.scales or any(s < 1 for s in self.scales):
            raise ValueError(f"scales must be one or more numbers from 1 up, not {self.scales}")
        if self.dim < 1 or self.dim % len(self.scales):
            raise ValueError(f"dim {self.dim} is no multiple of the {len(self.scales)} scales")
        if self.max_taps < 2:
            raise ValueError(f"max_taps must be 2 or more, not {self.max_taps}")
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
        """Features per frame and joint that come out."""
        return self.channels if self.combine == "compressed" else self.dim


NORMALIZATIONS = ("virtual_camera", "image_width")
FEATURES = ("emf", "difference", "none")
POSITIONS = ("before_embedding", "after_embedding")


@dataclass(frozen=True)
class LifterConfig:
    """Everything that fixes a lifter's shape and the meaning of its input.

    Attributes:
        frames: T, the window's length.
        frame_stride: number of frames that TCPFormer sees as one token (1): EMF runs at every
            frame, the features of `frame_stride` neighbouring frames stand side by side in one
            token, and the token's heads answer for each of these frames. The newest frame ends the
            last token. T must be a multiple.
        rate_hz: rate of the window's frames.
        layers, dim, dim_rep, heads, mlp_ratio, layer_scale, local_branch: see `TCPFormer`.
        layout: the joints, both in and out.
        features: what stands in front of TCPFormer: 'emf' (default), or one of the rivals that it
            has to beat: 'difference', keypoints and x[t] - x[t-1]; 'none', the keypoints alone.
        motion: EMF's own settings.
        position: where P, learned per joint, is added: 'before_embedding' (default), at width D as
            in 3.1.6 of the EMF paper, or 'after_embedding', as TCPFormer does alone.
        temporal_position: a learned vector per frame is added behind the embedding (False:
            TCPFormer has none).
        normalization: of the input. 'virtual_camera' (default): see `geometry.canonical_window`.
            'image_width': as the published networks, x from -1 to 1 across the image, y in the same
            unit; it gives no metric output.
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
        for name, least in (
            ("frames", 3),
            ("frame_stride", 1),
            ("layers", 1),
            ("dim", 1),
            ("dim_rep", 1),
            ("heads", 1),
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be a whole number from {least} up, not {value!r}")
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
        if not self.rate_hz > 0:
            raise ValueError(f"rate_hz must be positive, not {self.rate_hz!r}")
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
            # There P and the embedding's own offset would be one and the same thing.
            object.__setattr__(self, "position", "after_embedding")

    @property
    def tokens(self) -> int:
        """Tokens per joint in TCPFormer: T / frame_stride."""
        return self.frames // self.frame_stride

    @property
    def feature_width(self) -> int:
        """Width of the features of one frame and joint."""
        channels = self.motion.channels
        return {"emf": self.motion.width, "difference": 2 * channels, "none": channels}[
            self.features
        ]

    def metadata(self) -> dict[str, str]:
        """What an exported file says of itself, as text: all that a reader in another language has
        to know, and the whole configuration as JSON."""
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
        """The way back from `metadata`.

        Raises:
            ValueError: another format, no or an impossible configuration, or one that contradicts
                what stands beside it.
        """
        if metadata.get("format") != FORMAT:
            raise ValueError(
                f"the format is {metadata.get('format')!r}; this version reads {FORMAT!r}"
            )
        try:
            config = cls.from_dict(json.loads(metadata["config"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"it describes no lifter: {error}") from None
        for key, value in config.metadata().items():
            if key not in ("version", "config") and metadata.get(key, value) != value:
                raise ValueError(
                    f"it says {key} {metadata[key]!r} and describes a lifter of {value!r}"
                )
        return config

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> LifterConfig:
        """The way back from `as_dict`.

        Raises:
            TypeError, ValueError: unknown, missing or impossible settings.
        """
        stored = dict(stored)
        motion = stored.pop("motion", {})
        for given, kind in ((stored, cls), (motion, MotionFlowConfig)):
            unknown = set(given) - {f.name for f in fields(kind)}
            if unknown:
                raise ValueError(f"unknown settings {sorted(unknown)}")
        return cls(**stored, motion=MotionFlowConfig(**motion))


def get_preset(name: str) -> LifterConfig:
    """A shipped size by its name.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; known: {', '.join(PRESETS)}")
    return PRESETS[name]


def presets_with_weights() -> tuple[str, ...]:
    """Names of the sizes whose weights are installed: what nodes and tools offer."""
    folder = share_folder("models")
    return tuple(name for name in PRESETS if (folder / f"{name}.safetensors").is_file())


PRESETS: dict[str, LifterConfig] = {
    # Half the heads and MLP width of the paper's: that is where a CPU's time goes. What it learns
    # from, docs/experiments/accuracy.md has measured.
    "lite": LifterConfig(
        frames=27,
        layers=2,
        dim=64,
        dim_rep=128,
        heads=4,
        mlp_ratio=2.0,
        layer_scale=1.0,
        temporal_position=True,
        # A network this small has nothing to be kept from learning by heart.
        motion=MotionFlowConfig(dropout=0.0),
    ),
    "small": LifterConfig(frames=81, layers=8, dim=128, dim_rep=256),
    "base": LifterConfig(frames=81, layers=16, dim=128, dim_rep=512),
}
