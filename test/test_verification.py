"""Verification: false positives of BlazePose are rejected, people are confirmed."""

import math

import cv2
import numpy as np
import pytest
from inputs import FRAME_NS

from emf_ros.detect.blazepose import BlazePoseDetector
from emf_ros.detect.blazepose import detector as blazepose
from emf_ros.detect.blazepose.tiles import tile_sequence
from emf_ros.detect.blazepose.verification import (
    Verification,
    log_likelihood_ratio,
)

# ----------------------------------------------------------------------------- the evidence


def test_each_probability_raises_the_log_likelihood_ratio():
    sure = log_likelihood_ratio(1.0, 1.0, 1.0)
    assert math.isfinite(sure) and sure > 3
    for worse in ((0.5, 1.0, 1.0), (1.0, 0.5, 1.0), (1.0, 1.0, 0.5)):
        assert log_likelihood_ratio(*worse) < sure
    assert log_likelihood_ratio(0.9, 0.5, 0.4) < 0


@pytest.mark.parametrize("place", range(3))
def test_nan_probability_counts_as_zero(place):
    probabilities = [1.0, 1.0, 1.0]
    probabilities[place] = math.nan
    without = list(probabilities)
    without[place] = 0.0
    assert log_likelihood_ratio(*probabilities) == log_likelihood_ratio(*without)


def test_one_strong_verification_confirms():
    verified = Verification()
    assert not verified.confirmed and verified.is_due(0)
    verified.add(5.0, 0)
    assert verified.confirmed and not verified.rejected
    assert not verified.is_due(999_000_000) and verified.is_due(1_000_000_000)


def test_weak_evidence_adds_up_to_confirmation():
    verified = Verification()
    for index in range(3):
        assert not verified.confirmed and verified.is_due(index * FRAME_NS)
        verified.add(0.4, index * FRAME_NS)
    assert verified.confirmed


def test_false_positive_is_rejected_after_two_verifications():
    verified = Verification()
    verified.add(-9.0, 0)
    assert not verified.rejected
    verified.add(-9.0, FRAME_NS)
    assert verified.rejected and not verified.confirmed


def test_confirmed_person_stays_confirmed_after_one_failed_verification():
    verified = Verification()
    for index in range(3):
        verified.add(5.0, index * 1_000_000_000)
    verified.add(-9.0, 3_000_000_000)
    # The next verification is due soon, but at another moment.
    assert (
        verified.confirmed and not verified.is_due(3_033_000_000) and verified.is_due(3_150_000_000)
    )
    verified.add(5.0, 3_150_000_000)
    assert not verified.is_due(3_300_000_000)
    for index in range(3):
        assert verified.confirmed
        verified.add(-9.0, 5_000_000_000 + index * 150_000_000)
    assert not verified.confirmed


def test_nan_ratio_leads_to_rejection():
    verified = Verification()
    verified.add(math.nan, 0)
    verified.add(math.nan, 1)
    assert verified.rejected


# ----------------------------------------------------------------------------- the detector


def fix_ratio(detector, monkeypatch, ratio):
    """Give every verification this ratio. Returns the number of verifications of each frame."""
    verified = []

    def ratios(pyramid, poses):
        verified.append(len(poses))
        return [ratio] * len(poses)

    monkeypatch.setattr(detector, "_likelihood_ratios", ratios)
    return verified


@pytest.fixture(scope="module")
def picture(demo_frames):
    return np.ascontiguousarray(demo_frames[45][:, :, ::-1])


@pytest.fixture
def detector():
    detector = BlazePoseDetector("full", 4, 0.4, "cpu", 1)
    yield detector
    detector.close()


def test_real_people_are_confirmed_at_once(picture, detector):
    found = detector.detect(picture, 0)
    assert len(found) == 2
    assert all(pose.verification.ratio > 1.0 for pose in detector._tracked)


def shapes(seed):
    """An image of ellipses and bars."""
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


def test_verification_rejects_poses_in_drawn_shapes(monkeypatch):
    def reported(seed):
        detector = BlazePoseDetector("full", 4, 0.4, "cpu", 1)
        picture = shapes(seed)
        return sum(len(detector.detect(picture, i * FRAME_NS)) for i in range(6))

    checked = sum(reported(seed) > 0 for seed in range(20))
    monkeypatch.setattr(
        BlazePoseDetector, "_likelihood_ratios", lambda self, pyramid, poses: [9.0] * len(poses)
    )
    unchecked = sum(reported(seed) > 0 for seed in range(20))
    assert unchecked >= 3 and checked <= unchecked / 3


def test_false_positive_is_never_reported_and_its_place_needs_more_evidence(
    picture, detector, monkeypatch
):
    verified = fix_ratio(detector, monkeypatch, -2.5)
    for index in range(12):
        assert detector.detect(picture, index * FRAME_NS) == []
    assert verified
    assert detector.refused["false_positive"] >= 2
    # At the place of a rejected pose, confirmation takes more evidence.
    assert len(detector._rejected)
    fix_ratio(detector, monkeypatch, 1.5)
    detector._tracked = []
    detector._tiles._sequence = tile_sequence(*picture.shape[1::-1])
    seen = [len(detector.detect(picture, index * FRAME_NS)) for index in range(12, 24)]
    assert seen[0] == 0 and seen[-1] == 2


def test_rejected_place_is_forgotten_after_ten_seconds(picture, detector, monkeypatch):
    fix_ratio(detector, monkeypatch, -2.5)
    for index in range(4):
        detector.detect(picture, index * FRAME_NS)
    (_, roi), *_ = detector._rejected._places
    assert detector._rejected.first_ratio(roi, 5 * FRAME_NS) < 0
    assert detector._rejected.first_ratio(roi, 11_000_000_000) == 0


def test_verifications_per_frame_are_limited(picture, detector, monkeypatch):
    monkeypatch.setattr(blazepose, "MAX_VERIFICATIONS_PER_FRAME", 1)
    verified = fix_ratio(detector, monkeypatch, 5.0)
    assert len(detector.detect(picture, 0)) == 1
    assert len(detector.detect(picture, FRAME_NS)) == 2
    for index in range(2, 29):
        assert len(detector.detect(picture, index * FRAME_NS)) == 2
    # No new person: the next verifications are due after a second.
    assert verified == [1, 1]


def test_confirmed_track_that_drifts_onto_an_object_is_rejected(picture, detector, monkeypatch):
    """The ROI has moved onto an object, such as a coat on a chair."""
    assert len(detector.detect(picture, 0)) == 2
    fix_ratio(detector, monkeypatch, -2.5)
    detector._tiles._sequence = iter(())
    counts = [len(detector.detect(picture, index * FRAME_NS)) for index in range(1, 75)]
    assert counts[0] == 2 and counts[-1] == 0
    assert detector._tracked == []
