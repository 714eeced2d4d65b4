"""The notes of a weights file on its training: on which subjects it was."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np

from ..model.checkpoint import WeightsError, load_notes


@dataclass(frozen=True)
class TrainingNotes:
    """The subjects of a training, and of all trainings that its weights came from.

    Attributes:
        subjects: names of the subjects that the weights were trained on.
        validation: names of those that were held back.
        all_known: whether `subjects` is complete. It is not for weights without notes, and for all
            that began from such.
        mean_pose_m: (17, 3) m, see `evaluate.trunk_mean_pose`; None where it is not known.
    """

    subjects: frozenset[str] = frozenset()
    validation: frozenset[str] = frozenset()
    all_known: bool = True
    mean_pose_m: np.ndarray | None = None

    @classmethod
    def from_text(cls, text: str) -> TrainingNotes:
        """The notes that `text` gave.

        Raises:
            ValueError: the text is damaged.
        """
        try:
            held = dict(json.loads(text))
            subjects, validation = (
                frozenset(map(str, held.get(name, ()))) for name in ("subjects", "validation")
            )
            mean_pose = None
            if "mean_pose_m" in held:
                mean_pose = np.array(held["mean_pose_m"], float).reshape(17, 3)
        except (TypeError, ValueError) as error:
            raise ValueError(f"the notes on the training are damaged: {error}") from None
        return cls(subjects, validation, bool(held.get("all_known", subjects)), mean_pose)

    @classmethod
    def of_file(cls, weights: str | Path) -> TrainingNotes:
        """The notes in a weights file.

        Raises:
            WeightsError: the file cannot be read.
        """
        text = load_notes(weights).get("training")
        if text is None:
            return cls(all_known=False)
        try:
            return cls.from_text(text)
        except ValueError as error:
            raise WeightsError(f"{weights}: {error}") from None

    @classmethod
    def of_files(cls, weights: Iterable[str | Path]) -> TrainingNotes:
        """The notes of weights that begin from those of all files.

        Raises:
            WeightsError: a file cannot be read.
        """
        return reduce(cls.after, map(cls.of_file, weights), cls())

    def after(self, earlier: TrainingNotes) -> TrainingNotes:
        """These notes for a training that went on from an earlier one."""
        subjects = self.subjects | earlier.subjects
        return TrainingNotes(
            subjects,
            (self.validation | earlier.validation) - subjects,
            self.all_known and earlier.all_known,
            self.mean_pose_m,
        )

    def text(self) -> str:
        """The notes as JSON."""
        held = {
            "subjects": sorted(self.subjects),
            "validation": sorted(self.validation),
            "all_known": self.all_known,
        }
        if self.mean_pose_m is not None:
            held["mean_pose_m"] = self.mean_pose_m.round(4).tolist()
        return json.dumps(held)
