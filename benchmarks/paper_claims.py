"""What the EMF paper claims and what is measured: one table, and the kernels' responses as a plot.

python benchmarks/paper_claims.py                  # some six minutes on a slow core
python benchmarks/paper_claims.py --quick          # the same with two seeds and less training
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from paper_frequencies import frequency_rows, plot_responses
from paper_row import Row
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from emf_ros.io.paths import share_folder
from emf_ros.model.checkpoint import load_weights
from emf_ros.model.lifter import Lifter
from emf_ros.model.motion_flow import EnhancedMotionFlow
from emf_ros.model.presets import PRESETS, LifterConfig, MotionFlowConfig
from emf_ros.model.statistics import parameters
from emf_ros.model.tcpformer import TCPFormer
from emf_ros.runtime.machine import load, machine

#: The base that the paper's figures fit: four layers of half the width.
TOY = LifterConfig(frames=81, layers=4, dim=64, dim_rep=256, local_branch=True, layer_scale=1e-5)
#: TCPFormer as published.
FULL = LifterConfig(frames=81, layers=16, dim=128, dim_rep=512, local_branch=True, layer_scale=1e-5)
RATE_HZ = 30.0


def moving_points(clips: int, frames: int, joints: int, generator: torch.Generator) -> Tensor:
    """Keypoints (B, T, J, 3) that move smoothly, with scores from 0.5 to 1.

    Speeds are a stationary first-order process and places stand around their own mean, so that a
    clip run backwards is as likely as the clip: nothing but the frames' order tells a direction.
    """
    step = 0.05
    speed = step / math.sqrt(1 - 0.9**2) * torch.randn(clips, joints, 2, generator=generator)
    places = [torch.zeros(clips, joints, 2)]
    for _ in range(frames - 1):
        places.append(places[-1] + speed)
        speed = 0.9 * speed + step * torch.randn(clips, joints, 2, generator=generator)
    place = torch.stack(places, dim=1)
    place = place - place.mean(dim=1, keepdim=True)
    place = place + 0.5 * torch.randn(clips, 1, joints, 2, generator=generator)
    score = 0.5 + 0.5 * torch.rand(clips, frames, joints, 1, generator=generator)
    return torch.cat([place, score], dim=-1)


def mean_and_spread(values: Sequence[float], format: str) -> str:
    return f"{np.mean(values):{format}} +- {np.std(values):{format}}"


# ------------------------------------------------------------------------------ 3.1.5, 3.5: size


def size_rows() -> Iterator[Row]:
    flow = sum(p.numel() for p in EnhancedMotionFlow().parameters())
    yield Row("3.1", "parameters of EMF at D = 66", "-", f"{flow:,}")
    bases = {
        "4 layers, d 64, T 81": TOY,
        **{f"16 layers, d 128, T {t}": replace(FULL, frames=t) for t in (9, 27, 81, 243)},
        **{f"our {name}": config for name, config in PRESETS.items()},
    }
    for name, config in bases.items():
        base = parameters(replace(config, features="none"))
        yield Row(
            "3.1.5",
            f"EMF's parameters in those of the base: {name}, {base / 1e6:.2f} M",
            "1.14 %",
            f"{100 * flow / base:.2f} %",
        )


# ------------------------------------------------------------------------------ 3.3.1: gradients


def gradient_norms(config: LifterConfig, seed: int) -> dict[str, float]:
    """Sums of the L2 norms of the gradients of each part's parameters, at initialisation, of the
    MPJPE of random targets over clips that move; dropout off."""
    torch.manual_seed(seed)
    lifter = Lifter(config).eval()
    generator = torch.Generator().manual_seed(seed)
    x = moving_points(2, config.frames, 17, generator)
    targets = 0.4 * torch.randn(x.shape, generator=generator)
    positions, _ = lifter(x)
    (positions - targets).norm(dim=-1).mean().backward()
    sums: dict[str, float] = {}
    for name, p in lifter.named_parameters():
        if p.grad is not None:
            part = name.split(".")[1] if name.startswith("motion_flow.") else "base"
            sums[part] = sums.get(part, 0.0) + float(p.grad.norm())
    return sums


def gradient_rows(seeds: int) -> Iterator[Row]:
    # g is no motion parameter: it reads one frame.
    for scale in (1e-5, 0.1):
        shares: dict[str, list[float]] = {}
        without_g: list[float] = []
        parts: dict[str, list[float]] = {}
        for combine in ("compressed", "residual", "motion_only"):
            config = replace(TOY, layer_scale=scale, motion=MotionFlowConfig(combine=combine))
            for seed in range(seeds):
                sums = gradient_norms(config, seed)
                total = sum(sums.values())
                flow = total - sums["base"]
                shares.setdefault(combine, []).append(100 * flow / total)
                if combine == "residual":
                    without_g.append(100 * (flow - sums["original"]) / total)
                    for part, value in sums.items():
                        if part != "base":
                            parts.setdefault(part, []).append(100 * value / flow)
        where = f"layer scale {scale:g}"
        yield Row(
            "3.3.1",
            f"gradient share, motion squeezed into 3 channels, {where}",
            "0.64 %",
            mean_and_spread(shares["compressed"], ".2f") + " %",
        )
        yield Row(
            "3.3.1",
            f"gradient share, EMF, {where}",
            "9.25 %",
            mean_and_spread(shares["residual"], ".2f") + " %",
        )
        yield Row(
            "3.5",
            f"their ratio, {where}",
            "14",
            f"{np.mean(shares['residual']) / np.mean(shares['compressed']):.1f}",
        )
        names = {
            "original": "g",
            "kernels": "kernels",
            "encoders": "f",
            "scale_logits": "alpha",
            "enhance": "h",
        }
        yield Row(
            "3.3.1",
            f"of EMF's, by part, {where}",
            "-",
            ", ".join(f"{names[p]} {np.mean(v):.0f} %" for p, v in parts.items()),
        )
        yield Row(
            "3.3.1",
            f"share without g's part, and the ratio like for like, {where}",
            "-",
            f"{mean_and_spread(without_g, '.2f')} %, "
            f"{np.mean(without_g) / np.mean(shares['compressed']):.1f}",
        )
        yield Row(
            "3.3.1",
            f"gradient share, EMF without g, {where}",
            "-",
            mean_and_spread(shares["motion_only"], ".2f") + " %",
        )


# ------------------------------------------------------------------------------ 3.1.4, 3.5: width


def rank_rows(trained: EnhancedMotionFlow) -> Iterator[Row]:
    x = moving_points(64, 27, 17, torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    for name, flow in (("at initialisation", EnhancedMotionFlow().eval()), ("trained", trained)):
        with torch.no_grad():
            features = flow(x).flatten(0, 2).double()
        singular = torch.linalg.svdvals(features - features.mean(dim=0))
        rank = int((singular > 1e-3 * singular[0]).sum())
        energy = (singular**2).cumsum(0) / (singular**2).sum()
        enough = int((energy < 0.99).sum()) + 1
        yield Row(
            "3.5",
            f"width of the features, their rank (singular values over 0.1 % of the first), and "
            f"directions that hold 99 % of the variance, {name}",
            "3 -> 66",
            f"{features.shape[1]}, {rank}, {enough}",
        )
    seen = trained.receptive_field * trained.config.channels
    yield Row("3.1.4", "numbers that these features are a function of", "-", f"{seen}")


def theorem_rows() -> Iterator[Row]:
    torch.manual_seed(0)
    flow = EnhancedMotionFlow().eval()
    x = moving_points(4, 27, 17, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for p in flow.enhance[3].parameters():
            p.zero_()
        difference = float((flow(x) - flow.original(x)).abs().max())  # type: ignore[misc]
    yield Row("3.1.4", "Theorem 1: largest |F_output - g(X)| where h = 0", "0", f"{difference:g}")


# ------------------------------------------------------------------------------ 3.1.5: cost


def slope(sizes: Sequence[int], costs: Sequence[float]) -> float:
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def cost_of(dim: int, frames: int) -> tuple[float, float]:
    """Multiply-adds of a clip, and the least time of five runs, s."""
    flow = EnhancedMotionFlow(MotionFlowConfig(dim=dim)).eval()
    x = torch.zeros(1, frames, 17, 3)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        flow(x)
    times = []
    with torch.no_grad():
        for _ in range(5):
            begin = time.perf_counter()
            flow(x)
            times.append(time.perf_counter() - begin)
    return counter.get_total_flops() / 2, min(times)


def cost_rows() -> Iterator[Row]:
    lengths, widths = (27, 81, 243, 729), (66, 132, 264, 528, 1056)
    by_length = [cost_of(66, t) for t in lengths]
    by_width = [cost_of(d, 243) for d in widths]
    yield Row(
        "3.1.5",
        "exponent of T, of multiply-adds and of time, T = 27 to 729",
        "1",
        f"{slope(lengths, [c for c, _ in by_length]):.2f}, "
        f"{slope(lengths, [t for _, t in by_length]):.2f}",
    )
    yield Row(
        "3.1.5",
        "exponent of D, of multiply-adds and of time, D = 66 to 1056",
        "2",
        f"{slope(widths, [c for c, _ in by_width]):.2f}, "
        f"{slope(widths, [t for _, t in by_width]):.2f}",
    )
    full = cost_of(66, 81)[0]
    yield Row("3.1.5", "multiply-adds of EMF, T = 81", "-", f"{full / 1e6:.1f} M")


# ------------------------------------------------------------------------------ the frames' order

#: Number of joints of the clips.
JOINTS = 5
#: Number of frames of the clips.
FRAMES = 27


class Rival(nn.Module):
    """A small TCPFormer behind one kind of input, and a linear head."""

    def __init__(self, features: str, temporal_position: bool = False) -> None:
        super().__init__()
        self.flow = EnhancedMotionFlow() if features == "emf" else None
        self.difference = features == "difference"
        width = 66 if self.flow is not None else 6 if self.difference else 3
        self.trunk = TCPFormer(
            width, 32, 32, 2, FRAMES, JOINTS, 4, 2.0, 0.1, temporal_position=temporal_position
        )
        self.head = nn.Linear(32, 2)

    def forward(self, x: Tensor) -> Tensor:
        if self.flow is not None:
            x = self.flow(x)
        elif self.difference:
            before = torch.cat([x[:, :1], x[:, :-1]], dim=1)
            x = torch.cat([x, x - before], dim=-1)
        return self.head(self.trunk(x))


def velocity_error(rival: Rival, steps: int, seed: int) -> float:
    """Train to tell each joint's velocity, the mean of its steps before and after; return the mean
    length of the error on clips that were not trained on, over the mean length of the velocity."""
    generator = torch.Generator().manual_seed(1000 + seed)

    def batch(clips: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        x = moving_points(clips, FRAMES + 2, JOINTS, generator)
        velocity = (x[:, 2:, :, :2] - x[:, :-2, :, :2]) / 2
        return x[:, 1:-1], velocity

    optimizer = torch.optim.AdamW(rival.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    rival.train()
    for _ in range(steps):
        x, velocity = batch(16, generator)
        loss = (rival(x) - velocity).norm(dim=-1).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(rival.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    rival.eval()
    x, velocity = batch(128, torch.Generator().manual_seed(7))
    # The ends are left out: there the frame that the answer needs lies outside of the window.
    inside = slice(2, FRAMES - 2)
    with torch.no_grad():
        error = (rival(x) - velocity)[:, inside].norm(dim=-1).mean()
    return float(error / velocity[:, inside].norm(dim=-1).mean())


def order_rows(steps: int, seeds: int) -> Iterator[Row]:
    x = moving_points(1, FRAMES, 17, torch.Generator().manual_seed(0))
    inside_thirds = torch.cat([9 * i + torch.randperm(9) for i in range(3)])
    for name, base in (
        ("TCPFormer as published", {"features": "none", "layer_scale": 0.5}),
        ("EMF in front", {"features": "emf", "layer_scale": 0.5}),
    ):
        torch.manual_seed(0)
        config = replace(FULL, layers=2, frames=FRAMES, **base)  # type: ignore[arg-type]
        lifter = Lifter(config).eval()
        for block in lifter.trunk.local_blocks:
            # As published: never registered, so never trained.
            nn.init.constant_(block.scale1, 1e-5)  # type: ignore[arg-type]
            nn.init.constant_(block.scale2, 1e-5)  # type: ignore[arg-type]

        def moved(order: Tensor, lifter: Lifter = lifter) -> float:
            with torch.no_grad():
                change = lifter(x[:, order])[0] - lifter(x)[0][:, order]
            return float(change.abs().max())

        yield Row(
            "-",
            f"{name}: change of the answer, frames exchanged inside thirds; clip reversed",
            "-",
            f"{moved(inside_thirds):.1e}; {moved(torch.arange(FRAMES).flip(0)):.1e}",
        )
    rivals: dict[str, Callable[[], Rival]] = {
        "TCPFormer alone": lambda: Rival("none"),
        "with a learned temporal embedding": lambda: Rival("none", temporal_position=True),
        "with a channel x[t] - x[t-1]": lambda: Rival("difference"),
        "with EMF": lambda: Rival("emf"),
    }
    for name, make in rivals.items():
        errors = []
        for seed in range(seeds):
            torch.manual_seed(seed)
            errors.append(velocity_error(make(), steps, seed))
        yield Row(
            "-",
            f"velocity from keypoints, error over that of answering 0: {name}",
            "-",
            mean_and_spread(errors, ".3f"),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=400, help="of the frame-order experiment")
    parser.add_argument("--order-seeds", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="2 seeds, 100 steps")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--plot", type=Path, default=Path("docs/images/kernels.png"))
    args = parser.parse_args()
    if args.quick:
        args.seeds, args.steps, args.order_seeds = 2, 100, 1
    torch.set_num_threads(args.threads)
    trained = load_weights(share_folder("models") / "lite.safetensors").motion_flow
    assert trained is not None

    print(f"{machine()}, torch {torch.__version__}, {load()}; {args.seeds} seeds\n")
    print("| section | claim | paper | measured |")
    print("|---|---|---|---|")
    for rows in (
        size_rows(),
        gradient_rows(args.seeds),
        rank_rows(trained),
        theorem_rows(),
        cost_rows(),
        frequency_rows(trained, args.seeds),
        order_rows(args.steps, args.order_seeds),
    ):
        for row in rows:
            print(f"| {row.section} | {row.claim} | {row.paper} | {row.measured} |", flush=True)
    plot_responses(trained, args.seeds, args.plot)
    print(f"\nfrequency responses: {args.plot}")


if __name__ == "__main__":
    main()
