"""From keypoints over time to metric skeletons: everything between the messages."""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..detect.protocol import body_joints
from ..geometry.camera import Camera, CameraError, CanonicalWindow, canonical_window
from ..intrinsics import same_rays
from ..people import PeopleTracker
from ..reasons import Reason
from ..skeletons import Layout, check_conversion, convert_keypoints, get_layout
from ..stamps import StampFilter, StampVerdict
from ..types import UNTRACKED, Frame2D, Frame3D, Pose2D, Pose3D, TrackState
from .bones import BoneMemory
from .engine import Engine
from .ground import GroundPlane
from .sides import SideKeeper
from .smoothing import OneEuroFilter, WindowFilter
from .stages import STAGES, PoseBatch, StageContext, Track
from .window import NANOSECONDS, KeypointHistory

#: A depth image this far from the described one, ns, shows the same moment: at 30 Hz the nearest of
#: an unsynchronised camera's is no further.
DEPTH_WITHIN_NS = 34_000_000

#: Depth images that wait to be used: a second's.
DEPTHS = 32

#: What being followed already is worth where there are too many people: without it two of about the
#: same size would take turns, and neither would have a window.
KEPT = 1.5

#: Nobody's keypoints move by more than a share of their extent at once and so many extents a second
#: (10 m/s, of a man of 1.7 m); beyond it the id has gone to somebody else.
JUMP, JUMP_PER_S = 0.5, 6.0

#: Maximum number of stamps that are remembered: at 1000 Hz four seconds, more than any lag.
MAX_STAMPS = 4096

#: Whoever has been seen for less than this outlives the last keypoints by this.
BRIEF_NS = 200_000_000


#: Largest id after which the pipeline's own ids count up: ids are 32-bit numbers in the messages.
MAX_FIRST_ID = 2**31

#: Maximum distance of a keypoint from the image's corner, in times the image's longer side.
MAX_REACH = 10


@dataclass(frozen=True)
class PipelineConfig:
    """What decides which poses come out.

    Attributes:
        lag: how many frames of the model behind the newest keypoints the published pose is, at
            first: `LiftPipeline.lag` changes it.
        max_people: so many are lifted, the others are counted: who is sure to be there and near,
            as score times size in the picture, comes first, and who is followed already goes
            before others by `KEPT`.
        min_frames: observations until a track counts as TRACKED.
        coast_s: how long a track outlives its last keypoints, if it was seen for as long before;
            as long as the tracker remembers one, or an id would end and live again.
        max_gap_s: keypoints further apart are not interpolated between.
        min_score: a keypoint under it does not show its joint, and does not weigh on the root.
        joint_timeout_s: a joint not shown for this long is unknown.
        bone_length_memory_s: averaging time of a person's bone lengths, see `bones.BoneMemory`; 0:
            each pose has the bones that the model gives it.
        swap_correction: correct the detector's left/right swaps, see `sides.SideKeeper`.
        person_height_m: everyone's standing height, NaN where it is not known; see `height`. One
            person's own is told to `LiftPipeline.set_height`.
        ground: the floor as the camera sees it, where that is known; see `ground`.
        jitter_filter_s: time constant of `smoothing.WindowFilter` on the joints about the root; 0:
            no filter.
        smoothing_cutoff_hz, smoothing_beta: of `smoothing.OneEuroFilter`, on the root and on the
            joints about it; a cutoff of 0 leaves everything as it is.
        silence_s: images of another frame are refused until those of the one that was there first
            have stayed away for so long: two cameras on one topic would make a window of both.
    """

    lag: int = 0
    max_people: int = 8
    min_frames: int = 5
    coast_s: float = 1.0
    max_gap_s: float = 0.4
    min_score: float = 0.2
    joint_timeout_s: float = 0.5
    bone_length_memory_s: float = 10.0
    swap_correction: bool = True
    person_height_m: float = math.nan
    ground: GroundPlane | None = None
    jitter_filter_s: float = 0.05
    smoothing_cutoff_hz: float = 0.0
    smoothing_beta: float = 8.0
    silence_s: float = 1.0


@dataclass
class Windows:
    """What one camera's people look like to the model: P windows of T frames.

    Attributes:
        stamp_ns: of the image to be described.
        lag_ns: how much older it is than the newest.
        frame: of the window, that describes it.
        tracks: whose they are, by id.
        rays: (P, T, 17, 2), scores: (P, T, 17).
        canonical: the same as the model takes them.
    """

    stamp_ns: int
    lag_ns: int
    frame: int
    tracks: dict[int, Track]
    rays: np.ndarray
    scores: np.ndarray
    canonical: CanonicalWindow


@dataclass
class LiftPipeline:
    """The stateful core of the lifter: one camera, any number of people.

    An image's keypoints are taken in by `observe`; `lift` describes the newest state, which is
    all that is lost when images come faster than it is called. Several cameras' people go through
    the model in one pass by `lift_together`.

    Attributes:
        engine: runs the model.
        config: see there.
        counts: of everything that was refused, dropped or restarted, by reason. Only grows.
        stamps: the rule on the images' stamps.
        lag: frames of the model behind the newest; may be changed at any time.
        watch: takes the stamp, ns, and the people with their ids of each image that is used.

    From the first person without an id on, the pipeline tracks everyone in its images, and the
    ids that some of them bring are replaced: two sets of numbers would collide.
    """

    engine: Engine
    config: PipelineConfig = field(default_factory=PipelineConfig)
    counts: Counter[Reason] = field(default_factory=Counter)
    watch: Callable[[int, list[Pose2D]], None] | None = None

    def __post_init__(self) -> None:
        size = self.engine.config
        self.lag = self.config.lag
        self._target = get_layout(size.layout)
        self._step_ns = NANOSECONDS / size.rate_hz
        # A described image may be older than the lag, by what a slow camera takes for one.
        self._span_s = (size.frames + 1) / size.rate_hz + 0.3
        self._tracks: dict[int, Track] = {}
        self._stamps: deque[int] = deque(maxlen=MAX_STAMPS)
        # No number could stand for none: stamps may be negative.
        self._described_ns: int | None = None
        self.stamps = StampFilter()
        # Tracks people whose publisher does not; None while all bring an id.
        self._people: PeopleTracker | None = None
        self._largest_id = 0
        # Of the images that are taken in, and of the last one, whether taken in or not.
        self._frame_id = self._last_frame_id = ""
        self._camera: Camera | None = None
        self._camera_known = False
        self.camera_error = ""
        # Tracks that ended since the last result, which the next one tells of.
        self._ended: list[Pose3D] = []
        self._heights: dict[int, float] = {}
        self._depths: deque[tuple[int, np.ndarray]] = deque(maxlen=DEPTHS)
        # What no track can be made with is refused now, not when the first person comes.
        self._new_track()
        if self.config.person_height_m <= 0:
            raise ValueError(f"a person's height of {self.config.person_height_m} m")

    @property
    def lag(self) -> int:
        return self._lag

    @lag.setter
    def lag(self, lag: int) -> None:
        frames = self.engine.config.frames
        if not 0 <= lag < frames:
            raise ValueError(f"lag must be in 0..{frames - 1}, is {lag}")
        self._lag = lag

    @property
    def active(self) -> tuple[int, ...]:
        """The ids of the tracks that have not ended."""
        return tuple(self._tracks)

    @property
    def newest_ns(self) -> int:
        """The stamp of the newest image that was taken in, ns; 0 before the first."""
        return self._stamps[-1] if self._stamps else 0

    @property
    def period_ms(self) -> float:
        """The median time from image to image, of the last ones; NaN where there are none."""
        stamps = list(self._stamps)[-17:]
        return float(np.median(np.diff(stamps))) / 1e6 if len(stamps) > 1 else float("nan")

    def set_camera(self, camera: Camera | None) -> None:
        """Intrinsics of the images to come; None when they are not known.

        A change restarts all windows, whose rays came from the old ones; `intrinsics.same_rays`
        says what is no change.
        """
        if not same_rays(camera, self._camera if self._camera_known else None):
            if self._tracks:
                self._restart(Reason.CAMERA_CHANGED)
            self._camera, self._camera_known = camera, camera is not None
        elif camera is not None:
            self._camera = camera

    def set_height(self, track_id: int, height_m: float) -> None:
        """How tall one person is, standing, m, as a face recogniser may know; NaN to forget it."""
        if height_m <= 0:
            raise ValueError(f"a person's height of {height_m} m")
        self._heights[track_id] = height_m

    def add_depth(self, stamp_ns: int, image: np.ndarray) -> None:
        """A depth image registered to the camera's pictures, of any resolution; poses of the same
        moment take their distance from it.

        Args:
            stamp_ns: of the image, ns.
            image: (H, W), see `depth.trunk_depth`.
        """
        self._depths.append((stamp_ns, image))

    def end_all(self) -> list[Pose3D]:
        """End every track, as when the images have stopped; those that ended since the last result
        are among them."""
        self._end(self._tracks)
        return self._take_ended()

    def _end(self, track_ids: Iterable[int]) -> None:
        for track_id in list(track_ids):
            del self._tracks[track_id]
            self._heights.pop(track_id, None)
            self._ended.append(Pose3D.unknown(track_id, TrackState.ENDED))

    def _take_ended(self) -> list[Pose3D]:
        ended, self._ended = self._ended, []
        return ended

    def _restart(self, reason: Reason) -> None:
        self.counts[reason] += 1
        self._end(self._tracks)
        self._stamps.clear()
        self._depths.clear()
        self._described_ns = None

    def update(self, frame: Frame2D) -> Frame3D | None:
        """Take in one image's keypoints and lift everyone; None when they were refused, or when no
        image is `lag` old that has not been described yet."""
        begin = time.perf_counter()
        if not self.observe(frame):
            return None
        result = self.lift()
        if result is not None:
            result.lift_ms = 1000 * (time.perf_counter() - begin)
        return result

    def observe(self, frame: Frame2D) -> bool:
        """Take in one image's keypoints.

        Returns:
            whether they were of use; `counts` tells why not.
        """
        try:
            layout = get_layout(frame.layout)
            check_conversion(layout, self._target)
        except ValueError:
            self.counts[Reason.UNKNOWN_LAYOUT] += 1
            return False
        if not self._is_of_this_camera(frame):
            return False
        verdict = frame.stamp_verdict or self.stamps.take(frame.stamp_ns)
        if verdict.reason is not None:
            self.counts[verdict.reason] += 1
            return False
        if self._stamps and frame.stamp_ns <= self.newest_ns:
            self._restart(Reason.STAMP_JUMPED_BACK)
        elif verdict is StampVerdict.JUMPED_AHEAD:
            # Images would have come in between, had there been any, and would have ended them.
            self._end_coasted(frame.stamp_ns - round(self.lag * self._step_ns))
        camera = self._camera_for(frame.image_size)
        if camera is None:
            return False
        self._frame_id = frame.frame_id
        people = self._with_ids(frame, layout)
        if self.watch is not None:
            self.watch(frame.stamp_ns, people)
        self._observe(frame.stamp_ns, layout, camera, people)
        self._stamps.append(frame.stamp_ns)
        return True

    def _with_ids(self, frame: Frame2D, layout: Layout) -> list[Pose2D]:
        """The people of an image, tracked here where their publisher does not track."""
        if self._people is None and all(p.track_id != UNTRACKED for p in frame.people):
            self._largest_id = max([self._largest_id, *(p.track_id for p in frame.people)])
            return frame.people
        if self._people is None or self._people.layout.name != layout.name:
            before = self._largest_id if self._largest_id < MAX_FIRST_ID else 0
            self._people = PeopleTracker(layout, counts=self.counts, first_id=before + 1)
        self._people.stamps = self.stamps
        shaped = [p for p in frame.people if np.shape(p.keypoints) == (len(layout), 3)]
        detections = [_detection(p, layout, MAX_REACH * max(frame.image_size)) for p in shaped]
        replaced = sum(person.track_id != UNTRACKED for person in shaped)
        if replaced:
            self.counts[Reason.TRACK_ID_REPLACED] += replaced
        number_of = {
            id(tracked.keypoints): tracked.track_id
            for tracked in self._people.update_keypoints(
                detections, frame.image_size, frame.stamp_ns
            )
        }
        people = [
            replace(person, track_id=number_of[id(detection.keypoints)])
            for person, detection in zip(shaped, detections, strict=True)
            if id(detection.keypoints) in number_of
        ]
        self._largest_id = max([self._largest_id, *number_of.values()])
        # Those of another shape are counted with everyone's.
        return people + [p for p in frame.people if np.shape(p.keypoints) != (len(layout), 3)]

    def _is_of_this_camera(self, frame: Frame2D) -> bool:
        """Whether an image has the frame id of those before it, or the first of another camera's.

        One image of another frame proves nothing: its clock may be another one.
        """
        repeated = frame.frame_id == self._last_frame_id
        self._last_frame_id = frame.frame_id
        if not self._stamps or frame.frame_id == self._frame_id:
            return True
        away_ns = abs(frame.stamp_ns - self.newest_ns)
        if away_ns <= self.config.silence_s * NANOSECONDS or not repeated:
            self.counts[Reason.FRAME_ID_MISMATCH] += 1
            return False
        self._restart(Reason.FRAME_ID_CHANGED)
        self.stamps = StampFilter()
        return True

    def lift(self) -> Frame3D | None:
        """The poses of everyone in the newest image, or as many frames behind it as `lag` says;
        None where that one has been described already."""
        return lift_together([self])[0]

    def windows(self) -> Windows | None:
        """The windows to be lifted; None where no new image is to be described."""
        if not self._stamps:
            return None
        stamp_ns = self._due_stamp(self.newest_ns)
        if self._described_ns is not None and stamp_ns <= self._described_ns:
            return None
        return self._windows(stamp_ns, self.lag)

    def update_every(self, frame: Frame2D) -> Iterator[Frame3D]:
        """Take in one image's keypoints of a recording; the poses of every image that is due now.

        `lift_every(finish=True)` gives the rest at the end.
        """
        verdict = frame.stamp_verdict or self.stamps.take(frame.stamp_ns)
        step_ns = frame.stamp_ns - self.newest_ns
        # What follows a gap, or a step back, tells nothing of the images before it.
        if verdict.accepted and not 0 < step_ns <= self.config.max_gap_s * NANOSECONDS:
            yield from self.lift_every(finish=True)
        if self.observe(replace(frame, stamp_verdict=verdict)):
            yield from self.lift_every()

    def lift_every(self, finish: bool = False) -> Iterator[Frame3D]:
        """The poses of every image that is due and was not described, the oldest first.

        This is for recordings. Live, `lift` passes over images that a newer one has overtaken, and
        describes the first image before it is `lag` frames old.

        Args:
            finish: no image follows soon. Images that are not `lag` frames old are described too,
                each with the lag that is there.
        """
        newest_ns, described_ns = self.newest_ns, self._described_ns
        for stamp_ns in tuple(self._stamps):
            if described_ns is not None and stamp_ns <= described_ns:
                continue
            lag = self.lag
            if stamp_ns > self._latest_due(newest_ns):
                if not finish:
                    return
                lag = round((newest_ns - stamp_ns) / self._step_ns)
            (result,) = _lift_windows([self], [self._windows(stamp_ns, lag)])
            assert result is not None
            yield result

    def _windows(self, stamp_ns: int, lag: int) -> Windows:
        """The windows in which an image stands `lag` frames before the end."""
        newest_ns = self.newest_ns
        self._end_coasted(stamp_ns)
        # A track younger than the described image has nothing to say about it yet.
        tracks = {i: t for i, t in self._tracks.items() if t.history.first_ns <= stamp_ns}
        frames = self.engine.config.frames
        frame = frames - 1 - lag
        steps = np.round((np.arange(frames) - frame) * self._step_ns).astype(np.int64)
        times = np.minimum(stamp_ns + steps, newest_ns)
        rays = np.zeros((len(tracks), frames, len(self._target), 2))
        scores = np.zeros(rays.shape[:-1])
        for row, track in enumerate(tracks.values()):
            rays[row], scores[row] = track.history.resample(times)
        canonical = canonical_window(rays, scores)
        return Windows(stamp_ns, newest_ns - stamp_ns, frame, tracks, rays, scores, canonical)

    def _end_coasted(self, stamp_ns: int) -> None:
        """End the tracks that have no keypoints for longer than they coast, at a stamp."""
        self._end(
            track_id
            for track_id, track in self._tracks.items()
            if stamp_ns - track.history.newest_ns > self._coast_ns(track)
        )

    def _coast_ns(self, track: Track) -> float:
        """How long a track outlives its last keypoints: no longer than it has been seen, as what
        a detector makes up lasts a few images."""
        return min(self.config.coast_s * NANOSECONDS, max(track.history.seen_ns, BRIEF_NS))

    def _camera_for(self, image_size: tuple[int, int]) -> Camera | None:
        width, height = image_size
        if width <= 0 or height <= 0:
            self.counts[Reason.IMAGE_SIZE_NOT_POSITIVE] += 1
            return None
        if not self._camera_known:
            if self._camera is None or self._camera.size != (width, height):
                if self._tracks:
                    self._restart(Reason.CAMERA_CHANGED)
                # The window needs some camera to be made canonical with. The pose hardly depends
                # on it, the distance entirely, which is why the root is then not given.
                self._camera = Camera.guessed(width, height)
            return self._camera
        assert self._camera is not None
        try:
            return self._camera.scaled_to(width, height)
        except CameraError as error:
            self.camera_error = str(error)
            self.counts[Reason.CAMERA_INFO_SIZE_MISMATCH] += 1
            return None

    def _observe(
        self, stamp_ns: int, layout: Layout, camera: Camera, people: Sequence[Pose2D]
    ) -> None:
        """Check the people and append their rays to their tracks."""
        reach = MAX_REACH * max(camera.size)
        for person in self._chosen(layout, people):
            keypoints = np.array(person.keypoints, dtype=np.float64)
            scores = keypoints[:, 2]
            # A NaN with score 0 is how a missing keypoint is written; that is no fault.
            sane = _is_sane(keypoints, reach)
            faulty = ~sane & ~(scores == 0)
            if faulty.any():
                self.counts[Reason.BAD_KEYPOINT] += int(faulty.sum())
            keypoints[~sane] = (np.nan, np.nan, 0.0)
            over = scores > 1
            if over.any():
                # Some models' scores are no probabilities: a peak of a heatmap may be 1.06.
                self.counts[Reason.SCORE_OVER_1] += int(over.sum())
                scores[over] = 1.0
            keypoints = convert_keypoints(keypoints, layout, self._target)
            rays = camera.rays(keypoints[:, :2])
            known = np.isfinite(rays).all(axis=-1) & (keypoints[:, 2] > 0)
            if known.sum() < 6:
                self.counts[Reason.TOO_FEW_KEYPOINTS] += 1
                continue
            rays = np.where(known[:, None], rays, 0.0)
            scores = np.where(known, keypoints[:, 2], 0.0)
            track = self._tracks.get(person.track_id)
            if track is not None and _is_jump(track.history, stamp_ns, rays, scores):
                self.counts[Reason.TRACK_JUMPED] += 1
                track = None
            if track is None:
                track = self._tracks[person.track_id] = self._new_track()
            track.score = float(np.clip(person.score, 0, 1)) if np.isfinite(person.score) else 0.0
            if track.sides is not None:
                kept = track.sides.keep(stamp_ns, rays, scores)
                rays, scores = kept.rays, kept.scores
                if kept.swapped:
                    self.counts[Reason.SWAP_CORRECTED] += kept.swapped
                for revised_ns, order in kept.revised:
                    track.history.reorder(revised_ns, order)
            track.history.add(stamp_ns, rays, scores)

    def _new_track(self) -> Track:
        memory_s = self.config.bone_length_memory_s
        return Track(
            KeypointHistory(self._span_s, self.config.max_gap_s),
            BoneMemory(memory_s) if memory_s else None,
            SideKeeper(self._span_s) if self.config.swap_correction else None,
            WindowFilter(self.config.jitter_filter_s) if self.config.jitter_filter_s else None,
            OneEuroFilter(self.config.smoothing_cutoff_hz, self.config.smoothing_beta)
            if self.config.smoothing_cutoff_hz
            else None,
        )

    def _chosen(self, layout: Layout, people: Sequence[Pose2D]) -> list[Pose2D]:
        """Those who are lifted; the others are counted."""
        shaped = [p for p in people if np.shape(p.keypoints) == (len(layout), 3)]
        refused = Counter({Reason.WRONG_KEYPOINT_COUNT: len(people) - len(shaped)})
        chosen: dict[int, Pose2D] = {}
        for person in sorted(shaped, key=self._importance, reverse=True):
            if person.track_id in chosen:
                refused[Reason.REPEATED_TRACK_ID] += 1
            elif len(chosen) >= self.config.max_people:
                refused[Reason.OVER_MAX_PEOPLE] += 1
            else:
                chosen[person.track_id] = person
        self.counts.update({reason: n for reason, n in refused.items() if n})
        return list(chosen.values())

    def _importance(self, person: Pose2D) -> float:
        keypoints = np.asarray(person.keypoints, dtype=float)
        seen = np.isfinite(keypoints).all(axis=-1) & (keypoints[:, 2] > 0)
        if not np.isfinite(person.score) or not seen.any():
            return 0.0
        size = float(np.hypot(*np.ptp(keypoints[seen, :2], axis=0)))
        return min(person.score, 1.0) * size * (KEPT if person.track_id in self._tracks else 1.0)

    def _due_stamp(self, newest_ns: int) -> int:
        """The newest image at least `lag` model frames old: poses are given at stamps of images."""
        if self.lag == 0:
            return newest_ns
        latest = self._latest_due(newest_ns)
        for stamp in reversed(self._stamps):
            if stamp <= latest:
                return stamp
        return self._stamps[0]

    def _latest_due(self, newest_ns: int) -> int:
        """The latest stamp that an image which is `lag` frames old may have."""
        # Half a frame of tolerance, or a jittering stamp would double the lag now and then.
        return newest_ns - round((self.lag - 0.5) * self._step_ns)

    def poses(self, windows: Windows, positions: np.ndarray, stddev: np.ndarray) -> Frame3D:
        """What the model says of the windows, put into the camera's frame.

        Args:
            windows: the last that `windows` gave.
            positions, stddev: (P, T, 17, 3) m and (P, T, 17) m, see `Engine.lift`.
        """
        self._described_ns = windows.stamp_ns
        people = self._poses(windows, positions, stddev) if windows.tracks else []
        people += self._take_ended()
        return Frame3D(windows.stamp_ns, windows.lag_ns, people, float("nan"))

    def _poses(self, windows: Windows, positions: np.ndarray, stddev: np.ndarray) -> list[Pose3D]:
        context = StageContext(
            self.config,
            self.engine.config.rate_hz,
            self._camera,
            self._camera_known,
            self._heights,
            self._depth_at(windows.stamp_ns),
            bool(self._depths),
            self.counts,
        )
        batch = PoseBatch.of(windows, positions, stddev, self.config)
        for stage in STAGES:
            batch = stage(batch, context)
        return [self._person(batch, row, i) for row, i in enumerate(windows.tracks)]

    def _person(self, batch: PoseBatch, row: int, track_id: int) -> Pose3D:
        """One person of the batch as it is given out; joints that were not seen are NaN."""
        track, described_ns = batch.windows.tracks[track_id], batch.windows.stamp_ns
        state = (
            TrackState.TRACKED
            if track.history.observed >= self.config.min_frames
            else TrackState.WARMING_UP
        )
        if track.history.newest_ns < described_ns:
            state = TrackState.COASTING
        if not batch.usable[row]:
            # The person has been out of sight for so long that the window has nothing left in it.
            self.counts[Reason.NO_POSE] += 1
            return Pose3D.unknown(track_id, state)
        fresh = batch.seen[row].copy()
        # The pelvis is the frame that all others are given in: it is known while any is.
        fresh[0] |= fresh.any()
        placed, unknown = bool(batch.placed[row]), np.full(3, np.nan)
        pose = np.where(fresh[:, None], batch.joints[row], np.nan)
        root = batch.root[row] if placed else unknown
        if track.smoothing is not None:
            moved = track.smoothing.filter(described_ns, np.vstack([root, pose]))
            root, pose = moved[0], moved[1:]
        return Pose3D(
            track_id,
            state,
            track.score,
            pose + root if placed else pose,
            np.where(fresh, batch.windows.scores[row, batch.windows.frame], 0.0),
            np.where(fresh, batch.spread_m[row], np.nan),
            root,
            placed,
            batch.covariance[row] if placed else np.full((3, 3), np.nan),
            batch.velocity[row] if placed else unknown,
        )

    def _depth_at(self, stamp_ns: int) -> np.ndarray | None:
        near = [(abs(s - stamp_ns), image) for s, image in self._depths]
        apart, image = min(near, key=lambda pair: pair[0], default=(DEPTH_WITHIN_NS + 1, None))
        return image if apart <= DEPTH_WITHIN_NS else None


def body_score(keypoints: np.ndarray, layout: Layout) -> float:
    """The mean score, 0..1, of the body joints of keypoints (K, 3): of a person without a score."""
    return float(np.nan_to_num(keypoints[body_joints(layout), 2]).clip(0.0, 1.0).mean())


def _is_sane(keypoints: np.ndarray, reach: float) -> np.ndarray:
    """(K,) which of the keypoints (K, 3) have finite numbers, a score and a place within reach."""
    finite = np.isfinite(keypoints)
    sane = finite.all(axis=-1) & (keypoints[:, 2] >= 0)
    return np.asarray(sane & (np.abs(np.where(finite, keypoints, 0.0)) < reach).all(axis=-1))


def _detection(person: Pose2D, layout: Layout, reach: float) -> Pose2D:
    """A person's keypoints as the tracker takes them: without numbers that are no place.

    Args:
        person: keypoints (K, 3). Where its score is 0 or NaN, the body joints' mean stands for it.
        layout: theirs.
        reach: maximum coordinate, px.
    """
    keypoints = np.array(person.keypoints, dtype=np.float64)
    keypoints[~_is_sane(keypoints, reach)] = (np.nan, np.nan, 0.0)
    score = person.score
    if not score > 0:
        score = body_score(keypoints, layout)
    return Pose2D(keypoints, min(score, 1.0))


def _is_jump(history: KeypointHistory, stamp_ns: int, rays: np.ndarray, scores: np.ndarray) -> bool:
    """Whether these keypoints are too far from a track's last ones to be the same person's.

    The median over the joints of how far they went, which takes more than half of them to go
    wrong together, against their extent.
    """
    last_ns, last_rays, last_scores = history.newest
    both = (scores > 0) & (last_scores > 0)
    if both.sum() < 4 or stamp_ns <= last_ns:
        return False
    extent = max(np.hypot(*np.ptp(points[both], axis=0)) for points in (rays, last_rays))
    apart = np.median(np.linalg.norm(rays[both] - last_rays[both], axis=-1))
    elapsed_s = (stamp_ns - last_ns) / NANOSECONDS
    return bool(apart > (JUMP + JUMP_PER_S * elapsed_s) * extent)


def lift_together(pipelines: Sequence[LiftPipeline]) -> list[Frame3D | None]:
    """Lift the people of several cameras in one pass through the model.

    Args:
        pipelines: of one engine.

    Returns:
        one result per camera, None for those with nothing new; `lift_ms` is the whole pass's time
        in each.
    """
    return _lift_windows(pipelines, [pipeline.windows() for pipeline in pipelines])


def _lift_windows(
    pipelines: Sequence[LiftPipeline], due: Sequence[Windows | None]
) -> list[Frame3D | None]:
    """Lift one camera's windows each; None, and the time, as of `lift_together`."""
    begin = time.perf_counter()
    batches = [windows.canonical.keypoints for windows in due if windows is not None]
    if not batches:
        return [None] * len(due)
    keypoints = np.concatenate(batches).astype(np.float32)
    positions, stddev = pipelines[0].engine.lift(keypoints)
    results: list[Frame3D | None] = []
    first = 0
    for pipeline, windows in zip(pipelines, due, strict=True):
        if windows is None:
            results.append(None)
            continue
        rows = slice(first, first + len(windows.tracks))
        first = rows.stop
        results.append(pipeline.poses(windows, positions[rows], stddev[rows]))
    elapsed_ms = 1000 * (time.perf_counter() - begin)
    for result in results:
        if result is not None:
            result.lift_ms = elapsed_ms
    return results
