"""The help of `emf-ros`: complete, with examples that are accepted; completion in the shell."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from emf_ros.cli.main import _parser


def commands(parser: argparse.ArgumentParser, name: str = "") -> dict[str, argparse.ArgumentParser]:
    """The parser of each command that has no commands of its own, by its words."""
    groups = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not groups:
        return {name: parser}
    found = {}
    for word, part in groups[0].choices.items():
        found |= commands(part, f"{name} {word}".strip())
    return found


COMMANDS = commands(_parser())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_argument_has_a_description(name: str) -> None:
    without = [a.dest for a in COMMANDS[name]._actions if not a.help]
    assert without == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_that_it_accepts(name: str) -> None:
    (example,) = re.findall(r"Example: emf-ros (.*)", COMMANDS[name].epilog or "")
    assert example.startswith(name)
    _parser().parse_args(shlex.split(example))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("emf-ros cal", {"calibrate"}),
        ("emf-ros lift --detector m", {"mediapipe"}),
        ("emf-ros lift clip_", {"clip_of_people.mp4"}),
    ],
)
def test_the_shell_completes(line: str, expected: set[str], tmp_path: Path) -> None:
    """As the shell asks: argcomplete's functions for bash, zsh and fish set these variables."""
    (tmp_path / "clip_of_people.mp4").touch()
    answer = tmp_path / "answer"
    asked = {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
    }
    # The package is that of the clone, also where the process starts in another folder.
    root = str(Path(__file__).resolve().parents[1])
    paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    subprocess.run(
        [sys.executable, "-m", "emf_ros.cli"],
        env={**os.environ, **asked, "PYTHONPATH": paths},
        cwd=tmp_path,
        check=True,
        timeout=800,
    )
    assert set(answer.read_text().split("\n")) == expected


def test_without_torch_a_command_that_needs_it_says_so_in_one_line(tmp_path: Path) -> None:
    code = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('torch', 'onnx', 'safetensors'):
            raise ModuleNotFoundError('No module named ' + name, name=name)
sys.meta_path.insert(0, Absent())
from emf_ros.cli.main import main
for line in sys.argv[1:]:
    assert main(line.split()) == 1, line
"""
    lines = [
        "train --mocap mocap --out run",
        "eval",
        "export --preset lite --format onnx",
        "import-published best.pth.tr --out init.safetensors",
        "models",
    ]
    done = subprocess.run(
        [sys.executable, "-c", code, *lines],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    said = done.stderr.splitlines()
    assert [line.split()[1] for line in said] == [line.split()[0] for line in lines]
    assert all("pip install torch onnx safetensors" in line for line in said)
