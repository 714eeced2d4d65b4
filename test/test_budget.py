"""The time that live detectors spend on new people, on a machine with simulated clocks."""

import pytest
from simulated_machine import OVERHEAD_S, Machine

from emf_ros.detect.budget import BUSY_SHARE, START_SHARE, DetectionBudget

#: CPU time of the landmarks of a person, and of a piece of other work, s.
PIECE_S = 0.01
RATE_HZ = 30.0


class Run:
    """A live detector with more other work than it ever has time for.

    Args:
        load: see `Machine`.
        people: number of tracked people.
        used_by_others: number of cores of two that others use; the load then follows from it.

    Attributes:
        images, pieces: number of images and of pieces of other work in each second.
        shares: that are allowed, at each image.
        most: maximum number of pieces with one image in the last second.
    """

    def __init__(
        self,
        load: float = 1.0,
        people: int = 1,
        rate_hz: float = RATE_HZ,
        seconds: int = 6,
        used_by_others: float | None = None,
    ) -> None:
        machine = Machine(load)
        self.budget = machine.budget()
        self.images, self.pieces = [0] * seconds, [0] * seconds
        self.shares: list[float] = []
        used, self.most = 0.0, 0
        for _ in machine.images(rate_hz, seconds):
            begin_s, begin_cpu_s = machine.now_s, machine.cpu_s
            self.budget.begin()
            machine.work(PIECE_S * people)
            self.budget.work_done(people > 0)
            machine.work(OVERHEAD_S)
            count = 0
            while self.budget.allows():
                self.budget.begin_piece()
                machine.work(PIECE_S)
                self.budget.end_piece()
                count += 1
            second = int(begin_s)
            self.images[second] += 1
            self.pieces[second] += count
            self.shares.append(self.budget.share)
            self.most = max(self.most, count) if second == seconds - 1 else 0
            if used_by_others is not None:
                period_s = max(machine.now_s - begin_s, 1 / rate_hz)
                used += min(period_s / 0.3, 1.0) * ((machine.cpu_s - begin_cpu_s) / period_s - used)
                machine.load = max(1.0, used_by_others + used)

    @property
    def per_image(self) -> float:
        """Mean number of pieces with an image, in the second half."""
        half = len(self.images) // 2
        return sum(self.pieces[half:]) / sum(self.images[half:])


def test_an_idle_machine_spends_most_of_the_time_to_spare_and_keeps_the_rate() -> None:
    run = Run()
    assert run.images[-1] >= 29
    # 14 of 33 ms are in use.
    assert 0.6 < run.pieces[-1] * PIECE_S / (1 - RATE_HZ * (PIECE_S + OVERHEAD_S)) < 0.9


@pytest.mark.parametrize("load", [1.5, 2.0, 3.0, 4.0])
@pytest.mark.parametrize("people", [1, 2, 5])
def test_a_busy_machine_gets_one_piece_at_a_time_and_a_fixed_share(load, people) -> None:
    run = Run(load, people)
    assert run.most <= 1 and run.budget.share == pytest.approx(BUSY_SHARE, abs=0.02)
    # New people are still detected, and the landmarks keep most of the time.
    assert 3 <= run.pieces[-1] <= 13
    rate_hz = min(RATE_HZ, 1 / (load * (PIECE_S * people + OVERHEAD_S)))
    assert run.images[-1] > 0.7 * rate_hz


def test_tracking_that_takes_all_the_time_leaves_the_fixed_share() -> None:
    """No other program wants the cores, but the detector is late by itself."""
    run = Run(people=5)
    assert run.most <= 1 and 10 <= run.pieces[-1] <= 13
    assert run.images[-1] > 0.8 / (5 * PIECE_S + OVERHEAD_S)


def test_work_with_an_image_falls_with_the_load() -> None:
    idle, *busy = (Run(load, people=2).per_image for load in (1.0, 1.5, 2.0, 3.0, 4.0, 6.0))
    assert max(busy) < idle
    assert Run(1.5).per_image < 0.5 * Run(1.0).per_image


@pytest.mark.parametrize("used_by_others", [0.5, 0.8, 1.0, 1.2, 1.6])
def test_the_share_settles_when_its_use_makes_the_machine_busy(used_by_others) -> None:
    """Half used, the machine is idle; with all of the person detection it is busy."""
    run = Run(seconds=8, used_by_others=used_by_others)
    last = run.pieces[4:]
    assert max(last) - min(last) <= 2
    assert max(run.shares[-60:]) - min(run.shares[-60:]) < 0.06


def test_load_that_ends_gives_the_time_back_within_two_seconds() -> None:
    machine = Machine(load=3.0)
    budget = machine.budget()
    for load in (3.0, 1.0):
        machine.load = load
        for _ in machine.images(RATE_HZ, 2.0):
            budget.begin()
            machine.work(PIECE_S)
            budget.work_done(True)
        assert (budget.share > 0.4) == (load == 1.0)


def test_without_people_half_of_the_time_is_allowed_on_a_busy_machine() -> None:
    run = Run(load=3.0, people=0)
    assert run.budget.share == START_SHARE
    assert run.pieces[-1] > 2.5 * Run(load=3.0).pieces[-1]


def test_a_very_slow_inference_is_not_owed_for_long() -> None:
    machine = Machine()
    budget = machine.budget()
    budget.begin()
    budget.begin_piece()
    machine.work(60.0)
    budget.end_piece()
    assert not budget.allows()
    for _ in machine.images(RATE_HZ, 1.5):
        budget.begin()
        machine.work(0.03)
        budget.work_done(True)
    assert budget.allows()


def test_diagnostics_say_how_much_is_used_and_whether_it_is_slowed_down() -> None:
    values = Run().budget.diagnostics()
    assert 0.2 < float(values["detection_share"]) < 0.6
    busy = Run(load=3.0).budget
    values = busy.diagnostics()
    assert values["person_detection"].startswith("slowed down in")
    assert values["detection_share_allowed"] == "0.12"
    # Of the time since the last reading there is nothing to say.
    assert busy.diagnostics()["person_detection"] == "as fast as needed"


def test_clocks_of_other_threads_give_finite_shares() -> None:
    """In Python each image may come from another thread, with a CPU clock of its own."""
    now_s, cpu_s = iter(range(1000)), iter([5.0, 0.0, 900.0] * 300)
    budget = DetectionBudget(wall=lambda: 0.03 * next(now_s), cpu=lambda: next(cpu_s))
    for _ in range(100):
        budget.begin()
        budget.work_done(True)
        if budget.allows():
            budget.begin_piece()
            budget.end_piece()
        assert BUSY_SHARE <= budget.share <= 1.0
