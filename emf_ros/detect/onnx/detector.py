"""The detector for the user's own 2D pose models in ONNX."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ...geometry.boxes import keypoint_boxes
from ...geometry.crops import Placement, box_placement, letterbox
from ...io.paths import from_home
from ...reasons import Reason
from ...runtime.device import DevicePolicy, to_stderr
from ...track.duplicates import without_duplicates
from ...types import Pose2D
from ..budget import DetectionBudget
from ..protocol import DetectorError
from .config import TOP_DOWN, load_config
from .network import Network

#: Minimum score of the keypoints, and of a single person, that give the box for the next image.
MIN_TRACKED_SCORE = 0.3
#: Minimum number of such keypoints of a person.
MIN_TRACKED_KEYPOINTS = 4
#: Margin around the box of those keypoints, as a share of its longer side.
BOX_MARGIN = 0.1
#: Maximum time between two images in which people have about the same boxes, ns.
MAX_TRACKING_GAP_NS = 500_000_000


class OnnxPoseDetector:
    """Detects people with a 2D pose model of the user's own.

    Args:
        model: path of the .onnx file. Its settings are in the .yaml file beside it, or in a preset
            for its name, see `config`.
        max_people: maximum number of people; those with the best scores are reported.
        min_score: minimum score of a reported person, 0..1: the model's, or for a top-down model
            the mean score of the keypoints.
        device: 'auto', 'cuda' or 'cpu', see `runtime.device`.
        say: takes a line for the log, when a GPU fails; by default it goes to stderr.
        budget: of the time for live images; None for no limit. It limits the model for boxes while
            people are tracked.

    Attributes:
        budget: as given; None for a model without a model for boxes.

    Raises:
        DetectorError: the model or its settings cannot be used; the message says why.
    """

    def __init__(
        self,
        model: str | Path,
        max_people: int,
        min_score: float,
        device: str = "auto",
        say: Callable[[str], None] = to_stderr,
        budget: DetectionBudget | None = None,
    ) -> None:
        if not str(model):
            raise DetectorError("the detector 'onnx' needs a model: the path of a .onnx file")
        path = from_home(model)
        if not path.is_file():
            raise DetectorError(f"there is no model file {path}")
        config = load_config(path)
        assert config.layout is not None
        self.layout = config.layout
        self._max_people, self._min_score = max_people, min_score
        self.refused: Counter[Reason] = Counter()
        policy = DevicePolicy(device, DetectorError)
        self._pose = Network(path, config, policy, max_people, say, self.refused)
        self._boxes: Network | None = None
        if config.boxes is not None and config.boxes.model is not None:
            self._boxes = Network(config.boxes.model, config.boxes, policy, 1, say, self.refused)
        self.budget = budget if self._boxes is not None else None
        #: Boxes of the people in the last image, (4,) left, top, right, bottom, px.
        self._tracked: list[np.ndarray] = []
        #: Number of images since the last run of the model for boxes.
        self._since_boxes = 0
        self._last_ns: int | None = None

    @property
    def device(self) -> str:
        """'cuda' or 'cpu', where the model runs."""
        return self._pose.device

    @property
    def description(self) -> str:
        if self._boxes is not None:
            return f"{self._pose.description}, boxes of {self._boxes.description}"
        single = self._pose.config.decode in TOP_DOWN
        return self._pose.description + (", a single person, without boxes" if single else "")

    def detect(self, image: np.ndarray, stamp_ns: int) -> list[Pose2D]:
        if 0 in image.shape:
            return []
        if self.budget is None:
            return self._detect(image, stamp_ns)
        self.budget.begin()
        self.budget.work_done(bool(self._tracked))
        people = self._detect(image, stamp_ns)
        self.budget.work_done(bool(people))
        return people

    def _detect(self, image: np.ndarray, stamp_ns: int) -> list[Pose2D]:
        image = np.ascontiguousarray(image)
        config = self._pose.config
        if config.decode in TOP_DOWN:
            placements = self._placements(image, stamp_ns)
            if not placements:
                # Nobody is there: the next image must not take the boxes of an earlier one.
                self._track([], stamp_ns)
                return []
            keypoints = self._pose.infer_crops(image, placements)
            scores = keypoints[..., 2].clip(0.0, 1.0).mean(axis=-1)
        else:
            placement = letterbox(image.shape, self._pose.size, config.placement)
            keypoints, scores = self._pose.infer(image, placement)
            placements = [placement] * len(keypoints)
        people = []
        for in_crop, score, placement in zip(keypoints, scores, placements, strict=True):
            pose = np.array(in_crop, dtype=np.float64)
            pose[:, :2] = placement.to_image(pose[:, :2])
            pose[:, 2] = pose[:, 2].clip(0.0, 1.0)
            if score >= self._min_score and np.isfinite(pose).all():
                people.append(Pose2D(pose, float(min(max(score, 0.0), 1.0))))
        if config.decode in TOP_DOWN:
            # Two crops may show the same person.
            people = without_duplicates(people)
        people = sorted(people, key=lambda person: -person.score)[: self._max_people]
        self._track(people, stamp_ns)
        return people

    def configure(self, max_people: int, min_score: float) -> None:
        self._max_people, self._min_score = max_people, min_score

    def detect_new(self) -> None:
        """Nothing: new people are detected with the image."""

    def restart(self) -> None:
        self._tracked, self._since_boxes, self._last_ns = [], 0, None

    def close(self) -> None:
        # onnxruntime frees a session with its last reference.
        self._tracked = []
        self._pose.close()
        if self._boxes is not None:
            self._boxes.close()

    # --------------------------------------------------------------------------------- boxes

    def _placements(self, image: np.ndarray, stamp_ns: int) -> list[Placement]:
        """Crops of a top-down model, one for each person."""
        size, padding = self._pose.size, self._pose.config.padding
        if self._boxes is not None:
            boxes = self._person_boxes(self._boxes, image, stamp_ns)
            return [box_placement(box, size, padding) for box in boxes]
        if self._tracked and self._is_recent(stamp_ns):
            return [box_placement(self._tracked[0], size, padding)]
        return [letterbox(image.shape, size, "center")]

    def _person_boxes(self, network: Network, image: np.ndarray, stamp_ns: int) -> list[np.ndarray]:
        """Boxes of people, (4,) left, top, right, bottom, px: detected, or of the last image."""
        self._since_boxes += 1
        if self._tracked and self._is_recent(stamp_ns):
            if self._since_boxes < network.config.detect_every:
                return self._tracked
            if self.budget is not None and not self.budget.allows():
                return self._tracked
        self._since_boxes = 0
        placement = letterbox(image.shape, network.size, network.config.placement)
        if self.budget is not None:
            self.budget.begin_piece()
        boxes, _ = network.infer(image, placement)
        if self.budget is not None:
            self.budget.end_piece()
        corners = placement.to_image(boxes.reshape(-1, 2, 2).astype(np.float64))
        limit = np.array(image.shape[1::-1]) - 1.0
        return list(corners.clip(0, limit).reshape(-1, 4)[: self._max_people])

    def _is_recent(self, stamp_ns: int) -> bool:
        """Whether the boxes of the last image still show the people."""
        return self._last_ns is not None and 0 <= stamp_ns - self._last_ns <= MAX_TRACKING_GAP_NS

    def _track(self, people: list[Pose2D], stamp_ns: int) -> None:
        """Remember the boxes of the people for the next image."""
        self._last_ns, self._tracked = stamp_ns, []
        # Without boxes a false positive would be tracked in place of the person.
        min_score = MIN_TRACKED_SCORE if self._boxes is None else 0.0
        for person in people:
            if person.score < min_score:
                continue
            if (person.keypoints[:, 2] >= MIN_TRACKED_SCORE).sum() >= MIN_TRACKED_KEYPOINTS:
                box = keypoint_boxes(person.keypoints[None], MIN_TRACKED_SCORE)[0]
                # The outlines of head and feet extend beyond their keypoints.
                margin = BOX_MARGIN * (box[2:] - box[:2]).max()
                self._tracked.append(box + margin * np.array([-1, -1, 1, 1]))
