"""The trainer: from a folder of motion capture to weights."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from ..model.checkpoint import load_weights, save_weights
from ..model.lifter import Lifter
from ..model.presets import get_preset
from ..model.published import freeze_local_scales, published_local_scales
from ..model.tcpformer import StackedLinear
from .evaluate import evaluate
from .losses import LossWeights, pose_losses, total_loss
from .mocap import MotionClips, WindowSampler, load_mocap
from .synthesis import CameraRanges, DetectorErrors, Synthesizer


@dataclass(frozen=True)
class TrainConfig:
    """All that decides a run.

    Attributes:
        preset: the network's size.
        mocap: folder of motion capture.
        out: folder for the resumable state and the weights.
        budget_minutes: length of the whole run in training time; the learning rate follows it.
        batch: clips a step.
        short_share: share of the budget spent first on windows a third as long, three times as many
            a step. The network has no sense of the window's length, and the cameras and poses that
            it sees an hour are what counts at first.
        learning_rate: its peak.
        warmup: share of the budget spent on the way there.
        weight_decay, clip_norm: as usual.
        ema: decay of the averaged weights, which are the ones that ship.
        init: weights file to go on from, whose sizes then stand in for the preset's; empty: random
            weights.
        seed: of weights and data.
        validate_minutes, validate_windows: training time between validations, and their size.
        save_minutes: training time between saved states.
    """

    preset: str
    mocap: str
    out: str
    budget_minutes: float = 60.0
    batch: int = 8
    short_share: float = 0.6
    learning_rate: float = 1.5e-3
    warmup: float = 0.03
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    ema: float = 0.998
    init: str = ""
    seed: int = 0
    validate_minutes: float = 10.0
    validate_windows: int = 256
    save_minutes: float = 3.0
    loss: LossWeights = field(default_factory=LossWeights)
    cameras: CameraRanges = field(default_factory=CameraRanges)
    errors: DetectorErrors = field(default_factory=DetectorErrors)


class Trainer:
    """One run: built new or from its state file, advanced in slices of time."""

    def __init__(
        self, config: TrainConfig, device: str = "auto", threads: int | None = None
    ) -> None:
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if threads:
            torch.set_num_threads(threads)
        self.config, self.device = config, torch.device(device)
        torch.manual_seed(config.seed)
        self.lifter = self._new_lifter()
        self.lifter.to(self.device)
        self.averaged = copy.deepcopy(self.lifter).eval()
        matrices = {
            id(module.weight)
            for module in self.lifter.modules()
            if isinstance(module, nn.Linear | StackedLinear)
        }
        trained = [p for p in self.lifter.parameters() if p.requires_grad]
        decayed = [p for p in trained if id(p) in matrices]
        others = [p for p in trained if id(p) not in matrices]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": config.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=config.learning_rate,
            betas=(0.9, 0.99),
        )
        size = self.lifter.config
        train = load_mocap(config.mocap, "train")
        self.validation: MotionClips = load_mocap(config.mocap, "validation")
        self.sampler = WindowSampler(train, size.rate_hz, self.device)
        self.synthesizer = Synthesizer(self.device, config.seed, config.cameras, config.errors)
        self.out = Path(config.out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.step, self.trained_s, self.clips = 0, 0.0, 0
        if self.state_path.exists():
            self.load_state()

    def _new_lifter(self) -> Lifter:
        config = get_preset(self.config.preset)
        if not self.config.init:
            return Lifter(config)
        lifter = load_weights(self.config.init).train()
        for name in ("layout", "normalization"):
            given, wanted = getattr(lifter.config, name), getattr(config, name)
            if given != wanted:
                raise ValueError(
                    f"{self.config.init} has the {name} {given!r}; training gives {wanted!r}"
                )
        if published_local_scales(lifter.trunk):
            freeze_local_scales(lifter.trunk)
        return lifter

    @property
    def state_path(self) -> Path:
        return self.out / f"{self.config.preset}.state.pt"

    @property
    def weights_path(self) -> Path:
        return self.out / f"{self.config.preset}.safetensors"

    def save_state(self) -> None:
        temporary = self.state_path.with_suffix(".part")
        torch.save(
            {
                "config": asdict(self.config),
                "lifter": self.lifter.state_dict(),
                "averaged": self.averaged.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "generator": self.synthesizer.generator.get_state(),
                "dropout": torch.get_rng_state(),
                "step": self.step,
                "trained_s": self.trained_s,
                "clips": self.clips,
            },
            temporary,
        )
        temporary.replace(self.state_path)

    def load_state(self) -> None:
        state = torch.load(self.state_path, map_location=self.device, weights_only=True)
        theirs = {k: v for k, v in state["config"].items() if k not in ("out", "mocap")}
        ours = {k: v for k, v in asdict(self.config).items() if k not in ("out", "mocap")}
        changed = sorted(k for k in ours if ours[k] != theirs.get(k))
        if changed:
            raise ValueError(
                f"{self.state_path} was made with other settings ({', '.join(changed)}); "
                "train into another folder or delete it"
            )
        self.lifter.load_state_dict(state["lifter"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.synthesizer.generator.set_state(state["generator"].cpu())
        torch.set_rng_state(state["dropout"].cpu())
        self.step, self.trained_s, self.clips = state["step"], state["trained_s"], state["clips"]

    def learning_rate(self) -> float:
        """Linear warm-up, then half a cosine down to a hundredth, over the budget of time."""
        done = min(1.0, self.trained_s / (60 * self.config.budget_minutes))
        if done < self.config.warmup:
            return self.config.learning_rate * (0.02 + 0.98 * done / self.config.warmup)
        rest = (done - self.config.warmup) / (1 - self.config.warmup)
        return self.config.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * rest)))

    def train_step(self) -> dict[str, float]:
        """One optimiser step on a fresh batch; returns the loss terms."""
        c = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate()
        frames, clips = self.lifter.config.frames, c.batch
        if self.trained_s < c.short_share * 60 * c.budget_minutes:
            frames, clips = frames // 3, 3 * clips
        motion = self.sampler.draw(clips, frames, self.synthesizer.generator, c.cameras.speed)
        batch = self.synthesizer.batch(motion)
        self.lifter.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            positions, log_scale = self.lifter(batch.keypoints)
        terms = pose_losses(positions.float(), log_scale.float(), batch.targets, c.loss.distance)
        loss = total_loss(terms, c.loss)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.lifter.parameters(), c.clip_norm)
        self.optimizer.step()
        self.step += 1
        self.clips += clips
        # The average starts short, or it would remember the random beginning for ever.
        decay = min(c.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for mean, new in zip(self.averaged.parameters(), self.lifter.parameters(), strict=True):
                mean.lerp_(new, 1 - decay)
        return {k: float(v.detach()) for k, v in terms.items()}

    def validate(self, windows: int | None = None) -> dict[str, Any]:
        windows = windows or self.config.validate_windows
        return evaluate(self.averaged, self.validation, self.device, windows)

    def train(self, minutes: float) -> bool:
        """Go on for so many minutes of training time, or to the end of the budget.

        Returns:
            whether the budget is spent.
        """
        c = self.config
        end_s = min(60 * c.budget_minutes, self.trained_s + 60 * minutes)
        bar = tqdm(total=round(end_s), initial=round(self.trained_s), unit="s", dynamic_ncols=True)
        next_validation = self.trained_s + 60 * c.validate_minutes
        next_save = self.trained_s + 60 * c.save_minutes
        while self.trained_s < end_s:
            begin = time.perf_counter()
            terms = self.train_step()
            self.trained_s += time.perf_counter() - begin
            bar.n = round(self.trained_s)
            bar.set_postfix_str(
                f"step {self.step} position {1000 * terms['position']:.0f} mm", refresh=False
            )
            bar.update(0)
            if self.trained_s >= next_save:
                next_save = self.trained_s + 60 * c.save_minutes
                self.save_state()
            if self.trained_s >= next_validation or self.trained_s >= end_s:
                next_validation = self.trained_s + 60 * c.validate_minutes
                self.save_state()
                report = self.validate()
                newest = report["noisy"]["lag"]["0"]
                tqdm.write(
                    f"{self.trained_s / 60:.1f} min, step {self.step}, {self.clips} clips: "
                    f"validation at lag 0 MPJPE {newest['mpjpe_mm']:.1f} mm, "
                    f"P-MPJPE {newest['p_mpjpe_mm']:.1f} mm"
                )
                save_weights(self.weights_path, self.averaged)
        bar.close()
        return self.trained_s >= 60 * c.budget_minutes
