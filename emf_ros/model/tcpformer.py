"""TCPFormer: temporal correlations through an implicit pose proxy (arXiv 2501.01770).

Two streams of spatial and temporal attention, fused per joint, and after each such layer a block in
which a short sequence of learned "proxy" poses reads the whole clip and the clip reads the proxies.
Nothing here knows the order of the frames: attention over time is order-blind and the network has
no temporal position embedding. What it learns of motion it gets from its input features.

Shapes: B clips, T frames, J joints, C features, P = T // 3 proxies.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .checks import check_clip


class Attention(nn.Module):
    """Multi-head attention along one axis of (B, T, J, C).

    Args:
        dim: C.
        heads: number of heads.
        axis: 'time' attends over frames per joint, 'joints' over joints per frame.
        cross: whether queries come from another sequence than keys and values. The weights are then
            three matrices, otherwise one, as in the published checkpoints.
    """

    def __init__(self, dim: int, heads: int, axis: str = "time", cross: bool = False) -> None:
        super().__init__()
        self.heads, self.axis, self.cross = heads, axis, cross
        if cross:
            self.wq = nn.Linear(dim, dim, bias=False)
            self.wk = nn.Linear(dim, dim, bias=False)
            self.wv = nn.Linear(dim, dim, bias=False)
        else:
            self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)

    def split(self, x: Tensor) -> Tensor:
        """(B, T, J, C) -> (B * other axis, H, this axis, C/H).

        Four dimensions are the maximum of the fused attention kernels.
        """
        x = x.unflatten(-1, (self.heads, -1))
        x = x.permute(0, 2, 3, 1, 4) if self.axis == "time" else x.permute(0, 1, 3, 2, 4)
        return x.flatten(0, 1)

    def merge(self, x: Tensor, batch: int) -> Tensor:
        """The inverse of `split`."""
        x = x.unflatten(0, (batch, -1))
        x = x.permute(0, 3, 1, 2, 4) if self.axis == "time" else x.permute(0, 1, 3, 2, 4)
        return x.flatten(-2)

    def queries_keys_values(self, x: Tensor, source: Tensor | None = None) -> list[Tensor]:
        if self.cross:
            return [self.split(part) for part in (self.wq(x), self.wk(source), self.wv(source))]
        return [self.split(part) for part in self.qkv(x).chunk(3, dim=-1)]

    def forward(self, x: Tensor, source: Tensor | None = None) -> Tensor:
        q, k, v = self.queries_keys_values(x, source)
        return self.proj(self.merge(F.scaled_dot_product_attention(q, k, v), x.shape[0]))


class ProxySumAttention(Attention):
    """Attention over time: a direct map mixed with a map through the proxies.

    The map through the proxies is A_clip<-proxy @ A_proxy<-clip. It is applied to the values from
    the right, as two attentions, so that no T x T map is formed.
    """

    def forward(self, x, proxy_reads, clip_reads, weight):  # type: ignore[override]
        """
        Args:
            x: (B, T, J, C).
            proxy_reads: queries of the proxies and keys of the clip.
            clip_reads: queries of the clip and keys of the proxies.
            weight: share of the direct map, 0..1.
        """
        q, k, v = self.queries_keys_values(x)
        direct = F.scaled_dot_product_attention(q, k, v)
        gathered = F.scaled_dot_product_attention(proxy_reads[0], proxy_reads[1], v)
        through_proxies = F.scaled_dot_product_attention(clip_reads[0], clip_reads[1], gathered)
        mixed = weight * direct + (1 - weight) * through_proxies
        return self.proj(self.merge(mixed, x.shape[0]))


class MLP(nn.Module):
    def __init__(self, dim: int, ratio: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, int(dim * ratio))
        self.fc2 = nn.Linear(int(dim * ratio), dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


def _layer_scale(dim: int, init: float) -> nn.Parameter:
    return nn.Parameter(torch.full((dim,), init))


class TransformerBlock(nn.Module):
    """x + s1 * attention(norm x), then x + s2 * MLP(norm x)."""

    def __init__(self, dim: int, heads: int, axis: str, mlp_ratio: float, scale: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = Attention(dim, heads, axis)
        self.scale1 = _layer_scale(dim, scale)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, mlp_ratio)
        self.scale2 = _layer_scale(dim, scale)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.scale1 * self.attention(self.norm1(x))
        return x + self.scale2 * self.mlp(self.norm2(x))


class SpatioTemporalBlock(nn.Module):
    """Two streams, joints-then-time and time-then-joints, weighted per frame and joint."""

    def __init__(self, dim: int, heads: int, mlp_ratio: float, scale: float) -> None:
        super().__init__()

        def stream(*axes: str) -> nn.Sequential:
            return nn.Sequential(
                *(TransformerBlock(dim, heads, axis, mlp_ratio, scale) for axis in axes)
            )

        self.joints_first = stream("joints", "time")
        self.time_first = stream("time", "joints")
        self.fusion = nn.Linear(2 * dim, 2)
        nn.init.zeros_(self.fusion.weight)
        nn.init.constant_(self.fusion.bias, 0.5)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.joints_first(x), self.time_first(x)
        weights = self.fusion(torch.cat([a, b], dim=-1)).softmax(dim=-1)
        return a * weights[..., :1] + b * weights[..., 1:]


class StackedLinear(nn.Module):
    """A linear layer for each third of the clip, as one batched product."""

    def __init__(self, dim_in: int, dim_out: int, bias: bool = True) -> None:
        super().__init__()
        single = [nn.Linear(dim_in, dim_out, bias) for _ in range(3)]
        self.weight = nn.Parameter(torch.stack([layer.weight.detach() for layer in single]))
        self.bias = (
            nn.Parameter(torch.stack([layer.bias.detach() for layer in single])) if bias else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """(3, N, dim_in) -> (3, N, dim_out)."""
        if self.bias is None:
            return torch.bmm(x, self.weight.mT)
        return torch.baddbmm(self.bias[:, None], x, self.weight.mT)


class StackedLayerNorm(nn.Module):
    """A LayerNorm for each third of the clip."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, dim))
        self.bias = nn.Parameter(torch.zeros(3, dim))

    def forward(self, x: Tensor) -> Tensor:
        """(3, N, C) -> (3, N, C)."""
        x = F.layer_norm(x, x.shape[-1:])
        return torch.addcmul(self.bias[:, None], x, self.weight[:, None])


class LocalBlock(nn.Module):
    """Attention over time inside each third of the clip, with separate weights per third.

    In the published code its layer scales are not registered as parameters. They stay at 1e-5, and
    the branch has nearly no effect. Here they are parameters; `published.freeze_local_scales` keeps
    those of published networks at 1e-5.

    The three thirds are stacked along a leading axis. Where T is no multiple of three, the last
    third is shorter, as with `torch.chunk`, and is padded with frames that are masked out.
    """

    def __init__(self, dim: int, heads: int, mlp_ratio: float, scale: float) -> None:
        super().__init__()
        self.heads, hidden = heads, int(dim * mlp_ratio)
        self.norm1 = StackedLayerNorm(dim)
        self.qkv = StackedLinear(dim, 3 * dim, bias=False)
        self.proj = StackedLinear(dim, dim)
        self.scale1 = nn.Parameter(torch.full((3, dim), scale))
        self.norm2 = StackedLayerNorm(dim)
        self.fc1 = StackedLinear(dim, hidden)
        self.fc2 = StackedLinear(hidden, dim)
        self.scale2 = nn.Parameter(torch.full((3, dim), scale))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, J, C) -> (B, T, J, C)."""
        batch, length, joints, dim = x.shape
        third = -(-length // 3)
        if length <= 2 * third:
            raise ValueError(f"a clip of {length} frames does not part into thirds")
        mask = None
        if length < 3 * third:
            x = F.pad(x, (0, 0, 0, 0, 0, 3 * third - length))
            frame = torch.arange(3 * third, device=x.device).view(3, 1, 1, 1, third)
            mask = (frame < length).expand(-1, batch, joints, -1, -1).flatten(0, 2).unsqueeze(1)
        # (B, 3 S, J, C) -> (3, B S J, C)
        y = x.view(batch, 3, third, joints, dim).transpose(0, 1).flatten(1, 3)
        y = y + self.scale1[:, None] * self.proj(self._attend(self.norm1(y), batch, third, mask))
        y = y + self.scale2[:, None] * self.fc2(F.gelu(self.fc1(self.norm2(y))))
        y = y.view(3, batch, third, joints, dim).transpose(0, 1).flatten(1, 2)
        return y[:, :length]

    def _attend(self, x: Tensor, batch: int, third: int, mask: Tensor | None) -> Tensor:
        """(3, B S J, C) -> the same, before the projection."""
        # (3, B, S, J, 3, H, C/H) -> three times (3 B J, H, S, C/H)
        qkv = self.qkv(x).view(3, batch, third, -1, 3, self.heads, x.shape[-1] // self.heads)
        q, k, v = qkv.permute(4, 0, 1, 3, 5, 2, 6).flatten(1, 3)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        out = out.unflatten(0, (3, batch, -1)).permute(0, 1, 4, 2, 3, 5)
        return out.flatten(4).flatten(1, 3)


class ProxyBlock(nn.Module):
    """The proxies attend to the clip and the clip to the proxies; then the clip through both."""

    scale_proxy: nn.Parameter
    scale_proxy_mlp: nn.Parameter
    scale_clip: nn.Parameter
    scale_clip_mlp: nn.Parameter
    scale_sum: nn.Parameter
    scale_sum_mlp: nn.Parameter

    def __init__(self, dim: int, heads: int, mlp_ratio: float, scale: float) -> None:
        super().__init__()
        self.norm_clip = nn.LayerNorm(dim)
        self.norm_proxy = nn.LayerNorm(dim)
        self.proxy_from_clip = Attention(dim, heads, cross=True)
        self.clip_from_proxy = Attention(dim, heads, cross=True)
        self.norm_proxy_mlp = nn.LayerNorm(dim)
        self.proxy_mlp = MLP(dim, mlp_ratio)
        self.norm_clip_mlp = nn.LayerNorm(dim)
        self.clip_mlp = MLP(dim, mlp_ratio)
        self.self_block = TransformerBlock(dim, heads, "time", mlp_ratio, scale)
        self.norm_sum = nn.LayerNorm(dim)
        self.sum_attention = ProxySumAttention(dim, heads)
        self.norm_sum_mlp = nn.LayerNorm(dim)
        self.sum_mlp = MLP(dim, mlp_ratio)
        self.sum_logit = nn.Parameter(torch.rand(1))
        for name in ("proxy", "proxy_mlp", "clip", "clip_mlp", "sum", "sum_mlp"):
            self.register_parameter(f"scale_{name}", _layer_scale(dim, scale))

    def forward(self, x: Tensor, proxy: Tensor) -> tuple[Tensor, Tensor]:
        q1, k1, v1 = self.proxy_from_clip.queries_keys_values(
            self.norm_proxy(proxy), self.norm_clip(x)
        )
        read = F.scaled_dot_product_attention(q1, k1, v1)
        read = self.proxy_from_clip.merge(read, x.shape[0])
        proxy = proxy + self.scale_proxy * self.proxy_from_clip.proj(read)
        proxy = proxy + self.scale_proxy_mlp * self.proxy_mlp(self.norm_proxy_mlp(proxy))

        q2, k2, v2 = self.clip_from_proxy.queries_keys_values(
            self.norm_clip(x), self.norm_proxy(proxy)
        )
        read = F.scaled_dot_product_attention(q2, k2, v2)
        read = self.clip_from_proxy.merge(read, x.shape[0])
        x = x + self.scale_clip * self.clip_from_proxy.proj(read)
        x = x + self.scale_clip_mlp * self.clip_mlp(self.norm_clip_mlp(x))

        x = self.self_block(x)
        mixed = self.sum_attention(self.norm_sum(x), (q1, k1), (q2, k2), self.sum_logit.sigmoid())
        x = x + self.scale_sum * mixed
        x = x + self.scale_sum_mlp * self.sum_mlp(self.norm_sum_mlp(x))
        return x, proxy


class TCPFormer(nn.Module):
    """The trunk: from features per frame and joint to a representation per frame and joint.

    Args:
        dim_in: width of the input per joint.
        dim: C.
        dim_rep: width of the representation.
        layers: depth.
        frames: T, at least 3; not 4 with the local branch. There are T // 3 proxies, also for clips
            of another length.
        joints: J.
        heads: attention heads; C must be a multiple.
        mlp_ratio: hidden width of the MLPs over C.
        layer_scale: initial layer scale: 1e-5 in the paper. Small networks learn faster from 0.1.
        local_branch: whether to have the branch over thirds of the published checkpoints.
        temporal_position: whether to add a learned vector per frame; TCPFormer does not.
    """

    def __init__(
        self,
        dim_in: int,
        dim: int,
        dim_rep: int,
        layers: int,
        frames: int,
        joints: int = 17,
        heads: int = 8,
        mlp_ratio: float = 4.0,
        layer_scale: float = 1e-5,
        local_branch: bool = False,
        temporal_position: bool = False,
    ) -> None:
        super().__init__()
        if frames < 3:
            raise ValueError(f"frames must be 3 or more, not {frames}: a clip has three thirds")
        if local_branch and frames == 4:
            raise ValueError("4 frames do not part into thirds, which the local branch needs")
        if dim % heads:
            raise ValueError(f"dim {dim} is no multiple of the {heads} heads")
        block = (dim, heads, mlp_ratio, layer_scale)
        self.embed = nn.Linear(dim_in, dim)
        self.joint_position = nn.Parameter(torch.zeros(1, joints, dim))
        self.temporal_position = (
            nn.Parameter(0.02 * torch.randn(1, frames, 1, dim)) if temporal_position else None
        )
        self.proxy = nn.Parameter(torch.randn(frames // 3, joints, dim))
        self.proxy_joint_position = nn.Parameter(torch.zeros(1, joints, dim))
        self.blocks = nn.ModuleList(SpatioTemporalBlock(*block) for _ in range(layers))
        self.local_blocks = nn.ModuleList(
            LocalBlock(*block) for _ in range(layers if local_branch else 0)
        )
        self.proxy_blocks = nn.ModuleList(ProxyBlock(*block) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)
        self.representation = nn.Linear(dim, dim_rep)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, J, dim_in) -> (B, T, J, dim_rep).

        Raises:
            ValueError: wrong rank, type, or number of joints or channels; fewer than 3 frames; or
                values that are not finite, which `check_clip` tests on a CPU only.
        """
        check_clip(x, self.embed.in_features, self.proxy.shape[1], 3, "the input")
        proxy = (self.proxy + self.proxy_joint_position).expand(x.shape[0], -1, -1, -1)
        x = self.embed(x) + self.joint_position  # (8) of the EMF paper
        if self.temporal_position is not None:
            x = x + self.temporal_position[:, -x.shape[1] :]
        for i, (block, proxy_block) in enumerate(zip(self.blocks, self.proxy_blocks, strict=True)):
            x = block(x)
            if self.local_blocks:
                x = self.local_blocks[i](x)
            x, proxy = proxy_block(x, proxy)
        return self.representation(self.norm(x)).tanh()
