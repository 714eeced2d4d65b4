"""The BlazePose detector: person detection, landmarks, ROI tracking and verification.

The person detection network detects people in tiles of the image. The landmark network gives the
keypoints in a person's ROI. Two of its landmarks predict the ROI of the next frame, so that the
person detection is only needed for new people.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from ...geometry.boxes import weighted_nms
from ...geometry.crops import ImagePyramid, Roi, rotation
from ...reasons import Reason
from ...runtime.batching import batches
from ...runtime.device import DevicePolicy, to_stderr
from ...skeletons import BLAZEPOSE33
from ...track.apart import SeenApart
from ...track.duplicates import is_duplicate, is_merged_pose
from ...types import Pose2D
from ..budget import DetectionBudget
from ..protocol import DetectorError, body_joints, person_score
from .decode import (
    CIRCLE_LANDMARK,
    HIP_CENTRE_LANDMARK,
    LANDMARK_COUNT,
    LANDMARK_INPUT_PX,
    MIN_PRESENCE,
    NMS_MIN_IOU,
    anchors,
    decode_candidates,
    logistic,
    refine_landmarks,
)
from .inputs import detection_input, landmark_input
from .live import Candidates, Turns, Work
from .networks import DETECTION_NETWORK, LANDMARK_NETWORK, Job, Networks
from .roi import (
    MAX_ROI_TO_IMAGE,
    are_separate,
    is_known,
    is_plausible,
    roi_from_points,
    similar_size,
)
from .tiles import TileScheduler
from .tracked import TrackedPerson
from .verification import (
    MAX_VERIFICATIONS_PER_FRAME,
    RejectedPlaces,
    Verification,
    log_likelihood_ratio,
    verification_tile,
)

#: Minimum side of a person's ROI over the side of the tile; smaller ones are false positives.
MIN_ROI_TO_TILE = 0.15
#: Maximum side of a person's ROI over the side of the tile; larger people fit larger tiles.
MAX_ROI_TO_TILE = 1.6
#: Maximum side of an image that OpenCV crops from, px; larger images have no detections.
MAX_IMAGE_SIDE_PX = 32766
#: Maximum time between frames, ns; after a longer gap people are no longer in their ROIs.
MAX_FRAME_GAP_NS = 1_000_000_000


class BlazePoseDetector:
    """Detects several people, and tracks their ROIs from frame to frame.

    The keypoints are not smoothed over time: the lifter smooths them, with its own lag.

    Without a budget, the person detection and the verification of an image depend on its stamp and
    its people only: the same images give the same people. With one they take the time that there
    is: while a person is confirmed, `detect` gives the landmarks, and `detect_new` does the rest.

    Args:
        variant: 'lite', 'full' or 'heavy'.
        max_people: maximum number of people. Each costs a landmark inference per frame.
        min_score: minimum score of a reported person, 0..1, see `protocol.person_score`.
        device: 'auto', 'cuda' or 'cpu', see `runtime.device`. On a GPU, TensorRT where it starts.
        threads: maximum number of CPU threads; None for up to four, one for each core.
        world_landmarks: compute `Pose2D.world`, too; only an evaluation needs it.
        say: takes a line for the log, when a GPU fails; by default it goes to stderr.
        budget: of the time for live images; None for no limit.

    Attributes:
        budget: as given.
        refused: see `Detector`; `merged_pose`: see `track.duplicates`; `false_positive`: see
            `verification`.

    Raises:
        DetectorError: onnxruntime, the weights or the device are not available.
    """

    layout = BLAZEPOSE33

    def __init__(
        self,
        variant: str,
        max_people: int,
        min_score: float,
        device: str = "auto",
        threads: int | None = None,
        world_landmarks: bool = False,
        say: Callable[[str], None] = to_stderr,
        budget: DetectionBudget | None = None,
    ) -> None:
        self._max_people, self._min_score = max_people, min_score
        self.refused: Counter[Reason] = Counter()
        policy = DevicePolicy(device, DetectorError)
        self._networks = Networks(variant, threads, policy, say, self.refused, budget)
        self._landmark_outputs: tuple[str, ...] = ("landmarks", "presence", "heatmap")
        if world_landmarks:
            self._landmark_outputs += ("world",)
        self._anchors = anchors()
        self._body = body_joints(self.layout)
        self._tiles = TileScheduler()
        self._tracked: list[TrackedPerson] = []
        self.budget, self._turns, self._candidates = budget, Turns(), Candidates()
        #: The last image and its stamp, ns, while `detect_new` may use them.
        self._live: tuple[ImagePyramid, int] | None = None
        self._rejected = RejectedPlaces()
        self._apart = SeenApart(self.layout)
        #: Stamp, ns, and shape of the last image.
        self._last: tuple[int, tuple[int, ...]] | None = None

    def detect(self, image: np.ndarray, stamp_ns: int) -> list[Pose2D]:
        if image.size == 0 or max(image.shape) > MAX_IMAGE_SIDE_PX:
            return []
        elapsed_ns = self._restart_after_gap(image, stamp_ns)
        pyramid = ImagePyramid(image)
        if self.budget is not None:
            self.budget.begin()
        self._tracked = self._without_merged_poses(self._track(pyramid, stamp_ns), stamp_ns)
        people = len(self._tracked)
        if self.budget is None:
            self._tiles.begin(stamp_ns, elapsed_ns, people, self._max_people)
            self._add_new(pyramid, stamp_ns, self._tiles.take_all(), self._tracked)
            self._verify(pyramid, stamp_ns)
        else:
            # While people are tracked, a slow camera gets no more tiles in an image.
            self._tiles.begin(stamp_ns, 0 if people else elapsed_ns, people, self._max_people)
            anyone = any(person.verification.confirmed for person in self._tracked)
            self.budget.work_done(anyone)
            self._live = pyramid, stamp_ns
            if not anyone:
                self.detect_new()
        return [
            person.pose
            for person in self._tracked
            if person.verification.confirmed and person.pose.score >= self._min_score
        ]

    def configure(self, max_people: int, min_score: float) -> None:
        self._max_people, self._min_score = max_people, min_score
        self._tracked = sorted(self._tracked, key=lambda person: -person.pose.score)[:max_people]

    def detect_new(self) -> None:
        """Detect new people in the last image, and verify poses, as far as the budget allows.

        The next image shows the result.
        """
        if self._live is None or self.budget is None:
            return
        (pyramid, stamp_ns), self._live = self._live, None
        while due := self._due_work(stamp_ns):
            if not self.budget.allows():
                return
            self.budget.begin_piece()
            self._do(self._turns.take(due), pyramid, stamp_ns)
            self.budget.end_piece()

    def restart(self) -> None:
        self._tracked, self._last, self._live = [], None, None
        self._rejected.clear()
        self._apart.restart()
        self._candidates.clear()
        if self.budget is not None:
            self.budget.restart()

    def close(self) -> None:
        self._live = None
        self._networks.close()

    @property
    def description(self) -> str:
        return self._networks.description

    @property
    def device(self) -> str:
        """'cuda' or 'cpu', where the networks run."""
        return self._networks.device

    # ------------------------------------------------------------------------ frame to frame

    def _restart_after_gap(self, image: np.ndarray, stamp_ns: int) -> int:
        """Forget the people after a gap in time or with another image size.

        Returns the time since the last frame, ns; 0 for the first one.
        """
        elapsed_ns = 0
        if self._last is not None:
            last_ns, shape = self._last
            elapsed_ns = stamp_ns - last_ns
            if image.shape != shape or not 0 <= elapsed_ns <= MAX_FRAME_GAP_NS:
                self.restart()
        if self._last is None:
            self._tiles.restart(*image.shape[1::-1])
        self._last = stamp_ns, image.shape
        return elapsed_ns

    def _track(self, pyramid: ImagePyramid, stamp_ns: int) -> list[TrackedPerson]:
        """Landmarks of the last frame's people in this frame; lost people get tiles."""
        tracked: list[TrackedPerson] = []
        rois = [person.next_roi for person in self._tracked]
        for old, person in zip(self._tracked, self._infer_landmarks(pyramid, rois), strict=True):
            # Two ROIs may move onto one person: the older one stays.
            if person is not None and not any(
                is_duplicate(person.pose, other.pose) for other in tracked
            ):
                person.verification = old.verification
                tracked.append(person)
            elif old.verification.confirmed:
                self._tiles.add_lost(old.next_roi, stamp_ns)
        return tracked

    def _without_merged_poses(
        self, people: list[TrackedPerson], stamp_ns: int
    ) -> list[TrackedPerson]:
        """Remove and count the poses that are merged from the limbs of two people."""
        apart = self._apart.update([person.pose for person in people], stamp_ns)
        kept = [
            person
            for person, was_apart in zip(people, apart, strict=True)
            if not any(
                not known and is_merged_pose(person.pose, other.pose, self.layout)
                for other, known in zip(people, was_apart, strict=True)
            )
        ]
        self.refused[Reason.MERGED_POSE] += len(people) - len(kept)
        return kept

    # ---------------------------------------------------------------------------- new people

    def _add_new(
        self,
        pyramid: ImagePyramid,
        stamp_ns: int,
        tiles: Sequence[Roi],
        tracked: list[TrackedPerson],
    ) -> None:
        """Detect people in the tiles, and add those that are not tracked yet."""
        for batch in batches(tiles, self._networks.batch_size):
            for rois in self._detect_people(pyramid, batch):
                for candidates in batches(rois, self._networks.batch_size):
                    if len(tracked) == self._max_people:
                        return
                    self._add_candidates(pyramid, stamp_ns, candidates, tracked)

    def _add_candidates(
        self,
        pyramid: ImagePyramid,
        stamp_ns: int,
        candidates: Sequence[Roi],
        tracked: list[TrackedPerson],
    ) -> None:
        """Add the people in these ROIs that are not tracked yet."""
        new = [roi for roi in candidates if not any(is_known(roi, p.next_roi) for p in tracked)]
        for roi, person in zip(new, self._infer_landmarks(pyramid, new), strict=True):
            if (
                person is not None
                and len(tracked) < self._max_people
                and similar_size(person.next_roi, roi)
                and all(are_separate(person.pose, p.pose) for p in tracked)
            ):
                first_ratio = self._rejected.first_ratio(person.next_roi, stamp_ns)
                person.verification = Verification(first_ratio)
                tracked.append(person)
                self._tiles.remove_lost(person.next_roi)

    def _detect_people(self, pyramid: ImagePyramid, tiles: Sequence[Roi]) -> list[list[Roi]]:
        """Person detection: the ROIs of the people in each tile, best score first."""
        make_input = partial(detection_input, pyramid)
        job = Job(DETECTION_NETWORK, ("boxes", "scores"), make_input, tiles)
        (answers,) = self._networks.run([job])
        rois_of_tiles = []
        for tile, (tile_boxes, tile_scores) in zip(tiles, answers, strict=True):
            candidates = decode_candidates(tile_boxes, tile_scores[:, 0], self._anchors)
            merged, _ = weighted_nms(*candidates, NMS_MIN_IOU)
            points = tile.to_image(merged.reshape(-1, 6, 2)[:, 2:4])
            rois = [roi_from_points(hips, circle) for hips, circle in points]
            # A larger tile detects a person larger than this one; the whole image has none.
            whole = tile.side >= max(pyramid.width, pyramid.height)
            max_ratio = MAX_ROI_TO_IMAGE if whole else MAX_ROI_TO_TILE
            rois_of_tiles.append(
                [
                    roi
                    for roi in rois
                    if is_plausible(roi, pyramid.width, pyramid.height)
                    and MIN_ROI_TO_TILE < roi.side / tile.side < max_ratio
                ]
            )
        return rois_of_tiles

    # ---------------------------------------------------------------------------------- live

    def _due_work(self, stamp_ns: int) -> set[Work]:
        """The kinds of work that are due in the image of this stamp."""
        due = {
            Work.VERIFY_AGAIN if person.verification.confirmed else Work.VERIFY_NEW
            for person in self._tracked
            if person.verification.is_due(stamp_ns)
        }
        if len(self._tracked) >= self._max_people:
            return due
        self._candidates.drop(
            stamp_ns, lambda roi: any(is_known(roi, p.next_roi) for p in self._tracked)
        )
        if self._candidates:
            due.add(Work.CANDIDATE)
        if self._tiles.lost_tile_is_due:
            due.add(Work.LOST_TILE)
        if self._tiles.tile_is_due:
            due.add(Work.TILE)
        return due

    def _do(self, work: Work, pyramid: ImagePyramid, stamp_ns: int) -> None:
        """One piece of work: one pass of the networks, or the two of a verification."""
        count = self._networks.batch_size
        if work is Work.CANDIDATE:
            rois = self._candidates.take(count)
            self._add_candidates(pyramid, stamp_ns, rois, self._tracked)
        elif work in (Work.TILE, Work.LOST_TILE):
            lost = work is Work.LOST_TILE
            tiles = self._tiles.take_lost() if lost else self._tiles.take(count)
            for rois in self._detect_people(pyramid, tiles) if tiles else ():
                for roi in rois:
                    self._candidates.add(roi, stamp_ns)
        else:
            confirmed = work is Work.VERIFY_AGAIN
            due = [
                person
                for person in self._tracked
                if person.verification.confirmed == confirmed
                and person.verification.is_due(stamp_ns)
            ]
            self._verify_people(pyramid, stamp_ns, due[:count])

    # ----------------------------------------------------------------------------- landmarks

    def _infer_landmarks(
        self, pyramid: ImagePyramid, rois: Sequence[Roi]
    ) -> list[TrackedPerson | None]:
        """Landmark inference: the person in each ROI; None where there is none."""
        if not rois:
            return []
        make_input = partial(landmark_input, pyramid)
        job = Job(LANDMARK_NETWORK, self._landmark_outputs, make_input, rois)
        (answers,) = self._networks.run([job])
        return [
            self._decode_pose(pyramid, roi, presence.item(), landmarks, heatmap, *world)
            for roi, (landmarks, presence, heatmap, *world) in zip(rois, answers, strict=True)
        ]

    def _decode_pose(
        self,
        pyramid: ImagePyramid,
        roi: Roi,
        presence: float,
        landmarks: np.ndarray,
        heatmap: np.ndarray,
        world: np.ndarray | None = None,
    ) -> TrackedPerson | None:
        """A person from the landmark network's outputs; None if there is no plausible one."""
        # The comparison fails for NaN.
        if not presence >= MIN_PRESENCE:
            return None
        landmarks = landmarks.reshape(LANDMARK_COUNT, 5)
        points = refine_landmarks(landmarks[:, :2] / LANDMARK_INPUT_PX, heatmap)
        points = roi.to_image(points.astype(np.float64))
        visibility = logistic(landmarks[: len(self.layout), 3].astype(np.float64))
        # The origin of an ROI is the corner of a pixel, that of keypoints the centre of a pixel.
        keypoints = np.column_stack([points[: len(self.layout)] - 0.5, visibility])
        if not np.isfinite(keypoints).all():
            return None
        next_roi = roi_from_points(points[HIP_CENTRE_LANDMARK], points[CIRCLE_LANDMARK])
        if not is_plausible(next_roi, pyramid.width, pyramid.height):
            return None
        score = person_score(keypoints, self._body, (pyramid.width, pyramid.height))
        pose = Pose2D(keypoints, score)
        if world is not None:
            pose.world = self._decode_world(world, roi)
        return TrackedPerson(pose, presence, next_roi)

    def _decode_world(self, world: np.ndarray, roi: Roi) -> np.ndarray | None:
        """The 3D points of `Pose2D.world`; None if one is not finite."""
        world = world.reshape(LANDMARK_COUNT, 3)[: len(self.layout)].astype(np.float64)
        world[:, :2] = world[:, :2] @ rotation(roi.angle).T
        return world if np.isfinite(world).all() else None

    # -------------------------------------------------------------------------- verification

    def _verify(self, pyramid: ImagePyramid, stamp_ns: int) -> None:
        """Verify some of the people, unconfirmed ones first."""
        due = [person for person in self._tracked if person.verification.is_due(stamp_ns)]
        due.sort(key=lambda person: person.verification.confirmed)
        due = due[: max(MAX_VERIFICATIONS_PER_FRAME, self._networks.batch_size)]
        if due:
            self._verify_people(pyramid, stamp_ns, due)

    def _verify_people(
        self, pyramid: ImagePyramid, stamp_ns: int, people: Sequence[TrackedPerson]
    ) -> None:
        """Verify these people; remove and count the rejected."""
        for person, ratio in zip(people, self._likelihood_ratios(pyramid, people), strict=True):
            person.verification.add(ratio, stamp_ns)
            if person.verification.rejected:
                self.refused[Reason.FALSE_POSITIVE] += 1
                self._rejected.add(person.next_roi, stamp_ns)
        self._tracked = [person for person in self._tracked if not person.verification.rejected]

    def _likelihood_ratios(
        self, pyramid: ImagePyramid, people: Sequence[TrackedPerson]
    ) -> list[float]:
        """Log-likelihood ratio of each pose: from its mirrored ROI and a tile around it."""
        mirrored = Job(
            LANDMARK_NETWORK,
            ("presence",),
            partial(landmark_input, pyramid, mirrored=True),
            [person.next_roi for person in people],
        )
        size = pyramid.width, pyramid.height
        around = Job(
            DETECTION_NETWORK,
            ("scores",),
            partial(detection_input, pyramid),
            [verification_tile(person.pose, person.next_roi, *size) for person in people],
        )
        in_mirrors, scores = self._networks.run([mirrored, around])
        return [
            log_likelihood_ratio(
                person.presence,
                in_mirror.item(),
                float(logistic(of_anchors.max().astype(np.float64))),
            )
            for person, (in_mirror,), (of_anchors,) in zip(people, in_mirrors, scores, strict=True)
        ]
