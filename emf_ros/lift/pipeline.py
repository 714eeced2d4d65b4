"""From keypoints over time to metric skeletons: the core of the lifter, for one camera."""

from __future__ import annotations

import operator
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from ..former_names import former_names
from ..geometry.camera import Camera, CameraError
from ..intrinsics import same_rays
from ..reasons import Reason
from ..skeletons import Layout, check_conversion, get_layout
from ..stamps import NANOSECONDS, StampFilter, StampVerdict
from ..types import Frame2D, Frame3D, Pose2D, Pose3D
from .acceptance import MAX_REACH, are_jumps, rays_of, sane_keypoints, select_people
from .batching import Lifted
from .config import PipelineConfig
from .depth_images import DepthImages
from .engine import Engine
from .faces import FaceMemory
from .forward import Windows, WindowTimes, run_model
from .reference_frames import ReferenceFrames, View
from .stages import STAGES, PoseBatch, StageContext, poses_of
from .swaps import correct_swaps
from .timeline import Timeline
from .track_ids import TrackIds
from .tracks import Track, Tracks

#: Time that keypoints are remembered beyond the window and the lag, s: a slow camera's described
#: image may be older than the lag by about this.
HISTORY_MARGIN_S = 0.3


class LiftPipeline:
    """The stateful core of the lifter: one camera, any number of people.

    `observe` takes in the keypoints of an image. `lift` describes the newest state: images that
    come faster than it is called are observed, but not described. `together.lift_together` lifts
    several cameras in one forward pass.

    Args:
        engine: runs the model.
        config: settings.
        counts: takes the number of everything that is rejected, dropped or restarted, by reason;
            by default a new one.
        first_id: minimum id of people who come without one.

    Attributes:
        engine, config, counts: as given.
        lag: frames of the model that the described image is behind the newest; may be changed at
            any time.
        stamps: the rule on the images' stamps.
        camera_error: why the intrinsics do not fit the images; empty while they do.
        watch: called with each image that is used; its people have their ids.
        frames: the frame of the poses, the floor's and the base's; None where poses are in the
            camera's frame, and the settings tell the floor.
        depths: the depth images.

    Raises:
        ValueError: a setting is out of its range.
    """

    def __init__(
        self,
        engine: Engine,
        config: PipelineConfig | None = None,
        counts: Counter[Reason] | None = None,
        first_id: int = 1,
    ) -> None:
        model = engine.config
        self.engine = engine
        self.config = config or PipelineConfig()
        self.counts: Counter[Reason] = Counter() if counts is None else counts
        self.frames: ReferenceFrames | None = None
        self.depths = DepthImages()
        self.watch: Callable[[Frame2D], None] | None = None
        self.lag = self.config.lag
        self.stamps = StampFilter()
        self.camera_error = ""
        self._layout = get_layout(model.layout)
        self._timeline = Timeline(model.rate_hz)
        span_s = (model.frames + 1) / model.rate_hz + HISTORY_MARGIN_S
        self._tracks = Tracks(self.config, span_s)
        self._track_ids = TrackIds(self.counts, first_id)
        self._faces = FaceMemory()
        # Of the images that are accepted, and of the last one, accepted or not.
        self._frame_id = self._last_frame_id = ""
        self._camera: Camera | None = None
        self._camera_known = False

    # ------------------------------------------------------------------ state and settings

    @property
    def lag(self) -> int:
        return self._lag

    @lag.setter
    def lag(self, lag: int) -> None:
        self._lag = self._checked_lag(lag)

    def _checked_lag(self, lag: int) -> int:
        frames = self.engine.config.frames
        try:
            whole = operator.index(lag)
        except TypeError:
            whole = -1
        if not 0 <= whole < frames:
            raise ValueError(f"lag must be a whole number in 0..{frames - 1}, is {lag}")
        return whole

    @property
    def active(self) -> tuple[int, ...]:
        """The ids of the tracks that have not ended."""
        return self._tracks.ids

    @property
    def newest_ns(self) -> int:
        """Stamp of the newest image that was accepted, ns; 0 before the first."""
        return self._timeline.newest_ns

    @property
    def period_ms(self) -> float:
        """Median time from image to image, ms; NaN where it is not known."""
        return self._timeline.period_ms

    def configure(self, config: PipelineConfig) -> None:
        """Change the settings between two images; the tracks go on.

        `max_gap_s`, `bone_length_memory_s` and `swap_correction` apply to new tracks only.

        Raises:
            ValueError: a setting is out of its range; nothing has changed.
        """
        lag = self._checked_lag(config.lag)
        self._tracks.configure(config)
        self._lag, self.config = lag, config

    def set_height(self, track_id: int, height_m: float) -> None:
        """Set the standing height of one person, which fixes the distance.

        Args:
            track_id: of a track that has not ended; the height stays with the id.
            height_m: m; NaN where it is not known: `config.person_height_m` applies.

        Raises:
            ValueError: the height is not positive, or there is no such track.
        """
        if height_m <= 0:
            raise ValueError(f"a person's height must be positive, is {height_m} m")
        if track_id not in self.active:
            raise ValueError(f"there is no track {track_id}; there are: {list(self.active)}")
        self._tracks.set_height(track_id, height_m)

    def set_camera(self, camera: Camera | None) -> None:
        """Set the intrinsics of the images to come; None when they are not known.

        A change ends all tracks, whose rays came from the old intrinsics. `intrinsics.same_rays`
        says which differences are no change.
        """
        if not same_rays(camera, self._camera if self._camera_known else None):
            if self.active:
                self._restart(Reason.CAMERA_CHANGED)
            self._camera, self._camera_known = camera, camera is not None
        elif camera is not None:
            self._camera = camera

    def add_depth(self, stamp_ns: int, image: np.ndarray) -> Reason | None:
        """Take in a depth image, from any thread; poses of its moment take their distance from it.

        Args:
            stamp_ns: of the image, ns.
            image: (H, W), registered to the camera's images, of any resolution; see
                `depth.trunk_depth`.

        Returns:
            why it is refused, which is counted; None where it is taken.
        """
        return self.depths.add(stamp_ns, image, self.counts)

    def end_all(self) -> list[Pose3D]:
        """End all tracks, as when the images have stopped.

        Returns:
            the ended tracks, with those that ended since the last result.
        """
        self._tracks.end(self.active)
        return self._tracks.take_ended()

    def restart(self) -> None:
        """End all tracks, and take the next stamp as the first. The intrinsics stay."""
        self._end_stream()
        self.depths.clear()
        self._track_ids.restart()
        self.stamps = StampFilter()

    def _restart(self, reason: Reason) -> None:
        self.counts[reason] += 1
        self._end_stream()

    def _end_stream(self) -> None:
        self._tracks.end(self.active)
        self._timeline.clear()
        self._faces.clear()

    # ------------------------------------------------------------------ keypoints in

    def observe(self, frame: Frame2D) -> bool:
        """Take in the keypoints of one image.

        Returns:
            whether they were used; `counts` says why not.
        """
        try:
            layout = get_layout(frame.layout)
            check_conversion(layout, self._layout)
        except ValueError:
            self.counts[Reason.UNKNOWN_LAYOUT] += 1
            return False
        if not self._is_of_this_camera(frame):
            return False
        verdict = frame.stamp_verdict or self.stamps.take(frame.stamp_ns)
        if verdict.reason is not None:
            self.counts[verdict.reason] += 1
            return False
        if self._timeline and frame.stamp_ns <= self.newest_ns:
            self._restart(Reason.STAMP_JUMPED_BACK)
        elif verdict is StampVerdict.JUMPED_AHEAD:
            # Images in between, had there been any, would have ended the tracks.
            self._tracks.end_coasted(frame.stamp_ns - round(self.lag * self._timeline.step_ns))
        camera = self._camera_for(frame.image_size)
        if camera is None:
            return False
        self._frame_id = frame.frame_id
        most, birth_score = self.config.max_people, self.config.birth_score
        people = self._track_ids.assign(frame, layout, self.stamps, most, birth_score)
        if self.watch is not None:
            self.watch(replace(frame, people=people))
        chosen = select_people(people, layout, most, self.active, self.counts)
        if chosen:
            self._add(frame.stamp_ns, chosen, layout, camera)
        self._timeline.add(frame.stamp_ns)
        self.depths.keypoints_came(frame.stamp_ns)
        return True

    def _is_of_this_camera(self, frame: Frame2D) -> bool:
        """Whether an image has the frame id of those before it, or is of a camera that replaces
        theirs.

        One image of another frame proves nothing: its clock may be another one.
        """
        repeated = frame.frame_id == self._last_frame_id
        self._last_frame_id = frame.frame_id
        if not self._timeline or frame.frame_id == self._frame_id:
            return True
        silent_ns = abs(frame.stamp_ns - self.newest_ns)
        if silent_ns <= self.config.silence_s * NANOSECONDS or not repeated:
            self.counts[Reason.FRAME_ID_MISMATCH] += 1
            return False
        self._restart(Reason.FRAME_ID_CHANGED)
        self.stamps = StampFilter()
        return True

    def _camera_for(self, image_size: tuple[int, int]) -> Camera | None:
        """The camera of images of a size, (width, height) px; None where there can be none."""
        width, height = image_size
        if width <= 0 or height <= 0:
            self.counts[Reason.IMAGE_SIZE_NOT_POSITIVE] += 1
            return None
        if not self._camera_known:
            if self._camera is None or self._camera.size != (width, height):
                if self.active:
                    self._restart(Reason.CAMERA_CHANGED)
                # The canonical window needs some camera. The pose hardly depends on it. The
                # distance depends on it entirely, so the root is then not given.
                self._camera = Camera.guessed(width, height)
            return self._camera
        assert self._camera is not None
        try:
            return self._camera.scaled_to(width, height)
        except CameraError as error:
            self.camera_error = str(error)
            self.counts[Reason.CAMERA_INFO_SIZE_MISMATCH] += 1
            return None

    def _add(self, stamp_ns: int, people: list[Pose2D], layout: Layout, camera: Camera) -> None:
        """Add the keypoints of people to the tracks of their ids."""
        reach = MAX_REACH * max(camera.size)
        keypoints = sane_keypoints(
            np.array([person.keypoints for person in people], dtype=float), reach, self.counts
        )
        rays, scores, enough = rays_of(keypoints, layout, self._layout, camera)
        if not enough.all():
            self.counts[Reason.TOO_FEW_KEYPOINTS] += int((~enough).sum())
            people = [person for person, kept in zip(people, enough.tolist(), strict=True) if kept]
            rays, scores, keypoints = rays[enough], scores[enough], keypoints[enough]
        ids = [person.track_id for person in people]
        self._faces.add(stamp_ns, ids, keypoints, layout, camera)
        tracks = self._tracks_of(stamp_ns, people, rays, scores)
        for track, person in zip(tracks, people, strict=True):
            track.score = float(np.clip(person.score, 0, 1)) if np.isfinite(person.score) else 0.0
        observed = list(zip(rays, scores, strict=True))
        # Settings apply to new tracks, so that some may be without correction.
        corrected = [row for row, track in enumerate(tracks) if track.swaps is not None]
        if corrected:
            swaps = [track.swaps for track in tracks if track.swaps is not None]
            results = correct_swaps(swaps, stamp_ns, rays[corrected], scores[corrected])
            for row, result in zip(corrected, results, strict=True):
                observed[row] = result.rays, result.scores
                if result.swapped:
                    self.counts[Reason.SWAP_CORRECTED] += 1
                for revised_ns, order in result.revised:
                    tracks[row].history.reorder(revised_ns, order)
        for track, observation in zip(tracks, observed, strict=True):
            track.history.add(stamp_ns, *observation)

    def _tracks_of(
        self, stamp_ns: int, people: list[Pose2D], rays: np.ndarray, scores: np.ndarray
    ) -> list[Track]:
        """The tracks of people, by their ids; a new one where there is none, or where the
        keypoints are of another person."""
        tracks = [self._tracks.get(person.track_id) for person in people]
        rows = [row for row, track in enumerate(tracks) if track is not None]
        histories = [track.history for track in tracks if track is not None]
        if histories:
            jumps = are_jumps(histories, stamp_ns, rays[rows], scores[rows])
            self.counts.update([Reason.TRACK_JUMPED] * int(jumps.sum()))
            for row, jump in zip(rows, jumps.tolist(), strict=True):
                tracks[row] = None if jump else tracks[row]
        return [
            self._tracks.begin(person.track_id) if track is None else track
            for person, track in zip(people, tracks, strict=True)
        ]

    # ------------------------------------------------------------------ poses out

    def update(self, frame: Frame2D) -> Frame3D | None:
        """Take in the keypoints of one image, and lift.

        Returns:
            as `lift`; None also where the keypoints were not used.
        """
        begin = time.perf_counter()
        result = self.lift() if self.observe(frame) else None
        if result is not None:
            result.lift_ms = 1000 * (time.perf_counter() - begin)
        return result

    def lift(self) -> Frame3D | None:
        """The poses of all people in the newest image that is `lag` frames old; None where it is
        described already."""
        windows = self.windows()
        return None if windows is None else self._lift(windows)

    def update_every(self, frame: Frame2D) -> Iterator[Frame3D]:
        """Take in the keypoints of one image of a recording; the poses of every image that is due.

        `lift_every(finish=True)` gives the rest at the end.
        """
        verdict = frame.stamp_verdict or self.stamps.take(frame.stamp_ns)
        step_ns = frame.stamp_ns - self.newest_ns
        # The images before a gap, or before a step back, cannot gain from what follows.
        if verdict.accepted and not 0 < step_ns <= self.config.max_gap_s * NANOSECONDS:
            yield from self.lift_every(finish=True)
        if self.observe(replace(frame, stamp_verdict=verdict)):
            yield from self.lift_every()

    def lift_every(self, finish: bool = False) -> Iterator[Frame3D]:
        """The poses of every image that is due and not described, the oldest first.

        This is for recordings. Live, `lift` skips images that a newer one has overtaken, and
        describes the first image before it is `lag` frames old.

        Args:
            finish: no image follows soon. Images that are not `lag` frames old are described too,
                each with the largest lag that there is.
        """
        for stamp_ns, lag in self._timeline.due_every(self.lag, finish):
            windows = self._windows(stamp_ns, lag)
            if windows is not None:
                yield self._lift(windows)

    def windows(self) -> Windows | None:
        """The windows of the image that `lift` describes.

        None where it is described already, and where the transform to the frame of the poses is
        not known. Tracks that have ended are then given with the next poses.
        """
        stamp_ns = self._timeline.due(self.lag)
        return None if stamp_ns is None else self._windows(stamp_ns, self.lag)

    def _windows(self, stamp_ns: int, lag: int) -> Windows | None:
        self._tracks.end_coasted(stamp_ns)
        tracks = self._tracks.begun_by(stamp_ns)
        times = WindowTimes.of(stamp_ns, self.newest_ns, lag, self.engine.config)
        view: View | None = View.at_rest(self.config.ground)
        if self.frames is not None and tracks:
            first_ns = np.array([track.history.first_ns for track in tracks.values()])
            view = self.frames.view(
                self._frame_id, times.stamps_ns, times.frame, first_ns, self.config.ground
            )
        if view is None:
            self._timeline.mark_described(stamp_ns)
            return None
        return Windows.of(tracks, times, self.engine.config, view)

    def _lift(self, windows: Windows) -> Frame3D:
        begin = time.perf_counter()
        (lifted,) = run_model(self.engine, [windows])
        result = self.poses(windows, lifted)
        result.lift_ms = 1000 * (time.perf_counter() - begin)
        return result

    def poses(self, windows: Windows, lifted: Lifted) -> Frame3D:
        """The poses, and the tracks that have ended.

        Args:
            windows: the last that `windows` gave.
            lifted: positions (P, T, 17, 3) m and standard deviation (P, T, 17) m of the model for
                them, see `Engine.lift`.
        """
        self._timeline.mark_described(windows.stamp_ns)
        people: list[Pose3D] = []
        if windows.tracks:
            context = StageContext(
                self.config,
                self.engine.config.rate_hz,
                self._camera,
                self._camera_known,
                *self.depths.at(windows.stamp_ns),
                self.counts,
            )
            batch = PoseBatch.of(windows, *lifted, self.config)
            for stage in STAGES:
                batch = stage(batch, context)
            people = poses_of(batch, context)
            faces = self._faces.take(windows.stamp_ns)
            for person in people:
                person.face = faces.get(person.track_id, person.face)
        self.depths.described(windows.stamp_ns)
        people += self._tracks.take_ended()
        scene = windows.view.scene
        return Frame3D(windows.stamp_ns, windows.lag_ns, people, float("nan"), scene)


__getattr__ = former_names(__name__)
