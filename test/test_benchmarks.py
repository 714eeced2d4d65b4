"""The benchmarks: each one starts. What they measure, they measure outside the tests."""

import os
import re
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"

#: Asks each program for its help, in one process: what they import costs more than they do.
ASK = """
import contextlib, io, runpy, sys, traceback

for path in sys.argv[1:]:
    sys.argv = [path, "--help"]
    said, code = io.StringIO(), "none"
    try:
        with contextlib.redirect_stdout(said):
            runpy.run_path(path, run_name="__main__")
    except SystemExit as end:
        code = end.code
    except Exception:
        traceback.print_exc()
    print(f"{path} ended with {code}, usage: {'usage:' in said.getvalue()}")
"""


def test_every_benchmark_answers_help():
    programs = [
        path for path in sorted(BENCHMARKS.glob("*.py")) if '"__main__"' in path.read_text("utf-8")
    ]
    assert len(programs) > 20
    done = subprocess.run(
        [sys.executable, "-c", ASK, *map(str, programs)],
        cwd=BENCHMARKS,
        env={**os.environ, "PYTHONPATH": f"{BENCHMARKS}:{BENCHMARKS.parent}"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    answers = dict(re.findall(r"^(\S+) ended with (.*)$", done.stdout, flags=re.M))
    wrong = {
        path.name: answer
        for path in programs
        if (answer := answers.get(str(path))) != "0, usage: True"
    }
    assert not wrong, done.stderr
