"""From images, or from keypoints without ids, to people with ids."""

from collections import Counter

import numpy as np
import pytest
from inputs import FRAME_NS, FRAME_SIZE
from test_plausibility import standing

from emf_ros.detect.protocol import DetectorError
from emf_ros.lift.config import PipelineConfig
from emf_ros.lift.engine import make_engine
from emf_ros.lift.pipeline import LiftPipeline
from emf_ros.people import PeopleTracker
from emf_ros.skeletons import BLAZEPOSE33, COCO17
from emf_ros.types import UNTRACKED, Frame2D, Pose2D

SIZE = (1280, 720)


def walking(step, x=300.0):
    return standing(COCO17, x + 3 * step)


class Squares:
    """A detector of white squares: each is a person who stands there."""

    layout = COCO17
    description = "white squares"

    def __init__(self):
        self.refused: Counter[str] = Counter()
        self.detected_ns = []
        self.closed = False

    def detect(self, image, stamp_ns):
        self.detected_ns.append(stamp_ns)
        self.refused["not_white"] += 1
        return [standing(COCO17, float(x)) for x in np.flatnonzero(image[0, :, 0])]

    def close(self):
        self.closed = True


def picture(*columns):
    image = np.zeros((720, 1280, 3), np.uint8)
    image[0, list(columns)] = 255
    return image


class TestImages:
    def test_people_have_ids_once_they_are_confirmed(self):
        tracker = PeopleTracker(COCO17, Squares())
        found = [tracker.update(picture(300, 900), step * FRAME_NS) for step in range(5)]
        assert not found[0]
        assert [d.track_id for d in found[-1]] == [1, 2]
        assert [d.keypoints[5, 0] < 640 for d in found[-1]] == [True, False]

    def test_detections_rejected_by_the_detector_are_counted_once(self):
        tracker = PeopleTracker(COCO17, Squares())
        for step in range(3):
            tracker.update(picture(), step * FRAME_NS)
        assert +tracker.counts == {"not_white": 3}

    def test_image_with_a_refused_stamp_reaches_no_detector(self):
        detector = Squares()
        tracker = PeopleTracker(COCO17, detector)
        for stamp_ns in (FRAME_NS, 2 * FRAME_NS, 2 * FRAME_NS - 1, 3 * FRAME_NS):
            tracker.update(picture(300), stamp_ns)
        assert detector.detected_ns == [FRAME_NS, 2 * FRAME_NS, 3 * FRAME_NS]

    def test_stamp_that_the_caller_has_checked_is_accepted_again(self):
        tracker = PeopleTracker(COCO17, Squares())
        for step in range(3):
            assert tracker.stamps.take(step * FRAME_NS).accepted
            found = tracker.update(picture(300), step * FRAME_NS)
        assert [d.track_id for d in found] == [1]

    def test_close_closes_the_detector(self):
        detector = Squares()
        PeopleTracker(COCO17, detector).close()
        assert detector.closed

    def test_an_image_without_a_detector_is_an_error(self):
        with pytest.raises(ValueError, match="no detector"):
            PeopleTracker(COCO17).update(picture(), 0)

    def test_unknown_detector_is_an_error(self):
        with pytest.raises(DetectorError, match="'eye'"):
            PeopleTracker.make("eye")

    def test_shipped_detector_and_tracker_keep_the_two_people_of_the_demo(self, demo_frames):
        tracker = PeopleTracker.make("blazepose", "full", 2, device="cpu")
        assert "CPU" in tracker.description
        for index, image in enumerate(demo_frames[30:42]):
            found = tracker.update(np.ascontiguousarray(image[..., ::-1]), index * FRAME_NS)
        tracker.close()
        assert len(found) == 2 and tracker.layout is BLAZEPOSE33
        assert all(d.keypoints[:, 0].max() < FRAME_SIZE[0] + 200 for d in found)


class TestKeypoints:
    def test_implausible_people_and_duplicates_are_rejected_and_counted(self):
        tracker = PeopleTracker(COCO17)
        for step in range(5):
            impossible = walking(step, 900.0)
            for joint in ("left_wrist", "right_wrist", "left_ankle", "right_ankle"):
                impossible.keypoints[COCO17.index(joint), :2] = (5.0, 5.0)
            people = [walking(step), walking(step, 301.0), impossible]
            found = tracker.update_keypoints(people, SIZE, step * FRAME_NS)
        assert [d.track_id for d in found] == [1]
        assert +tracker.counts == {"duplicate": 5, "implausible_bones": 5}

    def test_first_id_is_the_given_one(self):
        tracker = PeopleTracker(COCO17, first_id=41)
        for step in range(4):
            found = tracker.update_keypoints([walking(step)], SIZE, step * FRAME_NS)
        assert [d.track_id for d in found] == [41]


class TestUntrackedPeopleInThePipeline:
    """Keypoints without a track id."""

    @pytest.fixture(scope="class")
    def engine(self):
        return make_engine("lite", None, "cpu", threads=1)

    def observed(self, engine, people_of_step, steps=6, layout=COCO17):
        """The ids by step, and the pipeline."""
        ids = []
        pipeline = LiftPipeline(engine)
        pipeline.watch = lambda frame: ids.append([p.track_id for p in frame.people])
        for step in range(steps):
            frame = Frame2D(step * FRAME_NS, "", layout.name, SIZE, people_of_step(step))
            assert pipeline.observe(frame)
        return ids, pipeline

    def test_people_without_ids_are_tracked(self, engine):
        ids, pipeline = self.observed(
            engine,
            lambda step: [
                Pose2D(walking(step, x).keypoints, 0.9, UNTRACKED) for x in (300.0, 800.0)
            ],
        )
        assert sorted(ids[-1]) == [1, 2] and set(pipeline.active) == {1, 2}
        assert +pipeline.counts == {}

    def test_people_without_a_score_get_the_mean_score_of_their_keypoints(self, engine):
        for score in (0.0, np.nan):
            ids, _ = self.observed(
                engine, lambda step, s=score: [Pose2D(walking(step).keypoints, s, UNTRACKED)]
            )
            assert ids[-1] == [1]

    def test_a_weak_person_whom_nothing_tracks_is_counted_until_the_minimum_falls(self, engine):
        def people(step):
            return [Pose2D(standing(COCO17, 300.0, score=0.35).keypoints, 0.0, UNTRACKED)]

        ids, pipeline = self.observed(engine, people)
        assert ids == [[]] * 6 and +pipeline.counts == {"low_score": 6}
        pipeline.configure(PipelineConfig(birth_score=0.3))
        for step in range(6, 12):
            assert pipeline.observe(Frame2D(step * FRAME_NS, "", "coco17", SIZE, people(step)))
        assert pipeline.active == (1,) and +pipeline.counts == {"low_score": 6}
        # A weak person continues the track.
        pipeline.configure(PipelineConfig(birth_score=0.5))
        assert pipeline.observe(Frame2D(12 * FRAME_NS, "", "coco17", SIZE, people(12)))
        assert ids[-1] == [1] and +pipeline.counts == {"low_score": 6}

    def test_publisher_ids_are_replaced_after_the_first_person_without_id(self, engine):
        """The publisher gives 7 and 9, then one person has no id, then it gives both again."""

        def people(step):
            numbers = (UNTRACKED, 9) if 3 <= step < 8 else (7, 9)
            return [
                Pose2D(walking(step, x).keypoints, 0.9, number)
                for number, x in zip(numbers, (300.0, 800.0), strict=True)
            ]

        ids, pipeline = self.observed(engine, people, steps=9)
        assert ids[2] == [7, 9]
        # Theirs are above all that came before: no two people ever have one id.
        assert sorted(ids[-1]) == [10, 11]
        assert pipeline.counts["track_id_replaced"] == 7

    def test_ids_stay_within_32_bits(self, engine):
        def people(step):
            number = 2**32 - 1 if step == 0 else UNTRACKED
            return [Pose2D(walking(step).keypoints, 0.9, number)]

        ids, _ = self.observed(engine, people)
        assert ids[0] == [2**32 - 1] and ids[-1] == [1]

    def test_wrong_keypoint_count_is_counted(self, engine):
        ids, pipeline = self.observed(
            engine,
            lambda step: [
                Pose2D(walking(step).keypoints, 0.9, UNTRACKED),
                Pose2D(np.ones((5, 3)), 0.9, UNTRACKED),
            ],
        )
        assert pipeline.active == (1,)
        assert +pipeline.counts == {"wrong_keypoint_count": 6}

    def test_non_finite_and_huge_coordinates_do_not_disturb_tracking(self, engine):
        def people(step):
            points = walking(step).keypoints
            points[step, :2] = (np.nan, np.inf, -np.inf, 1e300, -1e300, 1e5)[step]
            return [Pose2D(points, 0.9, UNTRACKED)]

        with np.errstate(all="raise"):
            ids, pipeline = self.observed(engine, people)
        assert ids[-1] == [1]
        assert pipeline.counts["bad_keypoint"] > 0
