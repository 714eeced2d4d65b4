"""The check for the first machine with a GPU, with the CPU in the GPU's place."""

import re
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture
def gpu(monkeypatch):
    """The check. It runs in this process, which has loaded torch and onnxruntime already."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "benchmarks"))
    import gpu

    return gpu


def test_rehearsal_runs_each_part_and_keeps_its_whole_output(gpu, tmp_path, capsys):
    assert gpu.main(["--rehearse", "--log", str(tmp_path / "gpu_check.log")]) == 0
    out = capsys.readouterr().out
    assert (tmp_path / "gpu_check.log").read_text() == out
    parts = ("Machine", "Lifter", "Detector", "Both at once", "The pass alone")
    assert all(f"\n{part}\n" in out for part in parts)
    checks = re.findall(r"^(ok  |FAIL) (.+?):", out, re.MULTILINE)
    assert len(checks) == 8 and {result for result, _ in checks} == {"ok  "}
    rows = re.findall(r"^tiny, (\S+): ms by number of people: 1: [\d.]+$", out, re.MULTILINE)
    assert rows == ["FLASH_ATTENTION", "MATH", "torch.compile"]
    assert "all right" in out


def test_wrong_poses_and_parts_that_break_are_failures(gpu, tmp_path, capsys, monkeypatch):
    class Off(gpu.TorchEngine):
        def lift(self, keypoints):
            positions, stddev = super().lift(keypoints)
            return positions + np.float32(0.01), stddev

    monkeypatch.setattr(gpu, "engines", lambda rehearsal: {"mine": lambda: Off(gpu.LITE, "cpu", 1)})
    monkeypatch.delattr(gpu, "detector")
    for part in ("together", "passes"):
        monkeypatch.setattr(gpu, part, lambda *_: None)
    assert gpu.main(["--rehearse", "--log", str(tmp_path / "gpu_check.log")]) == 1
    out = capsys.readouterr().out
    assert "FAIL mine is right: off by 10.0" in out and "failed: mine is right, Detector" in out


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="there is a GPU: the check would run")
def test_without_a_gpu_the_check_says_so_and_fails(gpu, tmp_path, capsys):
    assert gpu.main(["--log", str(tmp_path / "gpu_check.log")]) == 1
    assert capsys.readouterr().out == "there is no CUDA GPU\n"
