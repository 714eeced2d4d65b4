"""The paper's claims on frequencies (3.3.2): the responses of EMF's kernels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from paper_row import Row

from emf_ros.model.motion_flow import EnhancedMotionFlow, MotionKernel

OMEGA = np.linspace(0.0, math.pi, 513)
BANDS = ((0.0, math.pi / 4), (math.pi / 4, math.pi / 2), (math.pi / 2, math.pi))
CLAIMED = {1: 2, 2: 1, 4: 0}


def kernels_of(flow: EnhancedMotionFlow) -> list[MotionKernel]:
    return [kernel for kernel in flow.kernels if isinstance(kernel, MotionKernel)]


def responses(flow: EnhancedMotionFlow) -> dict[int, np.ndarray]:
    """|H(omega)| of each scale's kernel, (513, C)."""
    out = {}
    for scale, kernel in zip(flow.config.scales, kernels_of(flow), strict=True):
        offsets = np.array(kernel.offsets)
        weight = kernel.weight.detach().numpy()
        out[scale] = np.abs(np.exp(1j * OMEGA[:, None] * offsets) @ weight)
    return out


def band_shares(response: np.ndarray) -> np.ndarray:
    """Shares of the energy in the three bands, (3,), of (513,)."""
    energy = response**2
    parts = [energy[(low <= OMEGA) & (high >= OMEGA)].sum() for low, high in BANDS]
    return np.array(parts) / sum(parts)


def frequency_rows(trained: EnhancedMotionFlow, seeds: int) -> Iterator[Row]:
    fresh = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        fresh.append(responses(EnhancedMotionFlow()))
    after = responses(trained)
    for scale, band in CLAIMED.items():
        low, high = BANDS[band]
        claim = f"scale {scale}: energy in {low / math.pi:g} to {high / math.pi:g} pi rad/frame"
        begin = np.mean([band_shares(r[scale][:, 0])[band] for r in fresh])
        ends = [band_shares(after[scale][:, c])[band] for c in range(3)]
        yield Row(
            "3.3.2",
            f"{claim}; at initialisation, and trained x, y, score",
            "most",
            f"{100 * begin:.0f} %, " + ", ".join(f"{100 * e:.0f} %" for e in ends),
        )
        peak = [OMEGA[after[scale][:, c].argmax()] / math.pi for c in range(3)]
        first = OMEGA[fresh[0][scale][:, 0].argmax()] / math.pi
        yield Row(
            "3.3.2",
            f"scale {scale}: response is largest at, pi rad/frame (seed 0 and trained x, y, score)",
            "-",
            f"{first:.2f}, " + ", ".join(f"{p:.2f}" for p in peak),
        )
    yield Row(
        "3.3.2",
        "frames that scales 1, 2 and 4 see; of all: back, ahead",
        "1, 2, 4",
        ", ".join(str(len(k.offsets)) for k in kernels_of(trained))
        + f"; {trained.look_back}, {trained.look_ahead}",
    )


def plot_responses(trained: EnhancedMotionFlow, seeds: int, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(12, 3.8), constrained_layout=True)
    after = responses(trained)
    for axis, scale in zip(axes, CLAIMED, strict=True):
        for seed in range(seeds):
            torch.manual_seed(seed)
            first = responses(EnhancedMotionFlow())[scale]
            label = "initial" if seed == 0 else None
            axis.plot(OMEGA, first[:, 0], color="0.65", lw=1.2, label=label)
        for channel, (name, color) in enumerate(
            (("x", "tab:blue"), ("y", "tab:green"), ("score", "tab:orange"))
        ):
            axis.plot(OMEGA, after[scale][:, channel], color=color, lw=2, label=f"trained, {name}")
        low, high = BANDS[CLAIMED[scale]]
        axis.axvspan(low, high, color="gold", alpha=0.2, lw=0, label="band of 3.3.2")
        axis.set_title(
            f"scale {scale}, {len(kernels_of(trained)[list(CLAIMED).index(scale)].offsets)} taps"
        )
        axis.set_xlim(0, math.pi)
        axis.set_ylim(bottom=0)
        axis.set_xticks(
            [0, math.pi / 4, math.pi / 2, 3 * math.pi / 4, math.pi],
            ["0", "π/4", "π/2", "3π/4", "π"],
        )
        axis.set_xlabel("frequency, rad/frame (π is 15 Hz at 30 Hz)")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("|H|")
    axes[0].legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
