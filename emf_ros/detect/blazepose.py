"""BlazePose in onnxruntime: its two networks, and all that lies around them.

One network finds people in the whole picture, each as the middle of the hips and a
point on the circle around the body. From these follows a square that stands upright with the
person, and a second network finds the landmarks in it. Two of its landmarks tell the square of the
next frame, so that the first network is only needed for people not seen before.

Sources: Bazarevsky et al., BlazePose: On-device Real-time Body Pose tracking, 2020; Bazarevsky et
al., BlazeFace, 2019 (anchors, blended suppression); and the numbers of MediaPipe's public graphs.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np

from ..onnx_session import (
    GpuUnavailable,
    default_threads,
    first_line,
    gpu_there,
    make_gpu_session,
    make_session,
)
from ..skeletons import BLAZEPOSE33
from ..track.duplicates import MAX_DUPLICATE_DISTANCE, is_duplicate, is_merged_pose
from .base import SEARCH_EVERY, Detection, DetectorError, body_joints, person_score
from .trust import Trust, evidence
from .weights import ModelUnavailable, ensure_onnx

#: At the start, and after someone has been lost, on each of so many frames: the search
#: finds a person in one picture and not in the next.
EAGER_SEARCHES = 30

#: The search is made for people who fill the picture: of those whose height is 0.3 of its view's
#: side it finds 9 in 10, at 0.2 it finds 6, at 0.1 none. So it also looks into parts of the
#: picture, of so many sizes, each smaller by this factor than the one before.
_LEVELS, _ZOOM = 3, 1.75
#: Which size comes after which: those at some metres most often.
_TURNS = (1, 0, 1, 2)
#: How far the views reach beyond the edges, in all, as a share of their side.
_OVERHANG = 0.25
#: By which they move from round to round, of their distance: the points of these multiples fill a
#: square evenly, however many there are (Roberts, The unreasonable effectiveness of quasirandom
#: sequences, 2018).
_SHIFTS = (0.7548776662466927, 0.5698402909980532)
#: Views smaller than this, px, show nothing that those of the level before do not.
_MIN_VIEW = 200
#: So many views of the first picture; the whole and its parts of one of 16:9.
_AT_FIRST = 4.0
#: Whoever is lost, behind somebody else perhaps, is also looked for around where that was: for so
#: long, in a view of so many of their squares.
_LOST_NS, _LOST_VIEW = 1_000_000_000, 2.0
#: On each picture of a camera that is slower than this one more view is searched, up to so many.
_USUAL_NS, _MOST_AT_ONCE = 33_000_000, 3

DETECTOR_SIZE, LANDMARK_SIZE, HEATMAP_SIZE = 224, 256, 64  # px
#: A GPU takes several views or squares in one pass; a CPU is as fast with one by one, and then need
#: not look at what an earlier one has settled.
_GPU_BATCH = 8
_SEARCH, _LOOK = 0, 1  # the places of the two networks' sessions
_STRIDES = (8, 16, 32, 32, 32)  # px, of the detector's layers
_ANCHORS_PER_CELL = 2  # of each layer
_LANDMARKS = 39  # 33 of the body, 2 of the next square, 4 of the hands that nothing here uses
_HIPS, _RIM = 33, 34
#: Half of the search's 0.5 in MediaPipe: whoever it is not sure of, the landmarks' network judges,
#: and further looks do. Of ten people in a picture six are found in place of five.
_MIN_CANDIDATE, _MIN_PRESENCE = 0.25, 0.5
#: The square that the search gives and that of the landmarks differ by no more where there is
#: somebody; both sizes as shares of the view's side, which whole people fill by half or less.
_SIZE_CHANGE, _SMALLEST, _LARGEST_IN_VIEW = 2.0, 0.15, 1.6
_SUPPRESS_IOU = 0.3
#: The hips of two people this close, as a share of the larger square's side, stand alike, or one of
#: them is none. Two who stand side by side are 0.2 apart.
_ACROSS, _ACROSS_ANGLE = 0.35, 0.8  # of the side; rad
_APART_IOU = 0.3  # of the boxes of a new person and of those known already
_SQUARE_SCALE = 1.25  # the square's side to the circle's diameter
_HEATMAP_KERNEL, _MIN_HEAT = 7, 0.5
#: A square this small holds nothing, and one this large, as a share of the picture, is no person's.
_MIN_SIDE, _MAX_SIDE = 4.0, 8.0
#: Of those followed so many are looked at again in one picture, to see whether they are people; the
#: search sees them in a view of so many times what the picture shows of them.
_CHECKS, _AROUND = 2, 2.0
#: Of a picture in daylight, the standard deviation and the mean; and the most that the contrast of
#: another one is raised.
_DEVIATION, _MEAN, _LARGEST_GAIN = 45.0, 118.0, 6.0
_MOST_HALVES = 5
#: Where somebody turned out to be nobody, who is found there within this time begins with as much.
_REFUSED_NS, _AGAIN = 10_000_000_000, -2.0
_LARGEST = 32766  # px, of a picture's side, that OpenCV takes; in larger ones no one is found
#: After a gap of this length the squares of before it say nothing.
_FORGET_NS = 1_000_000_000

T = TypeVar("T")


class Halves:
    """A picture, and smaller ones made of it, each half as large as the one before.

    To shrink a picture by more than two, a square is taken from the one that is nearest: from the
    picture itself most pixels would count for nothing, and the noise of the others would stay.

    Args:
        image: (H, W, 3) uint8.

    Attributes:
        shape: of the picture.
        levels: as far as they were needed.
    """

    def __init__(self, image: np.ndarray) -> None:
        self.shape, self.levels = image.shape, [image]

    def level_for(self, scale: float) -> int:
        """The number of the smallest picture that has not less than what is wanted of it.

        Args:
            scale: of the picture's pixels, how many are to become one, across.
        """
        wanted = min(int(math.log2(scale)), _MOST_HALVES) if scale >= 2 else 0
        while len(self.levels) <= wanted:
            last = self.levels[-1]
            height, width = (side // 2 for side in last.shape[:2])
            if min(height, width) < 1:
                return len(self.levels) - 1
            # An odd row or column has no partner.
            even = last[: 2 * height, : 2 * width]
            self.levels.append(cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA))
        return wanted


def in_daylight(picture: np.ndarray) -> np.ndarray:
    """A dark or pale picture with the contrast that the networks know; others as they are.

    Args:
        picture: (H, W, 3) uint8.
    """
    means, deviations = cv2.meanStdDev(picture)
    mean = float(means.mean())
    deviation = math.sqrt(float((deviations**2 + means**2).mean()) - mean**2)
    if not 0 < deviation < _DEVIATION:
        return picture
    gain = min(_DEVIATION / deviation, _LARGEST_GAIN)
    tones = (np.arange(256) - mean) * gain + _MEAN
    return cv2.LUT(picture, tones.clip(0, 255).astype(np.uint8))


@dataclass(frozen=True)
class Region:
    """An upright person's square in the picture.

    Attributes:
        x, y: px, its middle, which is the hips'. A pixel's left upper corner is its origin.
        side: px.
        angle: rad, by which the person leans to the right.
    """

    x: float
    y: float
    side: float
    angle: float

    def to_picture(self, points: np.ndarray) -> np.ndarray:
        """(..., 2) points in the square, 0..1, to px of the picture."""
        return (points - 0.5) @ (self.side * _rotation(self.angle)).T + (self.x, self.y)

    def crop(self, picture: Halves, size: int, border: int) -> np.ndarray:
        """(size, size, 3) uint8 of the square, with the contrast of daylight.

        Args:
            border: OpenCV's border type, for what lies outside the picture.
        """
        level = picture.level_for(self.side / size)
        factor = 2.0**level
        # Between one and two pixels are left to become one: the mean of four points of them.
        finer = 2 if self.side / size > factor else 1
        matrix = np.empty((2, 3))
        matrix[:, :2] = self.side / (finer * size) / factor * _rotation(self.angle)
        # The halves' pixels have their middles in the same places as those that they were made of.
        matrix[:, 2] = (self.to_picture(np.zeros(2)) + 0.5) / factor - 0.5
        small = cv2.warpAffine(
            picture.levels[level],
            matrix,
            (finer * size, finer * size),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=border,
        )
        if finer > 1:
            small = cv2.resize(small, (size, size), interpolation=cv2.INTER_AREA)
        return in_daylight(small)


@dataclass
class _Pose:
    person: Detection
    presence: float
    next: Region  # of the next frame
    trust: Trust = field(default_factory=Trust)


class BlazePoseDetector:
    """Several people, whose regions are tracked between frames.

    Nothing is smoothed over time: what follows does that, and knows the lag it may have.

    Args:
        variant: 'lite', 'full' or 'heavy'.
        max_people: how many people are looked for. Each costs a run of the landmarks' network.
        min_score: least mean visibility of the body's joints in the picture for a person to be
            reported.
        device: 'auto', 'cuda', which is TensorRT where that starts, or 'cpu'; 'cuda' refuses to
            start on a CPU, 'auto' says in `description` why it is on one.
        threads: of the CPU; two where there are two cores.
        search_every: of how many squares looked at one more is a search, see `SEARCH_EVERY`.

    Attributes:
        description: what runs where, one line for the log.
        refused: see `Detector`; `not_a_person` once for each that further looks have settled.

    Raises:
        DetectorError: onnxruntime, the weights or the device are not to be had.
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
    ) -> None:
        self._variant, self._device, self._threads = variant, device, threads
        self._max_people, self._min_score = max_people, min_score
        self._make_sessions(device)
        self._search_every = search_every
        self._anchors = anchors()
        self._body = body_joints(self.layout)
        self._poses: list[_Pose] = []
        self.refused: Counter[str] = Counter()
        self._nobody: list[tuple[int, Region]] = []
        self._due, self._eager = 0.0, EAGER_SEARCHES
        self._lost: list[tuple[int, Region]] = []
        self._views: Iterator[Region] = iter(())
        self._last: tuple[int, tuple[int, ...]] | None = None

    def detect(self, image: np.ndarray, stamp_ns: int) -> list[Detection]:
        if image.size == 0 or max(image.shape) > _LARGEST:
            return []
        passed_ns = self._forget_the_past(image, stamp_ns)
        picture = Halves(image)
        before = self._poses
        poses: list[_Pose] = []
        for old, pose in zip(before, self._look(picture, [p.next for p in before]), strict=True):
            # Of two squares that have slid onto one person, the older goes on.
            if pose is not None and not any(is_duplicate(pose.person, p.person) for p in poses):
                pose.trust = old.trust
                poses.append(pose)
            elif old.trust.believed:
                # Someone was lost, who may well be there still.
                self._eager = EAGER_SEARCHES
                self._lost.append((stamp_ns + _LOST_NS, old.next))
        real = [
            pose
            for pose in poses
            if not any(is_merged_pose(pose.person, p.person, self.layout) for p in poses)
        ]
        self.refused["merged_pose"] += len(poses) - len(real)
        poses = real
        self._due += max(len(poses), 1) / self._search_every
        if self._eager or not poses:
            self._due = max(self._due, min(max(round(passed_ns / _USUAL_NS), 1), _MOST_AT_ONCE))
        if len(poses) < self._max_people and self._due >= 1:
            # While there is no one, the count waits for the first to come.
            self._eager -= bool(poses and self._eager)
            views = list(itertools.islice(self._views, int(self._due)))
            self._add_new(picture, stamp_ns, self._around_lost(stamp_ns) + views, poses)
        self._due %= 1
        self._poses = self._without_refused(picture, stamp_ns, poses)
        return [
            pose.person
            for pose in self._poses
            if pose.trust.believed and pose.person.score >= self._min_score
        ]

    def close(self) -> None:
        self._sessions = ()

    def _make_sessions(self, device: str) -> None:
        """Open the detector's and the landmarks' networks, and say what they run on."""
        if device not in ("auto", "cuda", "cpu"):
            raise DetectorError(f"device must be one of auto, cuda, cpu, not {device!r}")
        try:
            import onnxruntime
        except ImportError:
            raise DetectorError(
                "onnxruntime is not installed; pip install onnxruntime, or onnxruntime-gpu"
            ) from None
        try:
            paths = ensure_onnx(), ensure_onnx(self._variant)
        except ModelUnavailable as error:
            raise DetectorError(str(error)) from None
        threads = self._threads or default_threads()
        version = f"BlazePose {self._variant} in onnxruntime {onnxruntime.__version__}"
        reason = "device is cpu"
        if device != "cpu":
            if gpu_there():
                try:
                    self._sessions, where = _gpu_sessions(paths, threads)
                    self.description, self._batch = f"{version} on {where}", _GPU_BATCH
                    return
                except GpuUnavailable as error:
                    reason = str(error)
            else:
                reason = "no CUDA GPU"
            if device == "cuda":
                raise DetectorError(f"a GPU is required and cannot be used: {reason}")
        try:
            self._sessions = tuple(make_session(path, threads) for path in paths)
        except Exception as error:  # onnxruntime's errors share no base of their own
            raise DetectorError(f"BlazePose cannot be loaded: {error}") from None
        self.description = f"{version} on {threads} CPU threads ({reason})"
        self._batch = 1

    def _run(self, which: int, outputs: tuple[str, ...], image: np.ndarray) -> list[np.ndarray]:
        try:
            return self._sessions[which].run(outputs, {"image": image})
        except Exception as error:  # onnxruntime's errors share no base of their own
            if self._device != "auto":
                raise
            # A GPU can fail after months: the next pictures are the CPU's, but this one says so.
            self._device = "cpu"
            before = self.description
            self._make_sessions("cpu")
            self.description += f"; before that: {before}, {first_line(error)}"
            raise DetectorError(
                f"BlazePose has failed ({first_line(error)}) and goes on on the CPU"
            ) from error

    def _around_lost(self, stamp_ns: int) -> list[Region]:
        """A view of where someone was lost, each of them in turn."""
        self._lost = [(until_ns, region) for until_ns, region in self._lost if stamp_ns < until_ns]
        if not self._lost:
            return []
        self._lost.append(self._lost.pop(0))
        _, region = self._lost[-1]
        return [Region(region.x, region.y, _LOST_VIEW * region.side, 0.0)]

    def _forget_the_past(self, image: np.ndarray, stamp_ns: int) -> int:
        """Begin anew after a gap; the time since the last picture, ns."""
        passed_ns = 0
        if self._last is not None:
            last_ns, shape = self._last
            passed_ns = stamp_ns - last_ns
            if image.shape != shape or not 0 <= passed_ns <= _FORGET_NS:
                self._poses, self._eager, self._lost = [], EAGER_SEARCHES, []
                self._nobody = []
                self._last = None
        if self._last is None:
            self._views, self._due = search_order(*image.shape[1::-1]), _AT_FIRST
        self._last = stamp_ns, image.shape
        return passed_ns

    def _without_refused(self, picture: Halves, stamp_ns: int, poses: list[_Pose]) -> list[_Pose]:
        """Look again at some of them, the new ones first, and leave out those who are nobody."""
        due = [pose for pose in poses if pose.trust.is_due(stamp_ns)]
        due.sort(key=lambda pose: pose.trust.believed)
        for part in _batches(due[: max(_CHECKS, self._batch)], self._batch):
            for pose, ratio in zip(part, self._check(picture, part), strict=True):
                pose.trust.add(ratio, stamp_ns)
                if pose.trust.refused:
                    self.refused["not_a_person"] += 1
                    self._nobody.append((stamp_ns + _REFUSED_NS, pose.next))
        return [pose for pose in poses if not pose.trust.refused]

    def _check(self, picture: Halves, poses: Sequence[_Pose]) -> list[float]:
        """How much speaks for each of them, from two more looks."""
        mirrored = [
            pose.next.crop(picture, LANDMARK_SIZE, cv2.BORDER_REPLICATE)[:, ::-1] for pose in poses
        ]
        (presence,) = self._run(_LOOK, ("presence",), _as_input(mirrored, 1 / 255))
        around = [_view_of(pose, picture) for pose in poses]
        (scores,) = self._run(_SEARCH, ("scores",), _as_search_input(picture, around))
        best = _logistic(scores.reshape(len(poses), -1).max(axis=1).astype(np.float64))
        return [
            evidence(pose.presence, float(there), float(found))
            for pose, there, found in zip(poses, presence.reshape(-1), best, strict=True)
        ]

    def _first_trust(self, region: Region, stamp_ns: int) -> Trust:
        """Of someone new: less where somebody was found to be nobody a moment ago."""
        self._nobody = [(until_ns, r) for until_ns, r in self._nobody if stamp_ns < until_ns]
        again = any(
            _covers(region, refused) and _of_one_size(region, refused)
            for _, refused in self._nobody
        )
        return Trust(_AGAIN if again else 0.0)

    def _add_new(
        self, picture: Halves, stamp_ns: int, views: list[Region], poses: list[_Pose]
    ) -> None:
        """Search views for people who are not among these yet, and add them."""
        for part in _batches(views, self._batch):
            for regions in self._search(picture, part):
                for candidates in _batches(regions, self._batch):
                    if len(poses) == self._max_people:
                        return
                    new = [r for r in candidates if not any(_same(r, pose.next) for pose in poses)]
                    for region, pose in zip(new, self._look(picture, new), strict=True):
                        if (
                            pose is not None
                            and len(poses) < self._max_people
                            and _of_one_size(pose.next, region)
                            and all(_apart(pose.person, p.person) for p in poses)
                        ):
                            pose.trust = self._first_trust(pose.next, stamp_ns)
                            poses.append(pose)
                            self._lost = [
                                (until_ns, lost)
                                for until_ns, lost in self._lost
                                if not _covers(pose.next, lost)
                            ]

    def _search(self, picture: Halves, views: Sequence[Region]) -> list[list[Region]]:
        """The squares of people in each view, the surest first."""
        given = _as_search_input(picture, views)
        boxes, scores = self._run(_SEARCH, ("boxes", "scores"), given)
        found = []
        for view, of_boxes, of_scores in zip(views, boxes, scores, strict=True):
            merged, _ = suppress(*decode(of_boxes, of_scores[:, 0], self._anchors))
            points = view.to_picture(merged.reshape(-1, 6, 2)[:, 2:4])
            regions = [region_of(hips, rim) for hips, rim in points]
            # A person larger than a part of the picture is left to a larger view, of which the
            # whole picture has none. What is tiny in a view is a false positive.
            largest = _LARGEST_IN_VIEW
            if view.side >= max(picture.shape[:2]):
                largest = _MAX_SIDE
            found.append(
                [
                    region
                    for region in regions
                    if _sane(region, picture) and _SMALLEST < region.side / view.side < largest
                ]
            )
        return found

    def _look(self, picture: Halves, regions: Sequence[Region]) -> list[_Pose | None]:
        """The person in each square; None where there is none."""
        poses = []
        for part in _batches(regions, self._batch):
            small = [r.crop(picture, LANDMARK_SIZE, cv2.BORDER_REPLICATE) for r in part]
            outputs = self._run(
                _LOOK, ("landmarks", "presence", "heatmap", "world"), _as_input(small, 1 / 255)
            )
            for region, landmarks, presence, heatmap, world in zip(part, *outputs, strict=True):
                # Written so that what is no number counts as no person.
                sure = presence.item()
                poses.append(
                    self._read(picture, region, sure, landmarks, heatmap, world)
                    if sure >= _MIN_PRESENCE
                    else None
                )
        return poses

    def _read(
        self,
        picture: Halves,
        region: Region,
        presence: float,
        landmarks: np.ndarray,
        heatmap: np.ndarray,
        world: np.ndarray,
    ) -> _Pose | None:
        """A person from what the landmarks' network gives; None where that makes no sense."""
        landmarks = landmarks.reshape(_LANDMARKS, 5)
        points = refine(landmarks[:, :2] / LANDMARK_SIZE, heatmap)
        points = region.to_picture(points.astype(np.float64))
        world = world.reshape(_LANDMARKS, 3)[: len(self.layout)].astype(np.float64)
        world[:, :2] = world[:, :2] @ _rotation(region.angle).T
        visibility = _logistic(landmarks[: len(self.layout), 3].astype(np.float64))
        # The half is from a pixel's corner to its middle.
        keypoints = np.column_stack([points[: len(self.layout)] - 0.5, visibility])
        if not (np.isfinite(keypoints).all() and np.isfinite(world).all()):
            return None
        following = region_of(points[_HIPS], points[_RIM])
        if not _sane(following, picture):
            return None
        height, width = picture.shape[:2]
        score = person_score(keypoints, self._body, (width, height))
        person = Detection(keypoints, score, world)
        return _Pose(person, presence, following)


def search_order(width: int, height: int) -> Iterator[Region]:
    """The squares of a picture to be searched, one after another, without end.

    First the whole and all of its parts; then in `_TURNS`.

    Args:
        width, height: px.
    """
    sides = [float(max(width, height))]
    while len(sides) < _LEVELS and sides[-1] / _ZOOM >= _MIN_VIEW:
        sides.append(sides[-1] / _ZOOM)
    levels = [itertools.chain.from_iterable(_rounds(width, height, side)) for side in sides]
    yield from next(_rounds(width, height, sides[0]))
    if len(sides) > 1:
        yield from next(_rounds(width, height, sides[1]))
    for level in itertools.cycle(_TURNS):
        if level < len(levels):
            yield next(levels[level])


def _rounds(width: int, height: int, side: float) -> Iterator[list[Region]]:
    """The squares of one size that cover a picture, row by row, half of each in the next one.

    Each round has the same grid, moved a little: whom its squares cut in one round they show in
    another, and who is not found in one place may be in the next.
    """
    for turn in itertools.count():
        places = []
        for length, step in zip((width, height), _SHIFTS, strict=True):
            shift = (0.5 + turn * step) % 1
            room = max(length - side, 0.0)
            count = 1 + max(math.ceil(2 * room / side - 0.1), 0)
            # Or those at the edges would be shown in some rounds only.
            room += _OVERHANG * side
            first = (length - room) / 2
            places.append([first + room * (i + shift) / count for i in range(count)])
        # The whole picture has no other place.
        if side == max(width, height):
            places = [[width / 2], [height / 2]]
        yield [Region(x, y, side, 0.0) for y in places[1] for x in places[0]]


def anchors() -> np.ndarray:
    """(2254, 2) the anchors' middles in the detector's input, 0..1.

    Layers of the same stride share their cells: of each cell all anchors come one after another.
    """
    layers = []
    for stride in sorted(set(_STRIDES)):
        cells = DETECTOR_SIZE // stride
        y, x = np.mgrid[:cells, :cells]
        middles = (np.stack([x, y], axis=-1).reshape(-1, 2) + 0.5) / cells
        layers.append(np.repeat(middles, _ANCHORS_PER_CELL * _STRIDES.count(stride), axis=0))
    return np.concatenate(layers)


def decode(
    boxes: np.ndarray, scores: np.ndarray, middles: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The candidates that the detector is sure enough of.

    Args:
        boxes: (N, 12) px of its input, relative to the anchors: middle, size, four points.
        scores: (N,) before the logistic function.
        middles: (N, 2) of the anchors, 0..1.

    Returns:
        (n, 12) left upper corner, right lower corner, four points, 0..1, and their scores (n,).
    """
    # Without the logistic function of all 2254; what is no number is not sure.
    sure = np.flatnonzero(scores >= -math.log(1 / _MIN_CANDIDATE - 1))
    found = boxes[sure].astype(np.float64).reshape(-1, 6, 2) / DETECTOR_SIZE
    half = found[:, 1] / 2
    found += middles[sure][:, None]
    middle = found[:, 0].copy()
    found[:, 0], found[:, 1] = middle - half, middle + half
    return found.reshape(-1, 12), _logistic(scores[sure].astype(np.float64))


def suppress(candidates: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted non-maximum suppression (BlazeFace, section 4).

    The surest candidate and all whose boxes overlap its own become one, the mean of them by their
    scores; then the surest of the rest, and so on.

    Args:
        candidates: (n, 4 or more), the boxes' left upper and right lower corners first.
        scores: (n,), over 0.

    Returns:
        The people (m, as many), and the best score of each (m,), the surest first.
    """
    order = np.argsort(-scores, kind="stable")
    candidates, scores = candidates[order], scores[order]
    merged, best = [], []
    while len(scores):
        together = _iou(candidates[0, :4], candidates[:, :4]) > _SUPPRESS_IOU
        together[0] = True
        merged.append(np.average(candidates[together], axis=0, weights=scores[together]))
        best.append(scores[0])
        candidates, scores = candidates[~together], scores[~together]
    return np.array(merged).reshape(-1, candidates.shape[1]), np.array(best)


def region_of(hips: np.ndarray, rim: np.ndarray) -> Region:
    """The square around a person.

    Args:
        hips: (2,) px, the middle of the hips.
        rim: (2,) px, a point on the circle around the body, in the direction of the head.
    """
    x, y = (rim - hips).tolist()
    return Region(
        float(hips[0]),
        float(hips[1]),
        2 * _SQUARE_SCALE * math.hypot(x, y),
        math.atan2(x, -y),
    )


def refine(points: np.ndarray, heatmap: np.ndarray) -> np.ndarray:
    """Move landmarks to the heat map's centre of mass around them, where it is warm enough.

    Args:
        points: (K, 2) in the square, 0..1; those outside stay where they are.
        heatmap: (K, S, S) before the logistic function.

    Returns:
        (K, 2) in the square, 0..1.
    """
    count, size = heatmap.shape[:2]
    cell = np.trunc(np.nan_to_num(points * size, nan=-9.0)).clip(-9, size + 9).astype(np.int64)
    inside = ((cell >= 0) & (cell < size)).all(axis=1)
    reach = np.arange(_HEATMAP_KERNEL) - _HEATMAP_KERNEL // 2
    columns, rows = cell[:, :1] + reach, cell[:, 1:] + reach
    there = ((rows >= 0) & (rows < size))[:, :, None] & ((columns >= 0) & (columns < size))[:, None]
    window = heatmap[
        np.arange(count)[:, None, None],
        rows.clip(0, size - 1)[:, :, None],
        columns.clip(0, size - 1)[:, None],
    ]
    heat = np.where(there, _logistic(window), 0.0)
    warm = inside & (heat.max(axis=(1, 2)) >= _MIN_HEAT)
    total = heat.sum(axis=(1, 2))[warm]
    refined = points.astype(np.float64)
    refined[warm, 0] = (heat.sum(axis=1)[warm] * columns[warm]).sum(axis=1) / total / size
    refined[warm, 1] = (heat.sum(axis=2)[warm] * rows[warm]).sum(axis=1) / total / size
    return refined


def _gpu_sessions(paths: tuple[Path, Path], threads: int) -> tuple[tuple[Any, ...], str]:
    """Both networks on a GPU, and on which of its providers. Raises GpuUnavailable."""
    sessions, where = [], ""
    for path, size in zip(paths, (DETECTOR_SIZE, LANDMARK_SIZE), strict=True):
        least, usual, most = ((n, 3, size, size) for n in (1, 2, _GPU_BATCH))
        session, where = make_gpu_session(path, threads, {"image": (least, usual, most)})
        try:
            # CUDA tries what is fastest for each size that is new to it, which takes a while.
            for count in range(1, _GPU_BATCH + 1):
                session.run(None, {"image": np.zeros((count, *least[1:]), dtype=np.float32)})
        except Exception as error:  # onnxruntime's errors share no base of their own
            raise GpuUnavailable(first_line(error)) from None
        sessions.append(session)
    return tuple(sessions), where


def _batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _as_input(pictures: Sequence[np.ndarray], scale: float) -> np.ndarray:
    """N of (H, W, 3) uint8 to (N, 3, H, W) float32, times a scale."""
    planes = np.empty((len(pictures), 3, *pictures[0].shape[:2]), dtype=np.float32)
    for plane, picture in zip(planes, pictures, strict=True):
        np.multiply(picture.transpose(2, 0, 1), np.float32(scale), out=plane)
    return planes


def _as_search_input(picture: Halves, views: Sequence[Region]) -> np.ndarray:
    """(N, 3, DETECTOR_SIZE, DETECTOR_SIZE) float32, -1..1, as the first network takes views."""
    small = [view.crop(picture, DETECTOR_SIZE, cv2.BORDER_CONSTANT) for view in views]
    return _as_input(small, 2 / 255) - np.float32(1)


def _sane(region: Region, picture: Halves) -> bool:
    """Whether the square may be a person's: of some size, its middle not far outside."""
    height, width = picture.shape[:2]
    side = max(width, height)
    return (
        _MIN_SIDE <= region.side <= _MAX_SIDE * side
        and abs(region.x - width / 2) <= side
        and abs(region.y - height / 2) <= side
        and math.isfinite(region.angle)
    )


def _view_of(pose: _Pose, picture: Halves) -> Region:
    """What the search is to see of somebody: as much as the picture shows, with room around."""
    height, width = picture.shape[:2]
    points = pose.person.keypoints[:, :2]
    inside = ((points >= 0) & (points < (width, height))).all(axis=1)
    if not inside.any():
        return pose.next
    low, high = points[inside].min(axis=0), points[inside].max(axis=0)
    x, y = ((low + high) / 2).tolist()
    return Region(x, y, max(_AROUND * float((high - low).max()), _MIN_SIDE), 0.0)


def _of_one_size(region: Region, other: Region) -> bool:
    """Whether two squares may be around the same person."""
    return 1 / _SIZE_CHANGE < region.side / other.side < _SIZE_CHANGE


def _covers(region: Region, other: Region) -> bool:
    """Whether who is in one square may be who was in the other."""
    return max(abs(region.x - other.x), abs(region.y - other.y)) < 0.5 * other.side


def _same(new: Region, known: Region) -> bool:
    """Whether a square that the search has found is around someone known, or some limbs of theirs:
    the search takes these for a person who lies across."""
    distance = math.hypot(new.x - known.x, new.y - known.y) / max(new.side, known.side)
    turned = abs(math.remainder(new.angle - known.angle, 2 * math.pi))
    return distance < (_ACROSS if turned > _ACROSS_ANGLE else MAX_DUPLICATE_DISTANCE)


def _apart(one: Detection, other: Detection) -> bool:
    """Whether two poses are two people's, and none a second reading of the other's limbs."""
    boxes = []
    for detection in (one, other):
        x, y, width, height = detection.box()
        boxes.append(np.array([x, y, x + width, y + height]))
    return bool(_iou(boxes[0], boxes[1][None])[0] < _APART_IOU)


def _iou(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(n,) the intersection over the union of a box (4,) and others (n, 4), two corners each."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    common = (high - low).clip(0.0).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).clip(0.0).prod(axis=1)
    union = (box[2:] - box[:2]).clip(0.0).prod() + areas - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def _rotation(angle: float) -> np.ndarray:
    """(2, 2), clockwise as seen in a picture, whose y axis points down."""
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.array([[cosine, -sine], [sine, cosine]])


def _logistic(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-np.clip(x, -100.0, 100.0)))
