"""Import of the networks that the authors of TCPFormer publish.

A published file is a state of training, written by `torch.save`: a dictionary of `epoch`, `lr`,
`optimizer`, `model`, `min_mpjpe` and `wandb_id`. The weights are under `model`. Each name begins
with the `module.` of `nn.DataParallel`. `load_published` gives the network as it is.
`lifter_from_published` gives a lifter for further training. The meaning of the names is in
`published_names`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..skeletons import get_layout
from .lifter import Lifter
from .presets import LifterConfig
from .published_file import PublishedError, listed, read_checkpoint, state_dict_in
from .published_names import published_names
from .tcpformer import TCPFormer

#: Layer scale of the local branch in published networks. In the code that trained them it was no
#: parameter, so that it was neither trained nor saved.
LOCAL_SCALE = 1e-5


@dataclass(frozen=True)
class PublishedSizes:
    """Shape of a published network.

    Attributes:
        layers, dim, dim_in, dim_rep, mlp_ratio, joints, frames, heads: see `TCPFormer`.
        dim_out: width of the output per joint.
    """

    layers: int
    dim: int
    dim_in: int
    dim_rep: int
    dim_out: int
    mlp_ratio: float
    joints: int
    frames: int
    heads: int = 8

    def lifter_config(self) -> LifterConfig:
        """The configuration of a lifter that takes over as much of the network as possible.

        The rate is the default of `LifterConfig`. The file does not say the rate of its training
        data; Human3.6M has 50 Hz.
        """
        return LifterConfig(
            frames=self.frames,
            layers=self.layers,
            dim=self.dim,
            dim_rep=self.dim_rep,
            heads=self.heads,
            mlp_ratio=self.mlp_ratio,
            layer_scale=LOCAL_SCALE,
            local_branch=True,
            normalization="image_width",
        )


class PublishedTCPFormer(nn.Module):
    """The published network: our trunk with the published head.

    Input are x, y and score normalised by the image's width: x from -1 to 1, y in the same unit.
    Output is in the same unit, not in metres; some networks give it relative to the pelvis. The
    file says neither that nor the order of the joints. Human3.6M networks have the order of h36m17.
    MPI-INF-3DHP networks have another order, with the pelvis as number 14.

    Attributes:
        sizes: see `PublishedSizes`.
        trunk: with the local branch, its layer scales frozen at `LOCAL_SCALE`.
        head: representation to output.
    """

    def __init__(self, sizes: PublishedSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.trunk = TCPFormer(
            sizes.dim_in,
            sizes.dim,
            sizes.dim_rep,
            sizes.layers,
            sizes.frames,
            sizes.joints,
            sizes.heads,
            sizes.mlp_ratio,
            LOCAL_SCALE,
            local_branch=True,
        )
        self.head = nn.Linear(sizes.dim_rep, sizes.dim_out)
        freeze_local_scales(self.trunk)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, J, dim_in) -> (B, T, J, dim_out).

        Raises:
            ValueError: see `TCPFormer`; also 4 frames, which cannot be split into thirds.
        """
        out: Tensor = self.head(self.trunk(x))
        return out


def freeze_local_scales(trunk: TCPFormer) -> None:
    """Exclude the layer scales of the local branch from training, as in the published code.

    Weights files do not store this: call it again after `load_weights`.
    """
    for name, parameter in trunk.local_blocks.named_parameters():
        if name.endswith((".scale1", ".scale2")):
            parameter.requires_grad_(False)


def published_local_scales(trunk: TCPFormer) -> bool:
    """Whether the layer scales of the local branch have their published value."""
    scales = [
        parameter
        for name, parameter in trunk.local_blocks.named_parameters()
        if name.endswith((".scale1", ".scale2"))
    ]
    return bool(scales) and all(bool((scale == LOCAL_SCALE).all()) for scale in scales)


def load_published(
    path: str | Path, *, frames: int | None = None, heads: int = 8
) -> PublishedTCPFormer:
    """A published checkpoint as a network on the CPU in float32, in evaluation mode.

    The file may also be the state dict itself, with or without `module.`. Sizes are read from the
    tensors, except for the two arguments. Only tensors and containers of plain values are built,
    and a stand-in for the numpy scalar of `min_mpjpe`. Everything else is refused.

    Args:
        path: the checkpoint.
        frames: T of its training. The file only has the number of proxies, T // 3. None takes three
            times that. The output does not depend on it.
        heads: number of attention heads, which the tensors do not show; the published networks have
            8. A wrong number gives no error and wrong output.

    Raises:
        PublishedError: the file is missing, unreadable or unsafe; or its tensors have other names,
            shapes or types than those of such a network, or are not finite.
        ValueError: `frames` does not fit the number of proxies, or `heads` the width.
    """
    path = Path(path)
    tensors = state_dict_in(read_checkpoint(path), path)
    layers = len({key.split(".")[1] for key in tensors if re.match(r"(temporal_)?layers\.\d", key)})
    names = published_names(max(1, layers))
    missing = [key for key in names if key not in tensors]
    unknown = [key for key in tensors if key not in names]
    if missing or unknown:
        raise PublishedError(
            f"{path} is no TCPFormer: {len(missing)} tensors are missing ({listed(missing)}), "
            f"{len(unknown)} are unknown ({listed(unknown)})"
        )
    sizes = _sizes(tensors, layers, frames, heads, path)
    with torch.device("meta"):  # of any size without taking memory
        network = PublishedTCPFormer(sizes)
    shapes = {key: tuple(parameter.shape) for key, parameter in network.named_parameters()}
    wrong = []
    for key, (name, third) in names.items():
        shape, wanted = tuple(tensors[key].shape), shapes[name][0 if third is None else 1 :]
        if shape != wanted:
            wrong.append(f"{key} {shape}, not {wanted}")
    if wrong:
        raise PublishedError(
            f"{path}: {len(wrong)} tensors have shapes other than those of {sizes}: {listed(wrong)}"
        )
    tensors = {key: tensor.detach().to(torch.float32) for key, tensor in tensors.items()}
    infinite = [key for key, tensor in tensors.items() if not bool(tensor.isfinite().all())]
    if infinite:
        raise PublishedError(f"{path} holds values that are not finite, in {listed(infinite)}")

    ours: dict[str, Tensor] = {}
    thirds: dict[str, list[Tensor]] = {}
    for key, (name, third) in names.items():
        if third is None:
            ours[name] = tensors[key].clone(memory_format=torch.contiguous_format)
        else:  # they come in order
            thirds.setdefault(name, []).append(tensors[key])
    ours |= {name: torch.stack(parts) for name, parts in thirds.items()}
    for i in range(layers):
        for scale in ("scale1", "scale2"):
            ours[f"trunk.local_blocks.{i}.{scale}"] = torch.full((3, sizes.dim), LOCAL_SCALE)
    network.load_state_dict(ours, assign=True)
    return network.eval()


#: Tensor, dimension and number of dimensions from which each size is read.
_SIZES = {
    "dim": ("joints_embed.weight", 0, 2),
    "dim_in": ("joints_embed.weight", 1, 2),
    "dim_rep": ("head.weight", 1, 2),
    "dim_out": ("head.weight", 0, 2),
    "joints": ("pos_embed", 1, 3),
    "proxies": ("center_pose", 0, 3),
    "hidden": ("layers.0.att_spatial.mlp.fc1.weight", 0, 2),
}


def _sizes(
    tensors: dict[str, Tensor], layers: int, frames: int | None, heads: int, path: Path
) -> PublishedSizes:
    found: dict[str, int] = {}
    for size, (key, axis, dimensions) in _SIZES.items():
        shape = tuple(tensors[key].shape)
        if len(shape) != dimensions or not all(shape):
            raise PublishedError(
                f"{path}: {key} has {dimensions} dimensions in a TCPFormer, none of them empty; "
                f"here it is {shape}"
            )
        found[size] = shape[axis]
    proxies, hidden, dim = found.pop("proxies"), found.pop("hidden"), found["dim"]
    if frames is None:
        frames = 3 * proxies
    elif frames // 3 != proxies:
        raise ValueError(
            f"{path} has {proxies} proxies, as for {3 * proxies} to {3 * proxies + 2} frames, "
            f"not for {frames}"
        )
    if heads < 1 or dim % heads:
        raise ValueError(f"{path} is {dim} wide, which does not part into {heads} heads")
    ratio = hidden / dim
    if int(dim * ratio) < hidden:
        # The division was rounded down; the network would be too narrow by one.
        ratio = math.nextafter(ratio, math.inf)
    return PublishedSizes(**found, layers=layers, mlp_ratio=ratio, frames=frames, heads=heads)


def lifter_from_published(
    path: str | Path,
    config: LifterConfig | None = None,
    *,
    frames: int | None = None,
    heads: int | None = None,
) -> Lifter:
    """A lifter with the weights of a published network, for further training.

    EMF, P and W_embed replace the published embedding of the joints. They are initialised as in a
    new lifter, and so is the head of the error's scale. All else is published: the trunk,
    `trunk.joint_position`, which is frozen, and the head of the positions, which gives no metres
    before training. The layer scales of the local branch are `LOCAL_SCALE` and frozen, see
    `freeze_local_scales`.

    Args:
        path: see `load_published`.
        config: None takes `PublishedSizes.lifter_config`. A given one has the file's sizes; it may
            do without the local branch, and its layout says what the file's joints are. Without
            features in front (`features='none'`) the published embedding is kept as well.
        frames, heads: see `load_published`; a given config has its own.

    Returns:
        the lifter, on the CPU and in evaluation mode.

    Raises:
        PublishedError: see `load_published`.
        ValueError: `frames`, `heads` or the config does not fit the file.
    """
    if config is None:
        network = load_published(path, frames=frames, heads=8 if heads is None else heads)
        config = network.sizes.lifter_config()
    elif frames is None and heads is None:
        network = load_published(path, frames=config.frames, heads=config.heads)
    else:
        raise ValueError("frames and heads are the config's where one is given")
    sizes = network.sizes
    different = [
        f"{name} {getattr(config, name)}, not {getattr(sizes, name)}"
        for name in ("layers", "dim", "dim_rep")
        if getattr(config, name) != getattr(sizes, name)
    ]
    if int(config.dim * config.mlp_ratio) != int(sizes.dim * sizes.mlp_ratio):
        different.append(f"mlp_ratio {config.mlp_ratio:g}, not {sizes.mlp_ratio:g}")
    if len(get_layout(config.layout)) != sizes.joints:
        different.append(f"layout {config.layout}, not one of {sizes.joints} joints")
    if different:
        raise ValueError(f"the config does not fit {path}: {listed(different)}")

    lifter = Lifter(config)
    trunk = lifter.trunk.state_dict()
    for name, tensor in network.trunk.state_dict().items():
        if name.startswith("embed.") and (
            config.features != "none" or trunk[name].shape != tensor.shape
        ):
            continue
        if name.startswith("local_blocks.") and not config.local_branch:
            continue
        trunk[name] = tensor
    lifter.trunk.load_state_dict(trunk)
    if sizes.dim_out == 3:
        lifter.position_head.load_state_dict(network.head.state_dict())
    freeze_local_scales(lifter.trunk)
    return lifter.eval()
