"""Feeds changed messages and files to every reader, for a given time: `make fuzz SECONDS=600`.

The examples are other ones in each round. A failure ends the run; hypothesis keeps its smallest
example in .hypothesis and repeats it first in the next run.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="the round then running ends")
    parser.add_argument("names", nargs="*", help="test files; default: all of properties")
    args = parser.parse_args()
    files = args.names or sorted(map(str, (ROOT / "test").glob("test_*_properties.py")))
    end, rounds = time.monotonic() + args.seconds, 0
    while time.monotonic() < end:
        rounds += 1
        command = [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", *files]
        code = subprocess.run(command, cwd=ROOT, env={**os.environ, "EMF_ROS_FUZZ": "1"}).returncode
        if code:
            return code
    print(f"{rounds} rounds of {len(files)} files, no failure")
    return 0


if __name__ == "__main__":
    sys.exit(main())
