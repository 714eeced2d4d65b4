"""The BlazePose detector: person detection, landmarks, ROI tracking and verification.

The person detection network finds people in tiles of the image. The landmark network finds the
keypoints in a person's ROI. Two of its landmarks predict the ROI of the next frame, so that the
person detection is only needed for new people.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ...downloads.cache import DownloadError
from ...geometry.boxes import weighted_nms
from ...reasons import Reason
from ...runtime.device import DevicePolicy, GpuFallback, GpuUnavailable, first_line, to_stderr
from ...runtime.onnx import default_threads, make_gpu_session, make_session
from ...skeletons import BLAZEPOSE33
from ...track.duplicates import is_duplicate, is_merged_pose
from ...types import Pose2D
from ..protocol import DetectorError, body_joints, person_score
from ..weights import ensure_onnx
from .crops import ImagePyramid, detection_input, landmark_input
from .decode import (
    CIRCLE_LANDMARK,
    DETECTION_INPUT_PX,
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
from .roi import (
    MAX_ROI_TO_IMAGE,
    Roi,
    are_separate,
    is_known,
    roi_from_points,
    rotation,
    similar_size,
)
from .tiles import SEARCH_EVERY, TileScheduler
from .verification import (
    MAX_VERIFICATIONS_PER_FRAME,
    RejectedPlaces,
    Verification,
    log_likelihood_ratio,
    verification_tile,
)

#: Index of the person detection network's session.
DETECTION_NETWORK = 0
#: Index of the landmark network's session.
LANDMARK_NETWORK = 1
#: Maximum number of crops in one pass on a GPU. A CPU takes one: several are no faster there, and
#: what one pass settles need not be in the next.
GPU_BATCH_SIZE = 8
#: Minimum side of a person's ROI over the side of the tile: what is smaller is a false positive.
MIN_ROI_TO_TILE = 0.15
#: Maximum side of a person's ROI over the side of the tile: larger people belong to larger tiles.
MAX_ROI_TO_TILE = 1.6
#: Maximum side of an image that OpenCV crops from, px; larger images have no detections.
MAX_IMAGE_SIDE_PX = 32766
#: Maximum time between frames, ns; after a longer gap the ROIs are of no use.
MAX_FRAME_GAP_NS = 1_000_000_000

T = TypeVar("T")


@dataclass
class TrackedPose:
    """A person in one frame, and the ROI of the next frame.

    Attributes:
        detection: the person.
        presence: from the landmark network, 0..1.
        next_roi: predicted for the next frame.
        verification: of the person, carried on from frame to frame.
    """

    detection: Pose2D
    presence: float
    next_roi: Roi
    verification: Verification = field(default_factory=Verification)


class BlazePoseDetector:
    """Detects several people, and tracks their ROIs from frame to frame.

    It smooths nothing over time: the lifter does that, and knows its lag.

    Args:
        variant: 'lite', 'full' or 'heavy'.
        max_people: maximum number of people. Each costs a landmark inference per frame.
        min_score: minimum mean visibility, 0..1, of the body's joints in the image, of a reported
            person.
        device: 'auto', 'cuda' or 'cpu', see `runtime.device`. On a GPU, TensorRT where it starts.
        threads: of the CPU; two where there are two cores.
        search_every: number of landmark inferences for which one tile is added, `SEARCH_EVERY`.
        world_landmarks: compute `Pose2D.world` too; only an evaluation needs it.
        require_gpu: raise DetectorError when the GPU fails, in place of a fallback to the CPU.
        say: takes what happens to a GPU, a line each; by default stderr.

    Attributes:
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
        search_every: int = SEARCH_EVERY,
        world_landmarks: bool = False,
        require_gpu: bool = False,
        say: Callable[[str], None] = to_stderr,
    ) -> None:
        self._max_people, self._min_score = max_people, min_score
        self.refused: Counter[Reason] = Counter()
        policy = DevicePolicy(device, require_gpu, DetectorError)
        self._networks = _make_networks(variant, threads, policy, say, self.refused)
        self._landmark_outputs: tuple[str, ...] = ("landmarks", "presence", "heatmap")
        if world_landmarks:
            self._landmark_outputs += ("world",)
        self._anchors = anchors()
        self._body = body_joints(self.layout)
        self._tiles = TileScheduler(search_every)
        self._tracked: list[TrackedPose] = []
        self._rejected = RejectedPlaces()
        #: Stamp, ns, and shape of the last image.
        self._last: tuple[int, tuple[int, ...]] | None = None

    def detect(self, image: np.ndarray, stamp_ns: int) -> list[Pose2D]:
        if image.size == 0 or max(image.shape) > MAX_IMAGE_SIDE_PX:
            return []
        elapsed_ns = self._restart_after_gap(image, stamp_ns)
        pyramid = ImagePyramid(image)
        tracked = self._without_merged_poses(self._track(pyramid, stamp_ns))
        tiles = self._tiles.next_tiles(stamp_ns, elapsed_ns, len(tracked), self._max_people)
        self._add_new(pyramid, stamp_ns, tiles, tracked)
        self._tracked = self._verify(pyramid, stamp_ns, tracked)
        return [
            pose.detection
            for pose in self._tracked
            if pose.verification.confirmed and pose.detection.score >= self._min_score
        ]

    def close(self) -> None:
        # onnxruntime frees a session with its last reference.
        self._networks.runner = replace(self._networks.runner, sessions=())

    @property
    def description(self) -> str:
        return self._networks.runner.description + self._networks.note

    @property
    def device(self) -> str:
        """'cuda' or 'cpu', where the networks run."""
        return self._networks.device

    @property
    def _batch_size(self) -> int:
        return self._networks.runner.batch_size

    # ------------------------------------------------------------------------ frame to frame

    def _restart_after_gap(self, image: np.ndarray, stamp_ns: int) -> int:
        """Start anew after a gap or with another image size; the time since the last frame, ns."""
        elapsed_ns = 0
        if self._last is not None:
            last_ns, shape = self._last
            elapsed_ns = stamp_ns - last_ns
            if image.shape != shape or not 0 <= elapsed_ns <= MAX_FRAME_GAP_NS:
                self._tracked = []
                self._rejected.clear()
                self._last = None
        if self._last is None:
            self._tiles.restart(*image.shape[1::-1])
        self._last = stamp_ns, image.shape
        return elapsed_ns

    def _track(self, pyramid: ImagePyramid, stamp_ns: int) -> list[TrackedPose]:
        """The people of the last frame in this one; the tiles get those who are lost."""
        tracked: list[TrackedPose] = []
        rois = [pose.next_roi for pose in self._tracked]
        for old, pose in zip(self._tracked, self._infer_landmarks(pyramid, rois), strict=True):
            # Of two ROIs that have moved onto one person, the older one goes on.
            if pose is not None and not any(
                is_duplicate(pose.detection, other.detection) for other in tracked
            ):
                pose.verification = old.verification
                tracked.append(pose)
            elif old.verification.confirmed:
                self._tiles.add_lost(old.next_roi, stamp_ns)
        return tracked

    def _without_merged_poses(self, poses: list[TrackedPose]) -> list[TrackedPose]:
        """Leave out the poses that are merged from the limbs of two people, and count them."""
        kept = [
            pose
            for pose in poses
            if not any(is_merged_pose(pose.detection, p.detection, self.layout) for p in poses)
        ]
        self.refused[Reason.MERGED_POSE] += len(poses) - len(kept)
        return kept

    # ---------------------------------------------------------------------------- new people

    def _add_new(
        self,
        pyramid: ImagePyramid,
        stamp_ns: int,
        tiles: Sequence[Roi],
        tracked: list[TrackedPose],
    ) -> None:
        """Add the people of the tiles who are not tracked yet."""
        for batch in _batches(tiles, self._batch_size):
            for rois in self._detect_people(pyramid, batch):
                for candidates in _batches(rois, self._batch_size):
                    if len(tracked) == self._max_people:
                        return
                    self._add_candidates(pyramid, stamp_ns, candidates, tracked)

    def _add_candidates(
        self,
        pyramid: ImagePyramid,
        stamp_ns: int,
        candidates: Sequence[Roi],
        tracked: list[TrackedPose],
    ) -> None:
        """Add the people in these ROIs who are not tracked yet."""
        new = [roi for roi in candidates if not any(is_known(roi, p.next_roi) for p in tracked)]
        for roi, pose in zip(new, self._infer_landmarks(pyramid, new), strict=True):
            if (
                pose is not None
                and len(tracked) < self._max_people
                and similar_size(pose.next_roi, roi)
                and all(are_separate(pose.detection, p.detection) for p in tracked)
            ):
                first_ratio = self._rejected.first_ratio(pose.next_roi, stamp_ns)
                pose.verification = Verification(first_ratio)
                tracked.append(pose)
                self._tiles.remove_lost(pose.next_roi)

    def _detect_people(self, pyramid: ImagePyramid, tiles: Sequence[Roi]) -> list[list[Roi]]:
        """Person detection: the ROIs of the people in each tile, the best score first."""
        boxes, scores = self._run(
            DETECTION_NETWORK, ("boxes", "scores"), detection_input(pyramid, tiles)
        )
        found = []
        for tile, tile_boxes, tile_scores in zip(tiles, boxes, scores, strict=True):
            candidates = decode_candidates(tile_boxes, tile_scores[:, 0], self._anchors)
            merged, _ = weighted_nms(*candidates, NMS_MIN_IOU)
            points = tile.to_image(merged.reshape(-1, 6, 2)[:, 2:4])
            rois = [roi_from_points(hips, circle) for hips, circle in points]
            # A person larger than a tile is left to a larger one, which the whole image lacks.
            whole = tile.side >= max(pyramid.width, pyramid.height)
            max_ratio = MAX_ROI_TO_IMAGE if whole else MAX_ROI_TO_TILE
            found.append(
                [
                    roi
                    for roi in rois
                    if roi.is_plausible(pyramid.width, pyramid.height)
                    and MIN_ROI_TO_TILE < roi.side / tile.side < max_ratio
                ]
            )
        return found

    # ----------------------------------------------------------------------------- landmarks

    def _infer_landmarks(
        self, pyramid: ImagePyramid, rois: Sequence[Roi]
    ) -> list[TrackedPose | None]:
        """Landmark inference: the person in each ROI; None where there is none."""
        poses: list[TrackedPose | None] = []
        for batch in _batches(rois, self._batch_size):
            outputs = self._run(
                LANDMARK_NETWORK, self._landmark_outputs, landmark_input(pyramid, batch)
            )
            for roi, landmarks, presence, heatmap, *world in zip(batch, *outputs, strict=True):
                probability = presence.item()
                # The comparison fails for NaN.
                poses.append(
                    self._decode_pose(pyramid, roi, probability, landmarks, heatmap, *world)
                    if probability >= MIN_PRESENCE
                    else None
                )
        return poses

    def _decode_pose(
        self,
        pyramid: ImagePyramid,
        roi: Roi,
        presence: float,
        landmarks: np.ndarray,
        heatmap: np.ndarray,
        world: np.ndarray | None = None,
    ) -> TrackedPose | None:
        """A person from the landmark network's outputs; None where they are not plausible."""
        landmarks = landmarks.reshape(LANDMARK_COUNT, 5)
        points = refine_landmarks(landmarks[:, :2] / LANDMARK_INPUT_PX, heatmap)
        points = roi.to_image(points.astype(np.float64))
        visibility = logistic(landmarks[: len(self.layout), 3].astype(np.float64))
        # An ROI's origin is a pixel's corner, an image's origin is a pixel's centre.
        keypoints = np.column_stack([points[: len(self.layout)] - 0.5, visibility])
        if not np.isfinite(keypoints).all():
            return None
        next_roi = roi_from_points(points[HIP_CENTRE_LANDMARK], points[CIRCLE_LANDMARK])
        if not next_roi.is_plausible(pyramid.width, pyramid.height):
            return None
        score = person_score(keypoints, self._body, (pyramid.width, pyramid.height))
        detection = Pose2D(keypoints, score)
        if world is not None:
            detection.world = self._decode_world(world, roi)
        return TrackedPose(detection, presence, next_roi)

    def _decode_world(self, world: np.ndarray, roi: Roi) -> np.ndarray | None:
        """The 3D points of `Pose2D.world`; None where one is not finite."""
        world = world.reshape(LANDMARK_COUNT, 3)[: len(self.layout)].astype(np.float64)
        world[:, :2] = world[:, :2] @ rotation(roi.angle).T
        return world if np.isfinite(world).all() else None

    # -------------------------------------------------------------------------- verification

    def _verify(
        self, pyramid: ImagePyramid, stamp_ns: int, tracked: list[TrackedPose]
    ) -> list[TrackedPose]:
        """Verify some of the poses, unconfirmed ones first; leave out and count the rejected."""
        due = [pose for pose in tracked if pose.verification.is_due(stamp_ns)]
        due.sort(key=lambda pose: pose.verification.confirmed)
        due = due[: max(MAX_VERIFICATIONS_PER_FRAME, self._batch_size)]
        for batch in _batches(due, self._batch_size):
            for pose, ratio in zip(batch, self._likelihood_ratios(pyramid, batch), strict=True):
                pose.verification.add(ratio, stamp_ns)
                if pose.verification.rejected:
                    self.refused[Reason.FALSE_POSITIVE] += 1
                    self._rejected.add(pose.next_roi, stamp_ns)
        return [pose for pose in tracked if not pose.verification.rejected]

    def _likelihood_ratios(
        self, pyramid: ImagePyramid, poses: Sequence[TrackedPose]
    ) -> list[float]:
        """Log-likelihood ratio of each pose: from its mirrored ROI and a tile around it."""
        mirrored = landmark_input(pyramid, [pose.next_roi for pose in poses], mirrored=True)
        (presence,) = self._run(LANDMARK_NETWORK, ("presence",), mirrored)
        size = pyramid.width, pyramid.height
        tiles = [verification_tile(pose.detection, pose.next_roi, *size) for pose in poses]
        (scores,) = self._run(DETECTION_NETWORK, ("scores",), detection_input(pyramid, tiles))
        best = logistic(scores.reshape(len(poses), -1).max(axis=1).astype(np.float64))
        return [
            log_likelihood_ratio(pose.presence, float(in_mirror), float(score))
            for pose, in_mirror, score in zip(poses, presence.reshape(-1), best, strict=True)
        ]

    def _run(self, network: int, outputs: tuple[str, ...], batch: np.ndarray) -> list[np.ndarray]:
        """Run one network on a batch, on the GPU or in its place on the CPU."""
        return self._networks.run(
            lambda networks: networks.sessions[network].run(outputs, {"image": batch})
        )


@dataclass(frozen=True)
class _Networks:
    """The two networks on one device.

    Attributes:
        sessions: of the person detection and of the landmarks.
        batch_size: maximum number of crops in one pass.
        description: what runs where, one line for the log.
    """

    sessions: tuple[Any, ...]
    batch_size: int
    description: str


def _make_networks(
    variant: str,
    threads: int | None,
    policy: DevicePolicy,
    say: Callable[[str], None],
    counts: Counter[Reason],
) -> GpuFallback[_Networks]:
    """Load the two networks. Raises DetectorError."""
    try:
        import onnxruntime
    except ImportError:
        raise DetectorError(
            "onnxruntime is not installed; pip install onnxruntime, or onnxruntime-gpu"
        ) from None
    try:
        paths = ensure_onnx(), ensure_onnx(variant)
    except DownloadError as error:
        raise DetectorError(str(error)) from None
    count = threads or default_threads()
    version = f"BlazePose {variant} in onnxruntime {onnxruntime.__version__}"

    def on_cpu(reason: str = "") -> _Networks:
        try:
            sessions = tuple(make_session(path, count) for path in paths)
        except Exception as error:  # onnxruntime's errors share no base of their own
            raise DetectorError(f"BlazePose cannot be loaded: {first_line(error)}") from None
        why = f" ({reason})" if reason else ""
        return _Networks(sessions, 1, f"{version} on {count} CPU threads{why}")

    def on_gpu() -> _Networks:
        sessions, where = _gpu_sessions(paths, count)
        return _Networks(sessions, GPU_BATCH_SIZE, f"{version} on {where}")

    def guard(
        networks: _Networks, make_cpu: Callable[[], _Networks] | None
    ) -> GpuFallback[_Networks]:
        return GpuFallback(networks, make_cpu, policy, "BlazePose", say, counts)

    return policy.choose(
        lambda: guard(on_gpu(), on_cpu), lambda reason: guard(on_cpu(reason), None)
    )


def _gpu_sessions(paths: tuple[Path, Path], threads: int) -> tuple[tuple[Any, ...], str]:
    """Both networks on a GPU, and the providers' names. Raises GpuUnavailable."""
    sessions, where = [], ""
    for path, size in zip(paths, (DETECTION_INPUT_PX, LANDMARK_INPUT_PX), strict=True):
        least, usual, most = ((n, 3, size, size) for n in (1, 2, GPU_BATCH_SIZE))
        session, where = make_gpu_session(path, threads, {"image": (least, usual, most)})
        try:
            # CUDA looks for the fastest kernels at each new batch size, which takes a while.
            for count in range(1, GPU_BATCH_SIZE + 1):
                session.run(None, {"image": np.zeros((count, *least[1:]), dtype=np.float32)})
        except Exception as error:  # onnxruntime's errors share no base of their own
            raise GpuUnavailable(first_line(error)) from None
        sessions.append(session)
    return tuple(sessions), where


def _batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
