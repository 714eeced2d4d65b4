"""The Python API."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from inputs import FRAME_SIZE
from test_plausibility import standing

import emf_ros
from emf_ros import Camera, SkeletonTracker, TrackState
from emf_ros.lift.config import PipelineConfig
from emf_ros.lift.engine import EngineError
from emf_ros.lift.pipeline import LiftPipeline
from emf_ros.skeletons import COCO17, H36M17
from emf_ros.types import Frame2D, Pose2D

SIZE = (1280, 720)
CAMERA = Camera.from_fov(*SIZE, 70.0)
STEP_S = 1 / 30


def walking(step, x=300.0):
    return standing(COCO17, x + 3 * step).keypoints


def of_keypoints(camera=CAMERA, **settings):
    return SkeletonTracker(camera, device="cpu", **settings)


def followed(tracker, steps=12, x=300.0, **arguments):
    """The answers to so many images of one walking person."""
    return [
        tracker.from_keypoints([walking(step, x)], 10 + step * STEP_S, "coco17", SIZE, **arguments)
        for step in range(steps)
    ]


class Canned:
    """A detector that finds one standing person in each image that is not black."""

    layout, description = COCO17, "canned"
    made: list = []

    def __init__(self):
        self.refused: Counter[str] = Counter()
        self.images, self.closed = [], False
        Canned.made.append(self)

    def detect(self, image, stamp_ns):
        self.images.append(image)
        return [standing(COCO17, 300.0 + 3 * len(self.images))] if image.any() else []

    def close(self):
        self.closed = True


def image(value=200):
    return np.full((SIZE[1], SIZE[0], 3), value, np.uint8)


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import sys, emf_ros; emf_ros.__version__; dir(emf_ros)\n"
        "print([m for m in ('torch', 'cv2', 'onnxruntime', 'numpy', 'rclpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there_and_no_other():
    for name in emf_ros.__all__:
        assert getattr(emf_ros, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Skeletons'"):
        _ = emf_ros.Skeletons


def test_the_two_people_of_the_demo_are_tracked(demo_frames):
    with SkeletonTracker(Camera.from_fov(*FRAME_SIZE, 60), device="cpu") as tracker:
        for index, picture in enumerate(demo_frames[30:45]):
            people = tracker(picture, index * STEP_S)
    assert [person.id for person in people] == [1, 2]
    for person in people:
        assert person.state is TrackState.TRACKED and person.stamp == 14 * STEP_S
        assert 1 < person.root[2] < 20
        assert person.joint("pelvis") == pytest.approx(person.root)
        assert 0.3 < np.linalg.norm(person.joint("nose") - person.root) < 1.2
        assert person.keypoints.shape == (33, 3)
        # The pelvis is where the hips are in the image.
        hips = person.keypoints[[23, 24], :2].mean(axis=0)
        at = Camera.from_fov(*FRAME_SIZE, 60).project(person.root[None])[0]
        assert np.linalg.norm(at - hips) < 40


def test_a_live_tracker_has_a_budget_and_detects_new_people_after_the_answer(demo_frames):
    """Only a live one: without a budget the same images give the same people."""
    camera = Camera.from_fov(*FRAME_SIZE, 60)
    with SkeletonTracker(camera, device="cpu", live=True) as tracker:
        # Back and forth: a busy machine detects them later.
        pictures = itertools.cycle([*demo_frames[30:45], *demo_frames[43:30:-1]])
        for index, picture in enumerate(itertools.islice(pictures, 300)):
            people = tracker(picture, index * STEP_S)
            if index >= 14 and len(people) == 2:
                break
        assert len(people) == 2
        (state,) = tracker._cameras.values()
        budget = state.people.budget
        assert budget is not None and float(budget.diagnostics()["detection_share"]) > 0
    with SkeletonTracker(camera, device="cpu") as tracker:
        tracker(demo_frames[30], 0.0)
        (state,) = tracker._cameras.values()
        assert state.people.budget is None


def test_a_person_is_what_the_pipeline_says():
    """Nothing is changed on the way, and keypoints with ids take no tracker."""
    tracker = of_keypoints()
    pipeline = LiftPipeline(tracker._cameras[""].pipeline.engine, PipelineConfig())
    pipeline.set_camera(CAMERA)
    for step in range(8):
        points = walking(step)
        (person,) = tracker.from_keypoints(
            [points], step * STEP_S, "coco17", SIZE, ids=[4], scores=[0.8]
        )
        frame = Frame2D(round(step * STEP_S * 1e9), "", "coco17", SIZE, [Pose2D(points, 0.8, 4)])
        (expected,) = pipeline.update(frame).people
        assert (person.id, person.state, person.score) == (4, expected.state, expected.score)
        for name in ("joints", "confidence", "stddev", "root", "root_covariance", "velocity"):
            np.testing.assert_array_equal(getattr(person, name), getattr(expected, name))
        np.testing.assert_array_equal(person.keypoints, points)


def test_keypoints_without_ids_are_tracked_and_implausible_ones_rejected():
    tracker = of_keypoints()
    for step in range(6):
        twice = [walking(step), walking(step, 301.0), walking(step, 900.0)]
        people = tracker.from_keypoints(twice, step * STEP_S, "coco17", SIZE)
    assert [person.id for person in people] == [1, 2]
    assert +tracker.counts == {"duplicate": 6}


def test_the_minimum_score_is_that_of_people_without_ids_too():
    """A person of 0.35 is returned where that is enough, and is counted where it is not."""
    counts = {}
    for min_score in (0.2, 0.4):
        tracker = of_keypoints(min_score=min_score)
        for step in range(6):
            person = standing(COCO17, 300.0 + 3 * step, score=0.35).keypoints
            people = tracker.from_keypoints([person], step * STEP_S, "coco17", SIZE)
        counts[min_score] = len(people), dict(+tracker.counts)
    assert counts == {0.2: (1, {}), 0.4: (0, {"low_score": 6})}


def test_without_intrinsics_there_is_a_pose_and_no_root():
    person = followed(of_keypoints(None))[-1][0]
    assert np.isnan(person.root).all() and np.isnan(person.root_covariance).all()
    assert np.isfinite(person.joints).all()
    assert person.joint("pelvis") == pytest.approx(np.zeros(3), abs=1e-9)


def test_a_lag_gives_poses_and_keypoints_of_the_image_that_they_describe():
    answers = followed(of_keypoints(lag=4), ids=[1])
    person = answers[-1][0]
    assert person.stamp == 10 + 7 * STEP_S
    np.testing.assert_array_equal(person.keypoints, walking(7))


def test_a_person_who_leaves_coasts_and_is_ended_once():
    tracker = of_keypoints()
    followed(tracker, ids=[3])
    states = []
    for step in range(12, 60):
        people = tracker.from_keypoints([], 10 + step * STEP_S, "coco17", SIZE)
        states += [person.state for person in people]
        assert all(person.keypoints is None for person in people)
    assert set(states[:-1]) == {TrackState.COASTING} and states[-1] is TrackState.ENDED


def test_several_cameras_go_through_the_model_in_one_pass():
    tracker = SkeletonTracker({"left": CAMERA, "right": None}, detector=Canned, device="cpu")
    feeds = tracker._cameras.values()
    passes = []
    engine = next(iter(feeds)).pipeline.engine
    lift = engine.lift
    engine.lift = lambda keypoints: passes.append(len(keypoints)) or lift(keypoints)
    for step in range(8):
        people = tracker.together({name: (image(), step * STEP_S) for name in ("left", "right")})
    assert passes[-1] == 2
    assert {name: [p.id for p in of_it] for name, of_it in people.items()} == {
        "left": [1],
        "right": [1],
    }
    assert np.isfinite(people["left"][0].root).all() and np.isnan(people["right"][0].root).all()
    # One of them alone.
    assert len(tracker(image(), 8 * STEP_S, "left")) == 1


def test_after_an_error_of_one_detector_all_cameras_go_on():
    tracker = SkeletonTracker({"left": CAMERA, "right": CAMERA}, detector=Canned, device="cpu")

    def shown(step):
        return tracker.together({name: (image(), step * STEP_S) for name in ("left", "right")})

    for step in range(8):
        shown(step)
    right = tracker._cameras["right"].people.detector
    right.detect = lambda image, stamp_ns: 1 / 0
    with pytest.raises(ZeroDivisionError):
        shown(8)
    del right.detect
    # The images count as used.
    assert shown(8) == {"left": [], "right": []} and tracker.counts["stamp_not_newer"] == 2
    people = shown(9)
    assert [person.id for name in ("left", "right") for person in people[name]] == [1, 1]


def test_channels_are_given_to_the_detector_as_rgb():
    for color in ("bgr", "rgb"):
        tracker = SkeletonTracker(CAMERA, detector=Canned, color=color, device="cpu")
        picture = image(0)
        picture[..., 2 if color == "bgr" else 0] = 9
        tracker(picture, 0.0)
        assert Canned.made[-1].images[0][0, 0].tolist() == [9, 0, 0]


def test_close_closes_the_detectors_and_ends_the_use():
    with SkeletonTracker(CAMERA, detector=Canned, device="cpu") as tracker:
        tracker(image(), 0.0)
    assert Canned.made[-1].closed
    tracker.close()
    with pytest.raises(ValueError, match="closed"):
        tracker(image(), 1.0)


def test_a_stamp_that_is_not_newer_is_left_out_and_counted():
    tracker = SkeletonTracker(CAMERA, detector=Canned, device="cpu")
    for step in range(4):
        tracker(image(), step * STEP_S)
    assert tracker(image(), 3 * STEP_S) == []
    assert len(Canned.made[-1].images) == 4
    assert +tracker.counts == {"stamp_not_newer": 1}


@pytest.mark.parametrize(
    ("picture", "stamp", "words"),
    [
        pytest.param(None, 0.0, "numpy array, is a NoneType", id="a file that was not read"),
        pytest.param(image()[..., 0], 0.0, r"\(H, W, 3\) uint8, is \(720, 1280\)", id="grey"),
        pytest.param(image() / 255.0, 0.0, "float64", id="floats"),
        pytest.param(image()[:0], 0.0, "1280x0 px is not positive", id="empty"),
        pytest.param(image()[:400], 0.0, "1280x400", id="another shape than the camera's"),
        pytest.param(image(), 1_700_000_000_000_000_000, "divide nanoseconds", id="nanoseconds"),
        pytest.param(image(), float("nan"), "nan s", id="NaN"),
        pytest.param(image(), None, "number of seconds, is None", id="no stamp"),
    ],
)
def test_an_invalid_image_is_one_clear_error(picture, stamp, words):
    tracker = SkeletonTracker(CAMERA, detector=Canned, device="cpu")
    with pytest.raises(ValueError, match=words) as error:
        tracker(picture, stamp)
    assert "\n" not in str(error.value)
    # Nothing has been used of it.
    tracker(image(), 1.0)
    assert not +tracker.counts and len(Canned.made[-1].images) == 1


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"layout": "centaur"}, "unknown joint layout 'centaur'"),
        ({"keypoints": [np.zeros((5, 3))]}, r"\(5, 3\); layout 'coco17' has \(17, 3\)"),
        ({"ids": [1, 2]}, "2 ids for 1 people"),
        ({"ids": [-1]}, "different numbers from 0"),
        ({"ids": [1.9]}, "an id must be a whole number, is 1.9"),
        ({"ids": [np.nan]}, "whole number, is nan"),
        ({"image_size": (1280.5, 720)}, "whole number, is 1280.5"),
        ({"keypoints": [walking(0)] * 2, "ids": [5, 5]}, "different numbers"),
        ({"scores": []}, "0 scores for 1 people"),
        ({"image_size": (0, 720)}, "0x720 px is not positive"),
        ({"image_size": (720, 720)}, "720x720"),
        ({"camera": "left"}, "no camera 'left'"),
    ],
)
def test_invalid_keypoints_are_one_clear_error(changed, words):
    arguments = {"keypoints": [walking(0)], "stamp": 0.0, "layout": "coco17", "image_size": SIZE}
    with pytest.raises(ValueError, match=words):
        of_keypoints().from_keypoints(**(arguments | changed))


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({"camera": {}}, ValueError, "no camera"),
        ({"camera": "front"}, ValueError, "is a str; give an emf_ros.Camera"),
        ({"color": "hsv"}, ValueError, "one of bgr, rgb, not 'hsv'"),
        ({"lag": 99}, ValueError, "lag must be a whole number in 0..26, is 99"),
        ({"lag": 2.5}, ValueError, "lag must be a whole number in 0..26, is 2.5"),
        ({"max_people": 0}, ValueError, "max_people"),
        ({"max_people": 2.5}, ValueError, "max_people must be a whole number, is 2.5"),
        ({"min_score": 2.0}, ValueError, "min_score"),
        ({"preset": "huge"}, EngineError, "'huge'"),
        ({"device": "tpu"}, EngineError, "tpu"),
    ],
)
def test_arguments_out_of_range_are_one_clear_error(arguments, kind, words):
    with pytest.raises(kind, match=words):
        SkeletonTracker(**({"camera": CAMERA, "device": "cpu"} | arguments))


def test_whole_numbers_may_be_floats_as_trackers_and_opencv_give_them():
    people = of_keypoints().from_keypoints(
        [walking(0)], 0.0, "coco17", tuple(map(float, SIZE)), ids=np.array([3.0])
    )
    assert [person.id for person in people] == [3]


def test_an_unknown_joint_name_is_an_error():
    person = followed(of_keypoints(), ids=[1], steps=1)[0][0]
    with pytest.raises(ValueError, match="'tail'; there are: pelvis"):
        person.joint("tail")
    np.testing.assert_array_equal(
        person.joint("left_wrist"), person.joints[H36M17.index("left_wrist")]
    )


def test_with_several_cameras_each_image_says_which():
    tracker = of_keypoints({"left": CAMERA, "right": CAMERA})
    with pytest.raises(ValueError, match="name one of left, right"):
        tracker.from_keypoints([], 0.0, "coco17", SIZE)
