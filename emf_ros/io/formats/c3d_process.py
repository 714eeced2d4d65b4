"""Reads a C3D in a process of its own: ezc3d ends its process for some damaged files.

python -m emf_ros.io.formats.c3d_process FILE.c3d > arrays.npz
"""

from __future__ import annotations

import io
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np

from ..one_line import one_line

#: Maximum time of a core for a file: at least, s, and s for each MB. ezc3d does not end for some
#: damaged files.
_CPU_S, _CPU_S_PER_MB = 10, 1
#: Maximum time for a file on a busy machine, s.
_TIMEOUT_S = 300.0
#: Maximum memory of the process: bytes, and bytes for each byte of the file. Counts in a damaged
#: file may ask for any amount.
_MEMORY, _MEMORY_PER_BYTE = 1_000_000_000, 100


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The content of a file.

    Returns:
        `points` (3, K, N), `residuals` (K, N), `labels` (K,), `rate_hz`, `unit`, `y_screen`, such
        as "+Z", or empty, and `start`, the text of our own parameter, or empty.

    Raises:
        ValueError: it cannot be read; the message has the reason.
    """
    package = str(Path(__file__).resolve().parents[3])
    before = os.environ.get("PYTHONPATH", "")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([package, before]).rstrip(os.pathsep)}
    words = [sys.executable, "-m", __name__, str(path)]
    try:
        done = subprocess.run(words, capture_output=True, env=env, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise ValueError(f"it is no readable C3D: no end after {_TIMEOUT_S:g} s") from None
    if done.returncode:
        lines = done.stderr.decode(errors="replace").split("\n") if done.returncode > 0 else []
        why = next((line for line in reversed(lines) if line.strip()), "it is damaged")
        raise ValueError(f"it is no readable C3D: {one_line(why)}")
    with np.load(io.BytesIO(done.stdout), allow_pickle=False) as arrays:
        return dict(arrays)


def _main(path: str) -> None:
    import ezc3d

    size = os.path.getsize(path)
    cpu_s, memory = _CPU_S + _CPU_S_PER_MB * size // 1_000_000, _MEMORY + _MEMORY_PER_BYTE * size
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    file = ezc3d.c3d(path)
    point = file["parameters"]["POINT"]
    # The group and the parameter of `c3d.write`.
    start = file["parameters"].get("EMF_ROS", {}).get("START_TIME", {"value": [""]})
    # A parameter holds 255 names; more are in LABELS2, LABELS3 and so on.
    lists = ["LABELS", *(f"LABELS{number}" for number in range(2, 256))]
    labels = [name for each in lists if each in point for name in point[each]["value"]]
    # Optional: the direction that other programs show upwards.
    screen = point.get("Y_SCREEN", {"value": []})["value"]
    out = io.BytesIO()
    np.savez(
        out,
        points=file["data"]["points"][:3],
        residuals=file["data"]["meta_points"]["residuals"][0],
        labels=np.array([str(name).strip() for name in labels]),
        rate_hz=np.float64(point["RATE"]["value"][0]),
        unit=np.array(str(point["UNITS"]["value"][0]).strip().lower()),
        y_screen=np.array(str(screen[0]).strip().upper() if screen else ""),
        start=np.array(str(start["value"][0])),
    )
    sys.stdout.buffer.write(out.getvalue())


if __name__ == "__main__":
    try:
        _main(sys.argv[1])
    except Exception as error:  # a damaged file leads to errors of any type
        sys.exit(str(error) or type(error).__name__)
