"""Names of the tensors in published checkpoints of TCPFormer, and of ours."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

# Tensors of each kind of module.
_ITSELF = ("",)
_LINEAR = _NORM = ("weight", "bias")
_MLP = ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias")
_ATTENTION = ("qkv.weight", "proj.weight", "proj.bias")
_CROSS_ATTENTION = ("wq.weight", "wk.weight", "wv.weight", "proj.weight", "proj.bias")

#: The published name of a module, our name, and its tensors.
Row = tuple[str, str, tuple[str, ...]]

#: Modules of the network; our names are those in `PublishedTCPFormer`. The published code calls
#: the proxies "center" and the clip "full".
NETWORK: tuple[Row, ...] = (
    ("joints_embed", "trunk.embed", _LINEAR),
    ("pos_embed", "trunk.joint_position", _ITSELF),
    ("center_pose", "trunk.proxy", _ITSELF),
    ("center_pos_embed", "trunk.proxy_joint_position", _ITSELF),
    ("norm", "trunk.norm", _NORM),
    ("rep_logit.fc", "trunk.representation", _LINEAR),
    ("head", "head", _LINEAR),
)

#: The four blocks of layers.N, in ours trunk.blocks.N. The "graph" stream has no graph, and its
#: names are reversed: the first block attends over time, the second over joints.
STREAMS = (
    ("att_spatial", "joints_first.0"),
    ("att_temporal", "joints_first.1"),
    ("graph_spatial", "time_first.0"),
    ("graph_temporal", "time_first.1"),
)

#: Modules of each of these blocks.
BLOCK: tuple[Row, ...] = (
    ("norm1", "norm1", _NORM),
    ("mixer", "attention", _ATTENTION),
    ("layer_scale_1", "scale1", _ITSELF),
    ("norm2", "norm2", _NORM),
    ("mlp", "mlp", _MLP),
    ("layer_scale_2", "scale2", _ITSELF),
)

#: Lists in temporal_layers.N with an entry per third of the clip: name, number of the first entry,
#: our name in trunk.local_blocks.N, tensors. In ours the three are stacked along a leading axis.
#: `scale1` and `scale2` are not saved, see `published.LOCAL_SCALE`.
LOCAL = (
    ("local_norms", 0, "norm1", _NORM),
    ("local_attention_list", 0, "", _ATTENTION),
    ("local_norms", 3, "norm2", _NORM),
    ("loacl_mlps", 0, "", _MLP),  # their spelling
)

#: Modules of temporal_layers.N.cross_temporal, in ours trunk.proxy_blocks.N.
PROXY: tuple[Row, ...] = (
    # The proxies attend to the clip.
    ("norm_center", "norm_proxy", _NORM),
    ("norm_full", "norm_clip", _NORM),
    ("center_full", "proxy_from_clip", _CROSS_ATTENTION),
    ("layer_scale_1", "scale_proxy", _ITSELF),
    ("norm_1", "norm_proxy_mlp", _NORM),
    ("mlp_1", "proxy_mlp", _MLP),
    ("layer_scale_2", "scale_proxy_mlp", _ITSELF),
    # The clip attends to the proxies.
    ("full_center", "clip_from_proxy", _CROSS_ATTENTION),
    ("layer_scale_3", "scale_clip", _ITSELF),
    ("norm_2", "norm_clip_mlp", _NORM),
    ("mlp_2", "clip_mlp", _MLP),
    ("layer_scale_4", "scale_clip_mlp", _ITSELF),
    # The clip attends to itself.
    ("norm_sa_self", "self_block.norm1", _NORM),
    ("map_sa_self", "self_block.attention", _ATTENTION),
    ("layer_scale_7", "self_block.scale1", _ITSELF),
    ("norm_mlp_self", "self_block.norm2", _NORM),
    ("mlp_sa_self", "self_block.mlp", _MLP),
    ("layer_scale_8", "self_block.scale2", _ITSELF),
    # The clip attends to itself directly and through the proxies. The share of the direct map is
    # the sigmoid of att_weight.
    ("norm_sa_1", "norm_sum", _NORM),
    ("map_sum", "sum_attention", _ATTENTION),
    ("att_weight", "sum_logit", _ITSELF),
    ("layer_scale_5", "scale_sum", _ITSELF),
    ("norm_sa_2", "norm_sum_mlp", _NORM),
    ("mlp_sa", "sum_mlp", _MLP),
    ("layer_scale_6", "scale_sum_mlp", _ITSELF),
)


class Place(NamedTuple):
    """A parameter of `PublishedTCPFormer`, and its index along the first axis, or None."""

    name: str
    third: int | None = None


def published_names(layers: int) -> dict[str, Place]:
    """All names in the state dict of a published network, and the parameters they belong to."""
    names: dict[str, Place] = {}

    def add(published: str, ours: str, rows: Iterable[Row], third: int | None = None) -> None:
        for row_published, row_ours, holds in rows:
            for what in holds:
                place = Place(_joined(ours, row_ours, what), third)
                names[_joined(published, row_published, what)] = place

    add("", "", NETWORK)
    for i in range(layers):
        for published, ours in STREAMS:
            add(f"layers.{i}.{published}", f"trunk.blocks.{i}.{ours}", BLOCK)
        add(f"layers.{i}", f"trunk.blocks.{i}", [("fusion", "fusion", _LINEAR)])
        for listed, first, ours, holds in LOCAL:
            for third in range(3):
                row = (f"{listed}.{first + third}", ours, holds)
                add(f"temporal_layers.{i}", f"trunk.local_blocks.{i}", [row], third)
        add(f"temporal_layers.{i}.cross_temporal", f"trunk.proxy_blocks.{i}", PROXY)
    return names


def _joined(*parts: str) -> str:
    return ".".join(part for part in parts if part)
