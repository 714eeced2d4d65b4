"""BlazePose with a budget of time: on live images, on a machine with simulated clocks."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from inputs import FRAME_NS
from simulated_machine import OVERHEAD_S, Machine

from emf_ros.detect.blazepose import BlazePoseDetector
from emf_ros.detect.blazepose.live import CANDIDATE_MEMORY_NS, Candidates, Turns, Work
from emf_ros.detect.blazepose.networks import DETECTION_NETWORK, LANDMARK_NETWORK
from emf_ros.detect.protocol import LiveDetector
from emf_ros.geometry.crops import Roi
from emf_ros.people import PeopleTracker

RATE_HZ = 30.0


@pytest.fixture(scope="module")
def picture(demo_frames) -> np.ndarray:
    """RGB, two people."""
    return np.ascontiguousarray(demo_frames[45][:, :, ::-1])


class Live:
    """A live detector on a simulated machine.

    Attributes:
        networks: of the inferences so far.
    """

    def __init__(self, load: float = 1.0, max_people: int = 4) -> None:
        self.machine = Machine(load)
        self.detector = BlazePoseDetector(
            "full", max_people, 0.2, "cpu", 1, budget=self.machine.budget()
        )
        self.networks: list[int] = []
        self.machine.runs(self.detector, self.networks.append)

    def images(self, seconds: float, rate_hz: float = RATE_HZ):
        """Stamps, s, of the images that the detector takes."""
        for _ in self.machine.images(rate_hz, seconds):
            yield self.machine.now_s

    def detect(self, image: np.ndarray) -> list:
        """The people that are reported; then the rest of the work."""
        people = self.detector.detect(image, round(self.machine.now_s * 1e9))
        self.machine.work(OVERHEAD_S)
        self.detector.detect_new()
        return people


def test_the_first_image_shows_its_people_on_an_idle_machine(picture) -> None:
    assert len(Live().detect(picture)) == 2


def test_people_are_passed_on_before_new_ones_are_detected(picture) -> None:
    live = Live()
    live.detect(picture)
    for _ in live.images(0.5):
        live.networks.clear()
        people = live.detector.detect(picture, round(live.machine.now_s * 1e9))
        assert live.networks == [LANDMARK_NETWORK] * len(people) == [LANDMARK_NETWORK] * 2
        live.detector.detect_new()
        # Once for each image.
        count = len(live.networks)
        live.detector.detect_new()
        assert len(live.networks) == count


def person_box(picture: np.ndarray, leftmost: bool) -> tuple[int, ...]:
    """Left, top, width and height of one of the two people, px."""
    people = sorted(
        BlazePoseDetector("full", 2, 0.2, "cpu", 1).detect(picture, 0), key=lambda p: p.box()[0]
    )
    return tuple(people[0 if leftmost else -1].box().astype(int))


@pytest.mark.parametrize("load", [1.0, 3.0])
@pytest.mark.parametrize("leftmost", [True, False])
def test_a_new_person_is_reported_within_two_seconds(picture, load, leftmost) -> None:
    x, y, width, height = person_box(picture, leftmost)
    before = picture.copy()
    before[max(y - 30, 0) : y + height + 30, max(x - 30, 0) : x + width + 30] = 128
    live = Live(load)
    for _ in live.images(1.5):
        alone = live.detect(before)
    assert len(alone) == 1
    came_s = live.machine.now_s
    for _ in live.images(4.0):
        stamp_s = live.machine.now_s
        if len(live.detect(picture)) == 2:
            break
    assert stamp_s - came_s < 2.0


def test_images_that_come_slowly_get_no_more_inferences(picture) -> None:
    """Once more people could come, at each load and each rate."""

    def per_image(load: float, rate_hz: float) -> float:
        live, images = Live(load), 0
        for stamp_s in live.images(2.5, rate_hz):
            live.detect(picture)
            images += 1
            if stamp_s < 1.0:
                live.networks.clear()
                images = 0
        # Without the landmarks of the two people.
        return len(live.networks) / images - 2

    idle = per_image(1.0, 30.0)
    assert idle > 0.8
    assert per_image(4.0, 30.0) < idle and per_image(3.0, 8.0) < idle
    # A tile with each image, and the verification of two people a second. There is time for six.
    assert per_image(1.0, 8.0) < 2


def test_a_false_positive_is_not_reported_before_its_verification(picture, monkeypatch) -> None:
    live = Live(3.0)
    monkeypatch.setattr(
        live.detector, "_likelihood_ratios", lambda pyramid, people: [-2.5] * len(people)
    )
    for _ in live.images(1.0):
        assert live.detect(picture) == []
    assert live.detector.refused["false_positive"] >= 2


def test_a_confirmed_track_that_drifts_is_rejected_on_a_busy_machine(picture, monkeypatch) -> None:
    live = Live(3.0)
    for _ in live.images(0.5):
        people = live.detect(picture)
    assert len(people) == 2
    monkeypatch.setattr(
        live.detector, "_likelihood_ratios", lambda pyramid, people: [-2.5] * len(people)
    )
    for _ in live.images(8.0):
        people = live.detect(picture)
    assert people == []


def test_a_lost_person_is_detected_again_within_a_second_on_a_busy_machine(picture) -> None:
    live = Live(3.0)
    for _ in live.images(1.5):
        people = live.detect(picture)
    assert len(people) == 2
    infer = live.detector._infer_landmarks
    live.detector._infer_landmarks = lambda pyramid, rois: [
        person if index else None for index, person in enumerate(infer(pyramid, rois))
    ]
    assert len(live.detect(picture)) == 1
    live.detector._infer_landmarks = infer
    lost_s = live.machine.now_s
    for _ in live.images(3.0):
        if len(live.detect(picture)) == 2:
            break
    assert live.machine.now_s - lost_s < 1.0


def test_a_pause_begins_anew(picture) -> None:
    live = Live(3.0)
    for _ in live.images(0.5):
        live.detect(picture)
    live.machine.now_s += 5.0
    stamps = []
    for stamp_s in live.images(1.0):
        stamps.append(stamp_s)
        if live.detect(picture):
            break
    assert stamps[-1] - stamps[0] < 0.3


def test_several_crops_run_in_one_pass_where_the_networks_take_them(picture) -> None:
    live, sizes = Live(), []
    backends = live.detector._networks._backends
    backends.runner = replace(backends.runner, batch_size=4)
    run = live.detector._networks.run

    def noted(jobs):
        sizes.extend((job.network, len(job.rois)) for job in jobs)
        return run(jobs)

    live.detector._networks.run = noted
    assert len(live.detect(picture)) == 2
    assert (DETECTION_NETWORK, 4) in sizes and (LANDMARK_NETWORK, 2) in sizes


def test_without_a_budget_the_time_has_no_influence(picture) -> None:
    detector = BlazePoseDetector("full", 4, 0.2, "cpu", 1)
    detector.detect(picture, 0)
    tracked = list(detector._tracked)
    detector.detect_new()
    assert detector._tracked == tracked and isinstance(detector, LiveDetector)


# ------------------------------------------------------------------------------------ order


def test_kinds_of_work_take_turns() -> None:
    turns, due = Turns(), {Work.TILE, Work.VERIFY_AGAIN}
    assert [turns.take(due) for _ in range(4)] == [Work.TILE, Work.VERIFY_AGAIN] * 2
    # A kind that was not due for long comes first.
    assert turns.take({*due, Work.VERIFY_NEW}) is Work.VERIFY_NEW
    assert turns.take({*due, Work.VERIFY_NEW}) in due


def test_candidates_wait_in_their_order_and_expire() -> None:
    candidates = Candidates()
    rois = [Roi(float(x), 0.0, 10.0, 0.0) for x in range(3)]
    for roi in rois:
        candidates.add(roi, 0)
    candidates.drop(CANDIDATE_MEMORY_NS - 1, lambda roi: roi == rois[1])
    assert len(candidates) == 2 and candidates.take(1) == [rois[0]]
    candidates.drop(CANDIDATE_MEMORY_NS, lambda roi: False)
    assert not candidates


# ------------------------------------------------------------------------------------ tracker


def test_a_detector_without_a_budget_has_nothing_more_to_do(picture) -> None:
    class Own:
        def __init__(self) -> None:
            self.blazepose = BlazePoseDetector("full", 2, 0.2, "cpu", 1)
            self.layout, self.refused = self.blazepose.layout, self.blazepose.refused
            self.description, self.detect = "own", self.blazepose.detect
            self.close = self.blazepose.close

    people = PeopleTracker(Own().layout, Own())
    people.update(picture, FRAME_NS)
    people.detect_new()
    assert people.budget is None
    small = cv2.resize(picture, None, fx=0.5, fy=0.5)
    assert people.update(small, 2 * FRAME_NS) is not None
