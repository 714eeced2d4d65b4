"""The camera is on another computer, and the cable between the two is cut and mended."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ros_session import TIMEOUT_S

ROOT = Path(__file__).resolve().parents[1]

#: Makes a network namespace, in which its user may make others.
NAMESPACE = ["unshare", "-rn"]
#: Ends with 0 where the machine can do all that `two_computers.py` does.
PROBE = "ip link add robot type veth peer name camera && unshare -n true"


def test_a_cut_cable_ends_the_people_and_a_mended_one_brings_them_back(
    demo_keypoints, tmp_path, not_run
) -> None:
    lacking = [name for name in ("unshare", "nsenter", "ip") if not shutil.which(name)]
    if lacking:
        not_run(f"a cut cable between two computers: {', '.join(lacking)} is not installed")
        pytest.skip(f"no {', '.join(lacking)}")
    probe = subprocess.run([*NAMESPACE, "sh", "-c", PROBE], capture_output=True, text=True)
    if probe.returncode:
        reason = f"no networks of one's own here ({probe.stderr.strip()})"
        not_run(f"a cut cable between two computers: {reason}")
        pytest.skip(reason)
    recorded = tmp_path / "keypoints.json"
    people = [[(i, k.tolist(), s) for i, k, s in frame] for frame in demo_keypoints]
    recorded.write_text(json.dumps(people))
    program = [sys.executable, str(Path(__file__).with_name("two_computers.py")), str(recorded)]
    done = subprocess.run(
        [*NAMESPACE, *program],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True,
        text=True,
        timeout=4 * TIMEOUT_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
