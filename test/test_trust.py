"""Whether whom BlazePose follows is a person."""

import math

import cv2
import numpy as np
import pytest
from conftest import FRAME_NS

from emf_ros.detect import blazepose
from emf_ros.detect.blazepose import BlazePoseDetector
from emf_ros.detect.trust import Trust, evidence

# ----------------------------------------------------------------------------- the evidence


def test_each_answer_counts():
    sure = evidence(1.0, 1.0, 1.0)
    assert math.isfinite(sure) and sure > 3
    for worse in ((0.5, 1.0, 1.0), (1.0, 0.5, 1.0), (1.0, 1.0, 0.5)):
        assert evidence(*worse) < sure
    assert evidence(0.9, 0.5, 0.4) < 0


@pytest.mark.parametrize("place", range(3))
def test_what_is_no_number_speaks_against(place):
    answers = [1.0, 1.0, 1.0]
    answers[place] = math.nan
    without = list(answers)
    without[place] = 0.0
    assert evidence(*answers) == evidence(*without)


def test_one_good_look_is_enough():
    trust = Trust()
    assert not trust.believed and trust.is_due(0)
    trust.add(5.0, 0)
    assert trust.believed and not trust.refused
    assert not trust.is_due(999_000_000) and trust.is_due(1_000_000_000)


def test_little_evidence_adds_up():
    trust = Trust()
    for index in range(3):
        assert not trust.believed and trust.is_due(index * FRAME_NS)
        trust.add(0.4, index * FRAME_NS)
    assert trust.believed


def test_who_is_no_person_is_refused_after_two_looks():
    trust = Trust()
    trust.add(-9.0, 0)
    assert not trust.refused
    trust.add(-9.0, FRAME_NS)
    assert trust.refused and not trust.believed


def test_who_was_believed_is_not_for_one_bad_moment():
    trust = Trust()
    for index in range(3):
        trust.add(5.0, index * 1_000_000_000)
    trust.add(-9.0, 3_000_000_000)
    # It is looked at again soon, but not at the same moment.
    assert trust.believed and not trust.is_due(3_033_000_000) and trust.is_due(3_150_000_000)
    trust.add(5.0, 3_150_000_000)
    assert not trust.is_due(3_300_000_000)
    for index in range(3):
        assert trust.believed
        trust.add(-9.0, 5_000_000_000 + index * 150_000_000)
    assert not trust.believed


def test_a_look_that_gives_no_number_speaks_against():
    trust = Trust()
    trust.add(math.nan, 0)
    trust.add(math.nan, 1)
    assert trust.refused


# ----------------------------------------------------------------------------- the detector


def answers(detector, monkeypatch, ratio):
    """Every look says the same; whom it was asked of."""
    asked = []

    def check(image, poses):
        asked.append(len(poses))
        return [ratio(pose) for pose in poses]

    monkeypatch.setattr(detector, "_check", check)
    return asked


@pytest.fixture(scope="module")
def picture(demo_frames):
    return np.ascontiguousarray(demo_frames[45][:, :, ::-1])


@pytest.fixture
def detector():
    detector = BlazePoseDetector("full", 4, 0.4, "cpu", 1)
    yield detector
    detector.close()


def test_real_people_pass_real_looks(picture, detector):
    found = detector.detect(picture, 0)
    assert len(found) == 2
    assert all(pose.trust.value == 3.0 for pose in detector._poses)


def shapes(seed):
    """A picture of ellipses and bars."""
    generator = np.random.default_rng(seed)
    out = np.full((360, 480, 3), generator.integers(60, 200, 3), np.uint8)
    for _ in range(14):
        colour = tuple(int(v) for v in generator.integers(0, 255, 3))
        place, end = (tuple(int(v) for v in generator.integers(0, (480, 360))) for _ in range(2))
        if generator.random() < 0.5:
            axes = tuple(int(v) for v in generator.integers(8, 70, 2))
            angle = int(generator.integers(0, 180))
            cv2.ellipse(out, place, axes, angle, 0, 360, colour, -1, cv2.LINE_AA)
        else:
            cv2.line(out, place, end, colour, int(generator.integers(3, 30)), cv2.LINE_AA)
    return out


def test_shapes_that_pass_for_people_do_not_pass_real_looks(monkeypatch):
    def reported(seed):
        detector = BlazePoseDetector("full", 4, 0.4, "cpu", 1)
        picture = shapes(seed)
        return sum(len(detector.detect(picture, i * FRAME_NS)) for i in range(6))

    checked = sum(reported(seed) > 0 for seed in range(20))
    monkeypatch.setattr(BlazePoseDetector, "_check", lambda self, image, poses: [9.0] * len(poses))
    unchecked = sum(reported(seed) > 0 for seed in range(20))
    assert checked <= 1 < 3 <= unchecked


def test_a_reading_that_falls_apart_is_never_reported(picture, detector, monkeypatch):
    asked = answers(detector, monkeypatch, lambda pose: -2.5)
    for index in range(12):
        assert detector.detect(picture, index * FRAME_NS) == []
    assert asked
    assert detector.refused["not_a_person"] >= 2
    # Where somebody was refused it takes more to be believed.
    assert detector._nobody
    monkeypatch.setattr(detector, "_check", lambda image, poses: [1.5] * len(poses))
    detector._poses, detector._views = [], blazepose.search_order(*picture.shape[1::-1])
    seen = [len(detector.detect(picture, index * FRAME_NS)) for index in range(12, 24)]
    assert seen[0] == 0 and seen[-1] == 2
    values = [Trust(blazepose._AGAIN).value, Trust().value]
    assert values[0] < values[1]


def test_what_has_been_refused_is_forgotten(picture, detector, monkeypatch):
    answers(detector, monkeypatch, lambda pose: -2.5)
    for index in range(4):
        detector.detect(picture, index * FRAME_NS)
    pose = blazepose._Pose(None, 1.0, detector._nobody[0][1])
    assert detector._first_trust(pose.next, 5 * FRAME_NS).value < 0
    assert detector._first_trust(pose.next, 11_000_000_000).value == 0


def test_few_are_looked_at_again_in_one_picture(picture, detector, monkeypatch):
    monkeypatch.setattr(blazepose, "_CHECKS", 1)
    asked = answers(detector, monkeypatch, lambda pose: 5.0)
    assert len(detector.detect(picture, 0)) == 1
    assert len(detector.detect(picture, FRAME_NS)) == 2
    for index in range(2, 29):
        assert len(detector.detect(picture, index * FRAME_NS)) == 2
    # Nobody new: the next looks come after a second.
    assert asked == [1, 1]


def test_who_is_gone_from_a_square_that_stays_is_not_reported_for_ever(
    picture, detector, monkeypatch
):
    """Such as a coat on a chair, to which the square has stuck."""
    assert len(detector.detect(picture, 0)) == 2
    answers(detector, monkeypatch, lambda pose: -2.5)
    detector._views = iter(())
    counts = [len(detector.detect(picture, index * FRAME_NS)) for index in range(1, 75)]
    assert counts[0] == 2 and counts[-1] == 0
    assert detector._poses == []
