"""The Python API: from images or keypoints to tracked metric 3D skeletons.

    from emf_ros import Camera, SkeletonTracker

    with SkeletonTracker(Camera.from_fov(1280, 720, 70)) as tracker:
        for person in tracker(image, stamp):
            print(person.id, person.root, person.joint("left_wrist"))

It needs no ROS.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from .body.state import BodyState
from .body.tracker import BodyTracker
from .detect.budget import DetectionBudget
from .detect.protocol import Detector
from .geometry.camera import Camera
from .lift.acceptance import body_score
from .lift.config import PipelineConfig
from .lift.engine import make_engine
from .lift.memory import KeypointMemory
from .lift.pipeline import LiftPipeline
from .lift.together import lift_together
from .people import MIN_SCORE, PeopleTracker
from .reasons import Reason
from .skeletons import H36M17, get_layout
from .stamps import NANOSECONDS, StampVerdict
from .types import UNTRACKED, Frame2D, Frame3D, Pose2D, Pose3D, TrackState

#: Largest stamp, s: as nanoseconds a larger one has no 64-bit number.
MAX_STAMP_S = 9.2e9

#: Orders of the channels of an image.
COLORS = ("bgr", "rgb")


@dataclass
class Person(Pose3D):
    """One person in one image: the pose, with the image that it describes. Unknown is NaN.

    The joints are in the order of `emf_ros.skeletons.H36M17.joints`.

    Attributes:
        stamp: of the described image, s, as it was given. With a lag this image is older than the
            newest one.
        keypoints: (K, 3) px, px, score: the 2D keypoints in the described image, in the layout of
            the detector or of `from_keypoints`; None where the image does not show the person.
        body: facing, posture, gestures and more; None for a track that has ended.
    """

    stamp: float = math.nan
    keypoints: np.ndarray | None = None
    body: BodyState | None = None

    @property
    def id(self) -> int:
        """The track id: the same from image to image, and never that of another person."""
        return self.track_id

    @property
    def posture(self) -> str:
        """One of `emf_ros.body.posture.POSTURES`, or empty where it is not known."""
        return self.body.posture if self.body else ""

    @property
    def facing(self) -> np.ndarray:
        """(3,) of length 1, where the trunk faces along the floor; NaN where it is not known."""
        return self.body.facing if self.body else np.full(3, np.nan)

    def joint(self, name: str) -> np.ndarray:
        """(3,) m, one of `joints` by its name, such as "left_wrist".

        Raises:
            ValueError: there is no joint of that name.
        """
        if name not in H36M17.joints:
            raise ValueError(f"there is no joint {name!r}; there are: {', '.join(H36M17.joints)}")
        return np.asarray(self.joints[H36M17.index(name)])


class _CameraState:
    """One camera: intrinsics, pipeline, and the detector once it is needed."""

    def __init__(self, camera: Camera | None, pipeline: LiftPipeline) -> None:
        self.camera, self.pipeline = camera, pipeline
        self.people: PeopleTracker | None = None
        self._seen: KeypointMemory[float] = KeypointMemory()
        self._bodies = BodyTracker.on(pipeline.config.ground)
        self._stamp = math.nan
        pipeline.set_camera(camera)
        pipeline.watch = self._watch

    def _watch(self, frame: Frame2D) -> None:
        self._seen.add(frame.stamp_ns, self._stamp, frame.people)

    def observe(self, stamp: float, frame: Frame2D) -> bool:
        """Take in the keypoints of one image; whether they are used."""
        self._stamp = stamp
        return self.pipeline.observe(frame)

    def persons(self, result: Frame3D | None) -> list[Person]:
        """The poses with the keypoints of the image that they describe."""
        if result is None:
            return []
        stamp, keypoints = self._seen.at(result.stamp_ns, result.stamp_ns / NANOSECONDS)
        self._seen.forget_before(result.stamp_ns)
        bodies = {body.track_id: body for body in self._bodies.update(result)}
        return [
            Person(
                **vars(pose),
                stamp=stamp,
                body=bodies.get(pose.track_id),
                keypoints=None if pose.state == TrackState.ENDED else keypoints.get(pose.track_id),
            )
            for pose in result.people
        ]


class SkeletonTracker:
    """Tracks people in the images of one camera or several, and lifts them to 3D.

    Call it with each image and its stamp, in their order, from one thread at a time.

    An image with an implausible stamp is left out, as in the nodes (`emf_ros.stamps`): the result
    is empty, and `counts` says why.

    Args:
        camera: the intrinsics; None where they are not known: poses are then relative to the
            pelvis, and roots are NaN. For several cameras a mapping of names to these. Images may
            have another resolution with the same field of view.
        detector: name of a detector, see `emf_ros.detect.factory.BACKENDS`; or a class or function
            that makes an `emf_ros.detect.protocol.Detector`. It is made once for each camera, with
            the first image.
        variant: of a named detector, 'full' or 'lite'.
        model: path of a .onnx file, for the detector 'onnx'.
        color: order of the images' channels, 'bgr' as OpenCV reads them, or 'rgb'.
        max_people: maximum number of people of each camera.
        min_score: minimum score, 0..1, of a detection, or of a person without an id, that begins a
            track.
        lag: frames of the model (30 Hz) that the poses are behind the newest image. A larger lag
            makes them more accurate.
        preset, weights: the lifting model, or a file to use in its place.
        device: where detector and model run: 'auto', 'cuda' or 'cpu'.
        live: whether each image is given when it is taken. A named detector then detects new people
            in the time that the computer has to spare. Without it the same images give the same
            people.
        config: more settings of the lifter; its `lag`, `max_people` and `birth_score` are those
            given here.

    Attributes:
        counts: number of rejected inputs, by reason. Only grows.

    Raises:
        ValueError: an argument is out of its range.
        EngineError: the lifting model or the device is not available.
    """

    def __init__(
        self,
        camera: Camera | None | Mapping[str, Camera | None],
        *,
        detector: str | Callable[[], Detector] = "blazepose",
        variant: str = "full",
        model: str = "",
        color: str = "bgr",
        max_people: int = 8,
        min_score: float = MIN_SCORE,
        lag: int = 0,
        preset: str = "lite",
        weights: str | Path | None = None,
        device: str = "auto",
        live: bool = False,
        config: PipelineConfig | None = None,
    ) -> None:
        cameras = dict(camera) if isinstance(camera, Mapping) else {"": camera}
        if not cameras:
            raise ValueError("there is no camera: give one, or None where it is not known")
        for name, one in cameras.items():
            if one is not None and not isinstance(one, Camera):
                raise ValueError(
                    f"camera {name!r} is a {type(one).__name__}; give an emf_ros.Camera, or None "
                    "where the intrinsics are not known"
                )
        if color not in COLORS:
            raise ValueError(f"color must be one of {', '.join(COLORS)}, not {color!r}")
        max_people = _whole("max_people", max_people)
        if max_people < 1:
            raise ValueError(f"max_people must be at least 1, is {max_people}")
        if not 0 <= min_score <= 1:
            raise ValueError(f"min_score must be in 0..1, is {min_score}")
        self.counts: Counter[Reason] = Counter()
        self._detector, self._variant, self._model = detector, variant, model
        self._color, self._max_people, self._min_score = color, max_people, min_score
        self._device, self._live, self._closed = device, live, False
        engine = make_engine(preset, weights, device, counts=self.counts)
        settings = replace(
            config or PipelineConfig(), lag=lag, max_people=max_people, birth_score=min_score
        )
        self._cameras = {
            name: _CameraState(one, LiftPipeline(engine, settings, self.counts))
            for name, one in cameras.items()
        }

    def __call__(self, image: np.ndarray, stamp: float, camera: str | None = None) -> list[Person]:
        """Track and lift the people in the next image of a camera.

        Args:
            image: (H, W, 3) uint8, its channels in the order of `color`.
            stamp: time of the image, s, of any epoch.
            camera: name of the camera, where there are several.

        Returns:
            the people in the described image; empty until the first poses are due.

        Raises:
            ValueError: the image, its size, the stamp or the name is wrong.
            DetectorError: with the first image: the detector is not available.
        """
        name = self._name(camera)
        return self.together({name: (image, stamp)})[name]

    def together(self, images: Mapping[str, tuple[np.ndarray, float]]) -> dict[str, list[Person]]:
        """Track and lift the people of several cameras, in one forward pass.

        Args:
            images: image and stamp by name of the camera, see `__call__`. Cameras may be missing.

        Returns:
            the people of each of these cameras.

        Raises:
            as `__call__`; no image has been used then. An error while a detector detects is passed
            on. Some of the images then count as used: continue with the next ones.
        """
        checked = [
            (self._state(name), self._image(name, image), stamp, _nanoseconds(stamp))
            for name, (image, stamp) in images.items()
        ]
        for state, *_ in checked:
            self._make_people(state)
        observed = [
            self._observe_image(state, image, stamp, stamp_ns)
            for state, image, stamp, stamp_ns in checked
        ]
        lifted = self._lift(dict(zip(images, observed, strict=True)))
        for state, *_ in checked:
            assert state.people is not None
            state.people.detect_new()
        return lifted

    def from_keypoints(
        self,
        keypoints: Sequence[np.ndarray] | np.ndarray,
        stamp: float,
        layout: str,
        image_size: tuple[int, int],
        *,
        ids: Sequence[int] | None = None,
        scores: Sequence[float] | None = None,
        camera: str | None = None,
    ) -> list[Person]:
        """Lift people by their keypoints, in place of an image.

        Args:
            keypoints: (N, K, 3) px, px, score 0..1, of all people in the next image. A missing one
                is NaN with score 0.
            stamp: time of the image, s.
            layout: name of the keypoints' layout, see `emf_ros.skeletons.LAYOUTS`.
            image_size: (width, height) px of the image.
            ids: (N,) numbers from 0 of a tracker; None where the people are to be tracked here.
            scores: (N,) of the people, 0..1; None for the mean of the body's keypoints.
            camera: name of the camera, where there are several.

        Returns:
            as `__call__`.

        Raises:
            ValueError: an argument is wrong.
        """
        name = self._name(camera)
        state, kind = self._state(name), get_layout(layout)
        people = [np.asarray(points, dtype=np.float64) for points in keypoints]
        for points in people:
            if points.shape != (len(kind), 3):
                raise ValueError(
                    f"keypoints of a person are {points.shape}; layout {layout!r} has "
                    f"({len(kind)}, 3): x, y and score of each joint"
                )
        numbers = [UNTRACKED] * len(people) if ids is None else [_whole("an id", i) for i in ids]
        if ids is not None and (min(numbers, default=0) < 0 or len(set(numbers)) < len(numbers)):
            raise ValueError(f"ids must be different numbers from 0, are {numbers}")
        sure = [math.nan] * len(people) if scores is None else [float(score) for score in scores]
        for what, values in (("ids", numbers), ("scores", sure)):
            if len(values) != len(people):
                raise ValueError(f"there are {len(values)} {what} for {len(people)} people")
        size = self._size(name, image_size)
        found = [
            Pose2D(points, score if score == score else body_score(points, kind), number)
            for number, points, score in zip(numbers, people, sure, strict=True)
        ]
        frame = Frame2D(_nanoseconds(stamp), "", layout, size, found)
        return self._lift({name: state.observe(stamp, frame)})[name]

    def close(self) -> None:
        """Release the detectors. The tracker takes no more images."""
        self._closed = True
        for state in self._cameras.values():
            if state.people is not None:
                state.people.close()
                state.people = None

    def __enter__(self) -> SkeletonTracker:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _name(self, camera: str | None) -> str:
        if camera is not None:
            return camera
        if len(self._cameras) > 1:
            raise ValueError(f"there are several cameras; name one of {', '.join(self._cameras)}")
        return next(iter(self._cameras))

    def _state(self, name: str) -> _CameraState:
        if self._closed:
            raise ValueError("this SkeletonTracker is closed; make a new one")
        if name not in self._cameras:
            raise ValueError(f"there is no camera {name!r}; there are: {', '.join(self._cameras)}")
        return self._cameras[name]

    def _size(self, name: str, size: tuple[int, int]) -> tuple[int, int]:
        """The checked size of a camera's image, (width, height) px."""
        width, height = (_whole("a side of an image", side) for side in size)
        if width < 1 or height < 1:
            raise ValueError(f"an image size of {width}x{height} px is not positive")
        camera = self._state(name).camera
        if camera is not None:
            camera.scaled_to(width, height)
        return width, height

    def _image(self, name: str, image: np.ndarray) -> np.ndarray:
        """The checked image, (H, W, 3) uint8 RGB, contiguous."""
        if not isinstance(image, np.ndarray):
            raise ValueError(
                f"an image must be a numpy array, is a {type(image).__name__}: a file that "
                "OpenCV cannot read gives None"
            )
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(
                f"an image must be (H, W, 3) uint8, is {image.shape} {image.dtype}; "
                "cv2.cvtColor makes three channels of one or four"
            )
        self._size(name, (image.shape[1], image.shape[0]))
        if self._color == "bgr":
            return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
        return np.ascontiguousarray(image)

    def _make_people(self, state: _CameraState) -> None:
        """Make the detector and tracker of a camera where there are none yet."""
        if state.people is None and isinstance(self._detector, str):
            state.people = PeopleTracker.make(
                self._detector,
                self._variant,
                self._max_people,
                self._min_score,
                counts=self.counts,
                model=self._model,
                device=self._device,
                budget=DetectionBudget() if self._live else None,
            )
        elif state.people is None:
            assert not isinstance(self._detector, str)
            detector = self._detector()
            state.people = PeopleTracker(
                detector.layout, detector, self._min_score, counts=self.counts
            )

    def _observe_image(
        self, state: _CameraState, image: np.ndarray, stamp: float, stamp_ns: int
    ) -> bool:
        people = state.people
        assert people is not None
        verdict: StampVerdict = people.stamps.take(stamp_ns)
        if verdict.reason is not None:
            self.counts[verdict.reason] += 1
            return False
        found = people.update(image, stamp_ns)
        size = (image.shape[1], image.shape[0])
        frame = Frame2D(stamp_ns, "", people.layout.name, size, found, stamp_verdict=verdict)
        return state.observe(stamp, frame)

    def _lift(self, observed: Mapping[str, bool]) -> dict[str, list[Person]]:
        """Lift, in one forward pass, the cameras whose images were used."""
        out: dict[str, list[Person]] = {name: [] for name in observed}
        due = [name for name, of_use in observed.items() if of_use]
        results = lift_together([self._cameras[name].pipeline for name in due])
        for name, result in zip(due, results, strict=True):
            out[name] = self._cameras[name].persons(result)
        return out


def _whole(what: str, value: float) -> int:
    """A whole number as int: trackers and OpenCV give 3.0, too.

    Raises:
        ValueError: it is not a whole number.
    """
    try:
        if int(value) == value:
            return int(value)
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(f"{what} must be a whole number, is {value}")


def _nanoseconds(stamp: float) -> int:
    """A stamp, s, in nanoseconds.

    Raises:
        ValueError: it is not a number of seconds.
    """
    try:
        seconds = float(stamp)
    except (TypeError, ValueError):
        raise ValueError(f"a stamp must be a number of seconds, is {stamp!r}") from None
    if not abs(seconds) <= MAX_STAMP_S:
        raise ValueError(
            f"a stamp of {seconds:g} s is out of range: stamps are in seconds, so divide "
            "nanoseconds by 1e9"
        )
    return round(seconds * NANOSECONDS)
