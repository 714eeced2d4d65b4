"""Ray on this machine: a killed worker loses nothing, and nothing is done twice.

`make cluster` runs it: Ray is large, and no part of `make env`. pytest does not collect this file
by itself.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from test_batch import NAMES, SETTINGS, results, sources

from emf_ros.batch import batch, cluster
from emf_ros.cli.main import main

__all__ = ["sources"]

ROOT = Path(__file__).resolve().parents[1]
#: Port of the cluster.
PORT = 26379
ADDRESS = f"127.0.0.1:{PORT}"


@pytest.fixture(scope="module")
def address():
    """A cluster of this machine with two CPUs."""
    ray = [sys.executable, "-m", "ray.scripts.scripts"]
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    start = [*ray, "start", "--head", "--port", str(PORT), "--num-cpus", "2"]
    start += ["--include-dashboard", "false", "--disable-usage-stats"]
    subprocess.run(start, env=env, check=True, capture_output=True, timeout=120)
    yield ADDRESS
    subprocess.run([*ray, "stop"], env=env, check=True, capture_output=True, timeout=120)


def workers() -> list[psutil.Process]:
    """The processes of Ray that lift."""
    return [
        p
        for p in psutil.process_iter(["cmdline"])
        if "ray::do" in " ".join(p.info["cmdline"] or [])
    ]


def test_a_killed_worker_of_the_cluster_loses_nothing(address, sources, tmp_path) -> None:
    out = tmp_path / "out"
    jobs = batch.plan(sources, str(out), (), SETTINGS)
    names, before, killed = [], {}, 0
    for outcome in cluster.outcomes(jobs, SETTINGS, address):
        assert not outcome.error
        if not names:
            before = results(out)
            for process in workers():
                process.send_signal(signal.SIGKILL)
                killed += 1
        names.append(outcome.name)
    assert killed
    assert sorted(names) == sorted(job.name for job in jobs)
    after = results(out)
    assert set(after) == NAMES
    assert {name: after[name] for name in before} == before


def test_the_command_lifts_on_a_cluster_and_resumes(address, sources, tmp_path, capfd) -> None:
    words = ["--device", "cpu", "--out-folder", str(tmp_path / "out"), "--cluster", address]
    assert main(["lift", *sources[:2], *words]) == 0
    before = results(tmp_path / "out")
    assert main(["lift", *sources, *words]) == 0
    after = results(tmp_path / "out")
    assert set(after) == NAMES and {name: after[name] for name in before} == before
    assert capfd.readouterr().out.count(" poses of ") == len(NAMES)


def test_a_cluster_that_does_not_answer_is_refused_in_one_line(sources, tmp_path, capfd) -> None:
    words = ["--out-folder", str(tmp_path / "out"), "--cluster", "127.0.0.1:1"]
    assert main(["lift", *sources, *words]) == 1
    assert "no Ray cluster answers at 127.0.0.1:1" in capfd.readouterr().err.splitlines()[-1]
