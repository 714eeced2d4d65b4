"""The fused lifter: the same function as `Lifter` with a third of the operations.

`Lifter` is the network for reading and training. The fused form is for running and exporting. It is
made from the weights of a `Lifter`; all that does not depend on the input is computed ahead:

- layer scales, the affine part of LayerNorm and 1/sqrt(d) of attention are merged into adjacent
  linear layers;
- linear layers of the same input are one product: queries, keys and values of both streams; the
  clip's keys, values and queries for the proxies. An exported file has a product for each of them,
  as a CPU would copy the parts of a joined one;
- keys need no bias: it adds the same to all scores of a query, and softmax removes it. The bias of
  the values passes through attention, whose weights add up to one, and joins the bias behind it;
- the motion kernels are linear: kernels and first layers of all f_s are one product over the
  receptive field of EMF;
- the proxies of the first layer do not depend on the input, so their queries are constant;
- a softmax over two is a sigmoid of the difference.

The number of frames is fixed to the configuration's, so that an exported graph computes no shapes.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .checks import check_clip
from .fused_linear import after_norm, joined, linear, scaled
from .lifter import Lifter, join_frames
from .motion_flow import EnhancedMotionFlow
from .presets import MotionFlowConfig
from .tcpformer import MLP, Attention, ProxyBlock, SpatioTemporalBlock, TransformerBlock


def _shared(layer: nn.Linear, x: Tensor, parts: int) -> tuple[Tensor, ...]:
    """The parts, of equal width, of a joined layer of x (N, in): each (N, out / parts)."""
    if not torch.onnx.is_in_onnx_export():
        return layer(x).chunk(parts, dim=-1)
    width = layer.out_features // parts
    rows = [slice(i * width, (i + 1) * width) for i in range(parts)]
    return tuple(
        # Without a bias of zeros, which the exported product would add.
        F.linear(x, layer.weight[r], layer.bias[r] if layer.bias[r].any() else None)
        for r in rows
    )


def _attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T) v over (N, H, L, C/H); 1/sqrt(C/H) is in the queries already."""
    if torch.onnx.is_in_onnx_export():
        # The exporter would scale queries and keys once more.
        return (q @ k.transpose(-1, -2)).softmax(dim=-1) @ v
    return F.scaled_dot_product_attention(q, k, v, scale=1.0)


class _Axes:
    """Arrangement of tokens.

    Between attentions they are the rows of one matrix (B L J, C). Each linear layer is then one
    product that includes its bias. For attention one axis of four moves, which is one copy.

    Args:
        length: L, number of frames of the clip, or of proxies.
        joints: J.
        heads: H.
        dim: C.
    """

    def __init__(self, length: int, joints: int, heads: int, dim: int) -> None:
        self.length, self.joints, self.heads, self.dim = length, joints, heads, dim

    def split(self, x: Tensor, axis: str) -> Tensor:
        """(B L J, C) -> (B, J H, L, C/H) by 'time', (B L, H, J, C/H) by 'joints'."""
        width = self.dim // self.heads
        if axis == "time":
            return x.reshape(-1, self.length, self.joints * self.heads, width).transpose(1, 2)
        return x.reshape(-1, self.joints, self.heads, width).transpose(1, 2)

    def merge(self, x: Tensor) -> Tensor:
        """The inverse of `split`, of either axis."""
        return x.transpose(1, 2).reshape(-1, self.dim)

    def clips(self, x: Tensor, width: int) -> Tensor:
        """(B L J, width) -> (B, L, J, width)."""
        return x.reshape(-1, self.length, self.joints, width)


def _qkv(attention: Attention, norm: nn.LayerNorm) -> tuple[Tensor, Tensor, Tensor]:
    """Self-attention's queries (scaled), keys and values, from the normalised input.

    Returns:
        weight (3 C, C) and bias (3 C) of the joined layer; and the bias (C) of the values, which is
        left to the layer behind attention.
    """
    weight, bias = after_norm(attention.qkv.weight, None, norm)
    dim, scale = weight.shape[1], (weight.shape[1] // attention.heads) ** -0.5
    weight = torch.cat([scale * weight[:dim], weight[dim:]])
    ask, _, value = bias.chunk(3)
    return weight, torch.cat([scale * ask, bias.new_zeros(2 * dim)]), value


def _behind(proj: nn.Linear, scale: Tensor, value_bias: Tensor) -> nn.Linear:
    """s (W (x + b) + c): the layer behind attention, which takes the bias b of the values."""
    return linear(proj.weight * scale[:, None], (proj.bias + proj.weight @ value_bias) * scale)


class _FusedMLP(nn.Module):
    """x + s * MLP(norm x)."""

    def __init__(self, norm: nn.LayerNorm, mlp: MLP, scale: Tensor) -> None:
        super().__init__()
        self.fc1 = linear(*after_norm(mlp.fc1.weight, mlp.fc1.bias, norm))
        self.fc2 = scaled(mlp.fc2, scale)
        self.shape = tuple(norm.normalized_shape)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.fc2(F.gelu(self.fc1(F.layer_norm(x, self.shape))))


class _FusedBlock(nn.Module):
    """A `TransformerBlock`.

    Args:
        joined: its queries, keys and values come from outside.
    """

    def __init__(self, block: TransformerBlock, axes: _Axes, joined: bool = False) -> None:
        super().__init__()
        self.axis, self.axes = block.attention.axis, axes
        weight, bias, value = _qkv(block.attention, block.norm1)
        self.qkv = None if joined else linear(weight, bias)
        self.proj = _behind(block.attention.proj, block.scale1, value)
        self.mlp = _FusedMLP(block.norm2, block.mlp, block.scale2)

    def forward(self, x: Tensor, qkv: tuple[Tensor, ...] = ()) -> Tensor:
        if self.qkv is not None:
            qkv = _shared(self.qkv, F.layer_norm(x, (self.axes.dim,)), 3)
        read = _attention(*(self.axes.split(part, self.axis) for part in qkv))
        return self.mlp(x + self.proj(self.axes.merge(read)))


class _FusedSpatioTemporal(nn.Module):
    """A `SpatioTemporalBlock`."""

    def __init__(self, block: SpatioTemporalBlock, axes: _Axes) -> None:
        super().__init__()
        self.dim = axes.dim
        a: Any = block.joints_first
        b: Any = block.time_first
        self.qkv = joined(*(_qkv(s[0].attention, s[0].norm1)[:2] for s in (a, b)))
        self.a0, self.b0 = (_FusedBlock(s[0], axes, joined=True) for s in (a, b))
        self.a1, self.b1 = (_FusedBlock(s[1], axes) for s in (a, b))
        difference = block.fusion.weight[:1] - block.fusion.weight[1:]
        self.fusion_a = linear(difference[:, : self.dim], block.fusion.bias[:1])
        self.fusion_b = linear(difference[:, self.dim :], -block.fusion.bias[1:])

    def forward(self, x: Tensor) -> Tensor:
        qkv = _shared(self.qkv, F.layer_norm(x, (self.dim,)), 6)
        a, b = self.a1(self.a0(x, qkv[:3])), self.b1(self.b0(x, qkv[3:]))
        return b + (self.fusion_a(a) + self.fusion_b(b)).sigmoid() * (a - b)


class _FusedProxyBlock(nn.Module):
    """A `ProxyBlock`.

    Args:
        clip, proxies: the axes of the two.
        proxy: the proxies (P J, C) when they are the same for every input; else None.
    """

    def __init__(
        self, block: ProxyBlock, clip: _Axes, proxies: _Axes, proxy: Tensor | None
    ) -> None:
        super().__init__()
        self.clip, self.proxies, self.shape = clip, proxies, (clip.dim,)
        from_clip, from_proxy = block.proxy_from_clip, block.clip_from_proxy
        scale = (clip.dim // clip.heads) ** -0.5
        ask = after_norm(scale * from_clip.wq.weight, None, block.norm_proxy)
        self.ask = linear(*ask) if proxy is None else None
        asked = None
        if proxy is not None:
            asked = proxies.split(F.linear(F.layer_norm(proxy, self.shape), *ask), "time")
        self.asked: Tensor | None
        self.register_buffer("asked", asked)
        # The clip's keys and values for the proxies, and its queries to them.
        key, _ = after_norm(from_clip.wk.weight, None, block.norm_clip)
        value, value_bias = after_norm(from_clip.wv.weight, None, block.norm_clip)
        query = after_norm(scale * from_proxy.wq.weight, None, block.norm_clip)
        none = torch.zeros_like(value_bias)
        self.clip_side = joined((key, none), (value, none), query)
        self.proxy_proj = _behind(from_clip.proj, block.scale_proxy, value_bias)
        self.proxy_mlp = _FusedMLP(block.norm_proxy_mlp, block.proxy_mlp, block.scale_proxy_mlp)
        key, _ = after_norm(from_proxy.wk.weight, None, block.norm_proxy)
        value, value_bias = after_norm(from_proxy.wv.weight, None, block.norm_proxy)
        self.proxy_side = joined((key, none), (value, none))
        self.clip_proj = _behind(from_proxy.proj, block.scale_clip, value_bias)
        self.clip_mlp = _FusedMLP(block.norm_clip_mlp, block.clip_mlp, block.scale_clip_mlp)
        self.self_block = _FusedBlock(block.self_block, clip)
        weight, bias, value_bias = _qkv(block.sum_attention, block.norm_sum)
        self.sum_qkv = linear(weight, bias)
        self.share: Tensor
        self.register_buffer("share", block.sum_logit.sigmoid())
        self.sum_proj = _behind(block.sum_attention.proj, block.scale_sum, value_bias)
        self.sum_mlp = _FusedMLP(block.norm_sum_mlp, block.sum_mlp, block.scale_sum_mlp)

    def forward(self, x: Tensor, proxy: Tensor) -> tuple[Tensor, Tensor]:
        clip, proxies, shape = self.clip, self.proxies, self.shape
        side = _shared(self.clip_side, F.layer_norm(x, shape), 3)
        k1, v1, q2 = (clip.split(part, "time") for part in side)
        if self.ask is not None:
            q1 = proxies.split(self.ask(F.layer_norm(proxy, shape)), "time")
        else:
            assert self.asked is not None
            q1 = self.asked
            if not torch.onnx.is_in_onnx_export():
                q1 = q1.expand(k1.shape[0], -1, -1, -1)
        update = self.proxy_proj(proxies.merge(_attention(q1, k1, v1)))
        # As clips, since at first the proxies are one clip for the whole batch.
        proxy = proxies.clips(proxy, clip.dim) + proxies.clips(update, clip.dim)
        proxy = self.proxy_mlp(proxy.reshape(-1, clip.dim))

        side = _shared(self.proxy_side, F.layer_norm(proxy, shape), 2)
        k2, v2 = (proxies.split(part, "time") for part in side)
        x = x + self.clip_proj(clip.merge(_attention(q2, k2, v2)))
        x = self.self_block(self.clip_mlp(x))

        parts = _shared(self.sum_qkv, F.layer_norm(x, shape), 3)
        q, k, v = (clip.split(part, "time") for part in parts)
        through = _attention(q2, k2, _attention(q1, k1, v))
        mixed = through + self.share * (_attention(q, k, v) - through)
        x = x + self.sum_proj(clip.merge(mixed))
        return self.sum_mlp(x), proxy


def _relu_mlp(layers: nn.ModuleList, x: Tensor) -> Tensor:
    """Linear layers with a ReLU behind each."""
    for layer in layers:
        x = layer(x).relu()
    return x


class _FusedMotionFlow(nn.Module):
    """EMF, P and W_embed, of the paper's form with replicated ends: keypoints -> embedding.

    Args:
        flow, embed: the lifter's.
        offset: (1, T/s, J, dim), all that is added behind the embedding.
        stride: s, frames of a token.
    """

    @staticmethod
    def fits(config: MotionFlowConfig) -> bool:
        return (
            config.combine == "residual"
            and config.final_relu
            and config.padding == "replicate"
            and not config.joint_kernels
        )

    def __init__(
        self, flow: EnhancedMotionFlow, embed: nn.Linear, offset: Tensor, stride: int
    ) -> None:
        super().__init__()
        assert flow.original is not None
        config, frames = flow.config, stride * offset.shape[1]
        self.offset: Tensor
        self.frames, self.channels, self.width = frames, config.channels, stride * config.dim
        seen = range(-flow.look_back, flow.look_ahead + 1)
        self.index: Tensor
        index = torch.arange(frames)[:, None] + torch.tensor(seen)
        self.register_buffer("index", index.clamp(0, frames - 1).flatten(), persistent=False)
        self.stride, self.seen = stride, len(seen)

        # One row of columns for each frame that is seen: f_s reads its kernel's taps, g reads now.
        first, bias, second, second_bias = [], [], [], []
        alphas = flow.scale_logits.softmax(dim=0)
        kernels: Any = flow.kernels
        encoders: Any = flow.encoders
        for alpha, kernel, encoder in zip(alphas, kernels, encoders, strict=True):
            weight = kernel.weight.new_zeros(encoder[0].out_features, len(seen), config.channels)
            for tap, at in zip(kernel.weight, kernel.offsets, strict=True):
                weight[:, at + flow.look_back] = encoder[0].weight * tap
            first.append(weight.flatten(1))
            bias.append(encoder[0].bias)
            # alpha > 0, so alpha ReLU(z) = ReLU(alpha z).
            second.append(alpha * encoder[3].weight)
            second_bias.append(alpha * encoder[3].bias)
        self.scales = nn.ModuleList(
            [
                linear(torch.cat(first), torch.cat(bias)),
                linear(torch.block_diag(*second), torch.cat(second_bias)),
            ]
        )
        weight = flow.scale_logits.new_zeros(config.dim, len(seen), config.channels)
        g: Any = flow.original
        weight[:, flow.look_back] = g[0].weight
        self.original = nn.ModuleList(
            [linear(weight.flatten(1), g[0].bias), linear(g[3].weight, g[3].bias)]
        )
        h: Any = flow.enhance
        self.enhance = nn.ModuleList(linear(layer.weight, layer.bias) for layer in (h[0], h[3]))
        self.embed = linear(embed.weight, torch.zeros_like(embed.bias))
        self.embed.bias = None  # type: ignore[assignment]
        self.register_buffer("offset", (offset + embed.bias).contiguous())

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, J, C) -> (B T/s J, dim)."""
        _, tokens, joints, dim = self.offset.shape
        # Beside each keypoint those of the same joint in all frames that EMF sees; frames of one
        # token are neighbours.
        x = x.index_select(1, self.index)
        x = x.reshape(-1, tokens, self.stride, self.seen, joints, self.channels)
        x = x.permute(0, 1, 4, 2, 3, 5).reshape(-1, self.seen * self.channels)
        x = _relu_mlp(self.original, x) + _relu_mlp(self.enhance, _relu_mlp(self.scales, x))
        x = self.embed(x.reshape(-1, self.width))
        return (x.reshape(-1, tokens, joints, dim) + self.offset).reshape(-1, dim)


class _PlainFeatures(nn.Module):
    """The same by the lifter's own modules, for settings of other forms."""

    def __init__(self, lifter: Lifter) -> None:
        super().__init__()
        self.lifter = copy.deepcopy(lifter).eval()
        for name in ("blocks", "local_blocks", "proxy_blocks", "norm", "representation"):
            delattr(self.lifter.trunk, name)

    def forward(self, x: Tensor) -> Tensor:
        trunk = self.lifter.trunk
        x = join_frames(self.lifter.features(x), self.lifter.config.frame_stride)
        x = trunk.embed(x) + trunk.joint_position
        if trunk.temporal_position is not None:
            x = x + trunk.temporal_position
        return x.flatten(0, 2)


class FusedLifter(nn.Module):
    """What `Lifter` computes in evaluation, for windows of exactly its configuration's length.

    Attributes:
        config: the lifter's.
    """

    def __init__(self, lifter: Lifter) -> None:
        super().__init__()
        self.config = c = lifter.config
        trunk: Any = lifter.trunk
        self.joints = lifter.joints
        with torch.no_grad():
            if lifter.motion_flow is not None and _FusedMotionFlow.fits(c.motion):
                offset = trunk.joint_position[:, None]
                if lifter.position is not None:
                    position = lifter.position.repeat(1, 1, c.frame_stride)
                    offset = offset + F.linear(position, trunk.embed.weight)[:, None]
                if trunk.temporal_position is not None:
                    offset = offset + trunk.temporal_position
                offset = offset.expand(-1, c.tokens, -1, -1)
                self.embed: nn.Module = _FusedMotionFlow(
                    lifter.motion_flow, trunk.embed, offset, c.frame_stride
                )
            else:
                self.embed = _PlainFeatures(lifter)
            self.clip = _Axes(c.tokens, self.joints, c.heads, c.dim)
            proxies = _Axes(trunk.proxy.shape[0], self.joints, c.heads, c.dim)
            proxy = (trunk.proxy + trunk.proxy_joint_position).flatten(0, 1)
            self.proxy: Tensor
            self.register_buffer("proxy", proxy)
            self.blocks = nn.ModuleList(_FusedSpatioTemporal(b, self.clip) for b in trunk.blocks)
            self.local_blocks = copy.deepcopy(trunk.local_blocks)
            self.proxy_blocks = nn.ModuleList(
                _FusedProxyBlock(b, self.clip, proxies, None if i else proxy)
                for i, b in enumerate(trunk.proxy_blocks)
            )
            self.representation: nn.Module = linear(
                *after_norm(trunk.representation.weight, trunk.representation.bias, trunk.norm)
            )
            self.heads = joined(
                (lifter.position_head.weight, lifter.position_head.bias),
                (lifter.scale_head.weight, lifter.scale_head.bias),
            )
            self.scale_offset: Tensor
            self.register_buffer("scale_offset", lifter.scale_offset.clone())
        self.requires_grad_(False)
        self.eval()

    def forward(self, keypoints: Tensor) -> tuple[Tensor, Tensor]:
        """As `Lifter.forward`: (B, T, J, 3) -> positions (B, T, J, 3) m, log scale (B, T, J).

        Raises:
            ValueError: as there, and for any other number of frames.
        """
        check_clip(keypoints, self.config.motion.channels, self.joints, 3)
        if keypoints.shape[1] != self.config.frames:
            raise ValueError(
                f"keypoints must be {self.config.frames} frames, not {keypoints.shape[1]}"
            )
        x, proxy, dim = self.embed(keypoints), self.proxy, self.config.dim
        for i, (block, proxy_block) in enumerate(zip(self.blocks, self.proxy_blocks, strict=True)):
            x = block(x)
            if len(self.local_blocks):
                x = self.local_blocks[i](self.clip.clips(x, dim)).reshape(-1, dim)
            x, proxy = proxy_block(x, proxy)
        x = self.representation(F.layer_norm(x, (dim,))).tanh()
        x = self.heads(x)
        positions = self._frames(x[:, : 3 * self.config.frame_stride], 3)
        log_scale = self._frames(x[:, 3 * self.config.frame_stride :], 1)[..., 0]
        return positions - positions[:, :, :1], log_scale + self.scale_offset

    def _frames(self, x: Tensor, width: int) -> Tensor:
        """What the tokens answer, by frame: (B T/s J, s width) -> (B, T, J, width).

        As `split_frames`, with lengths that the exporters can take for constants.
        """
        c = self.config
        x = x.reshape(-1, c.tokens, self.joints, c.frame_stride, width).transpose(2, 3)
        return x.reshape(-1, c.frames, self.joints, width)


class _Cast(nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        return x.to(self.dtype)


def half_inside(lifter: FusedLifter) -> FusedLifter:
    """The lifter itself, its blocks now in float16, where nearly all of the time goes.

    Input and output stay float32, and so do both ends of the network: EMF takes differences of
    neighbouring frames, which float16 would round away, and the heads say metres.
    """
    for part in (lifter.blocks, lifter.local_blocks, lifter.proxy_blocks):
        part.half()
    lifter.proxy = lifter.proxy.half()
    lifter.embed = nn.Sequential(lifter.embed, _Cast(torch.float16))
    lifter.representation = nn.Sequential(_Cast(torch.float32), lifter.representation)
    return lifter
