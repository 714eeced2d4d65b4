"""The sizes that we ship."""

from __future__ import annotations

from dataclasses import asdict, dataclass

#: Of weights files. Raised by one whenever the meaning of input or output changes: older files then
#: do not fit.
FORMAT = "emf_ros-lifter-1"


@dataclass(frozen=True)
class LifterConfig:
    """Everything that fixes a lifter's shape and the meaning of its input.

    Attributes:
        frames: T, the window's length.
        rate_hz: rate of the window's frames.
        layers, dim, dim_rep, heads, mlp_ratio, layer_scale, local_branch: see `TCPFormer`.
        motion_dim: D of EMF, the width of its features.
        layout: the joints, both in and out.
    """

    frames: int
    layers: int
    dim: int
    dim_rep: int
    rate_hz: float = 30.0
    heads: int = 8
    mlp_ratio: float = 4.0
    layer_scale: float = 0.1
    local_branch: bool = False
    motion_dim: int = 66
    layout: str = "h36m17"

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


PRESETS: dict[str, LifterConfig] = {
    # Half the heads and MLP width of the paper's: that is where a CPU's time goes.
    "lite": LifterConfig(frames=27, layers=2, dim=64, dim_rep=128, heads=4, mlp_ratio=2.0),
    "small": LifterConfig(frames=81, layers=8, dim=128, dim_rep=256),
    "base": LifterConfig(frames=81, layers=16, dim=128, dim_rep=512),
}
