"""The comparison of the network's variants: runs that share a folder stay apart."""

import argparse
from pathlib import Path

import pytest
from moving_people import mocap_folder

pytestmark = pytest.mark.usefixtures("one_torch_thread")

TINY = ["lifter.frames=9", "lifter.layers=1", "lifter.dim=32", "lifter.dim_rep=32", "batch=2"]


def test_runs_of_other_lengths_in_one_folder_are_runs_of_their_own(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "benchmarks"))
    import ablations

    mocap = mocap_folder(tmp_path / "mocap")

    def run(out, steps):
        options = {"preset": "lite", "mocap": str(mocap), "windows": 64, "device": "cpu"}
        args = argparse.Namespace(out=str(tmp_path / out), steps=steps, **options)
        return ablations.run(args, "tiny", TINY, 0)

    short, long = run("one", 2), run("one", 6)
    assert short["noisy"] != long["noisy"]
    assert run("other", 6) == long
    assert run("other", 2) == short
