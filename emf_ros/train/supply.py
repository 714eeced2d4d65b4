"""The training batches, made for several steps at once."""

from __future__ import annotations

import torch
from torch import Tensor

from .diversity import Diversity
from .mocap import WindowSampler
from .synthesis import Synthesizer

#: Number of steps whose clips are made at once. A synthesis has some 2800 operations on small
#: tensors, which take longer than their arithmetic: launches on a GPU, calls on a CPU.
STEPS_AT_ONCE = 8


class ClipSupply:
    """Batches of clips, by random numbers alone: one state, one sequence of batches.

    Args:
        sampler, diversity, synthesizer: make the clips, with the synthesizer's generator.
        speed: range of the playing speed, see `CameraRanges`.
    """

    def __init__(
        self,
        sampler: WindowSampler,
        diversity: Diversity,
        synthesizer: Synthesizer,
        speed: tuple[float, float],
    ) -> None:
        self.sampler, self.diversity, self.synthesizer = sampler, diversity, synthesizer
        self.speed = speed
        self._made: list[tuple[Tensor, Tensor]] = []
        self._shape = (0, 0)
        # The generator before it made the clips that are left.
        self._before = synthesizer.generator.get_state()

    def take(self, clips: int, frames: int) -> tuple[Tensor, Tensor]:
        """A new batch: keypoints (B, T, 17, 3), targets (B, T, 17, 3) m."""
        if not self._made or self._shape != (clips, frames):
            self._make(clips, frames)
        return self._made.pop()

    def _make(self, clips: int, frames: int) -> None:
        generator = self.synthesizer.generator
        self._before, self._shape = generator.get_state(), (clips, frames)
        motion = self.sampler.draw(STEPS_AT_ONCE * clips, frames, generator, self.speed)
        batch = self.synthesizer.batch(self.diversity(motion))
        parts = batch.keypoints.split(clips), batch.targets.split(clips)
        self._made = list(zip(*parts, strict=True))

    def state(self) -> tuple[Tensor, Tensor]:
        """The generator's state, and (3,) clips and frames of a batch and number of those left."""
        left = torch.tensor([*self._shape, len(self._made)])
        return (self._before if self._made else self.synthesizer.generator.get_state()), left

    def restore(self, generator: Tensor, left: Tensor) -> None:
        """Go on with the batch that would have followed `state`."""
        self.synthesizer.generator.set_state(generator.cpu())
        clips, frames, number = left.tolist()
        self._made = []
        if number:
            self._make(clips, frames)
            del self._made[number:]
