"""The check for the first machine with a GPU, with the CPU in the GPU's place."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

CHECK = Path(__file__).parent.parent / "benchmarks" / "gpu.py"
#: Maximum time of a rehearsal on a busy machine, s.
TIMEOUT_S = 600.0


def run(*arguments):
    return subprocess.run(
        [sys.executable, str(CHECK), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )


def test_rehearsal_runs_each_part_and_keeps_its_whole_output(tmp_path):
    done = run("--rehearse", "--log", tmp_path / "gpu_check.log")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "gpu_check.log").read_text() == done.stdout
    parts = ("Machine", "Lifter", "Detector", "Both at once")
    assert all(f"\n{part}\n" in done.stdout for part in parts)
    checks = re.findall(r"^(ok  |FAIL) (.+?):", done.stdout, re.MULTILINE)
    assert len(checks) == 8 and {result for result, _ in checks} == {"ok  "}
    assert "all right" in done.stdout


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="there is a GPU: the check would run")
def test_without_a_gpu_the_check_says_so_and_fails(tmp_path):
    done = run("--log", tmp_path / "gpu_check.log")
    assert done.returncode == 1 and "there is no CUDA GPU" in done.stdout
