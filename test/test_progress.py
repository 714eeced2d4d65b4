"""Progress: a bar on a terminal, a few lines in a log."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest

from emf_ros.io import progress
from emf_ros.io.progress import Progress, track


class Clock:
    """A time that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_a_log_gets_a_line_for_a_tenth(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("lifting", 10_000) as bar:
        for _ in range(10_000):
            clock.now += 0.03
            bar.update()
    said = lines(capsys)
    # 300 s: one after 10 s, one for each tenth from there, one at the end.
    assert 10 <= len(said) <= 12
    assert said[0].startswith("lifting: 334 of 10000 (3 %), 10 s, 33.3 frame/s")
    assert said[-1].startswith("lifting: 10000 of 10000 (100 %), 300 s")


def test_a_log_gets_a_line_a_minute(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    for total in (None, 10**9):
        with Progress("reading", total) as bar:
            for _ in range(600):
                clock.now += 1
                bar.update()
        assert 10 <= len(lines(capsys)) <= 12


def test_a_short_loop_says_one_line(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(range(500), "lifting", 500)) == list(range(500))
    assert len(lines(capsys)) == 1
    assert list(track([], "lifting")) == [] and lines(capsys) == []
    assert list(track([1], "lifting", shown=False)) == [1] and lines(capsys) == []


def test_a_run_that_goes_on_counts_from_where_it_was(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    bar = Progress("training", 100, "step", done=40)
    bar.note("position 50 mm")
    clock.now += 20
    bar.update(10)
    bar.close()
    assert (
        lines(capsys)
        == [
            "training: 50 of 100 (50 %), 20 s, 0.5 step/s, position 50 mm",
        ]
        * 2
    )


def test_a_terminal_gets_a_bar() -> None:
    primary, secondary = pty.openpty()
    # 24 rows and 80 columns.
    fcntl.ioctl(secondary, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    code = "from emf_ros.io.progress import track\nfor _ in track(range(9), 'lifting', 9): pass"
    subprocess.run([sys.executable, "-c", code], stderr=secondary, check=True)
    os.close(secondary)
    shown = os.read(primary, 1 << 16).decode()
    os.close(primary)
    assert "\r" in shown and "lifting: 100%" in shown
