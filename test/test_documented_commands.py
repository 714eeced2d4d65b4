"""The commands of all pages: each is read by its own parser, without running it."""

from __future__ import annotations

import argparse
import re
import shlex
from configparser import ConfigParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from documentation import PAGES, ROOT, code_lines, page_id, spans

from emf_ros.cli.main import _parser
from emf_ros.lift.dispatch import DISCOVERY_S
from emf_ros.nodes.launch_arguments import demo_arguments, lift_arguments
from emf_ros.nodes.launch_plan import FILE_PARAMETERS, plan
from emf_ros.nodes.param_specs import ParamError
from emf_ros.nodes.params import NODES

MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
PARAMETERS = {node.node: node.specs() for node in NODES}


def programs() -> set[str]:
    """The programs that `ros2 run emf_ros` starts."""
    read = ConfigParser()
    read.read(ROOT / "setup.cfg")
    entries = read["options.entry_points"]["console_scripts"]
    return set(re.findall(r"^(\S+) = ", entries, re.MULTILINE))


def commands(page: Path, pattern: str) -> list[list[str]]:
    """The words of each command of a page's code blocks that fits a pattern, up to `|` or `>`."""
    found = []
    for line in code_lines(page.read_text("utf-8")):
        # A place in the installed package is that of the clone.
        line = re.sub(r"\$\(ros2 pkg prefix emf_ros\)/share/emf_ros", str(ROOT), line)
        match = re.match(rf"(?:\w+=\S* )*({pattern}.*)", line)
        if match:
            words = shlex.split(match[1], comments=True)
            ends = [n for n, word in enumerate(words) if word in ("|", ">", "&&")]
            found.append(words[: min(ends, default=len(words))])
    return found


def subparser(words: list[str]) -> argparse.ArgumentParser | None:
    """The parser of the command that words begin with; None: there is no such command."""
    parser: argparse.ArgumentParser = _parser()
    for word in words:
        groups = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
        if not groups:
            break
        if word not in groups[0].choices:
            return None if parser.prog == "emf-ros" else parser
        parser = groups[0].choices[word]
    return parser


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_commands_of_emf_ros_are_accepted(page: Path) -> None:
    refused = []
    for words in commands(page, r"(?:\.venv/bin/)?emf-ros "):
        try:
            _parser().parse_args(words[1:])
        except SystemExit as ended:
            refused += [words] * bool(ended.code)
    assert not refused


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_commands_and_options_of_emf_ros_in_a_sentence_exist(page: Path) -> None:
    wrong = []
    for span in spans(page.read_text("utf-8")):
        words = span.split()
        if words[:1] != ["emf-ros"] or words[1:2] == ["COMMAND"]:
            continue
        parser = subparser([word for word in words[1:] if word[0] != "-"])
        known = set(parser._option_string_actions) if parser else set()
        options = {word.partition("=")[0] for word in words if word.startswith("--")}
        wrong += [span] * (parser is None or not options <= known)
    assert not wrong


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_launch_commands_are_accepted(page: Path, tmp_path: Path) -> None:
    """The launch file, its arguments and their values. Files of the user are taken as present."""
    for words in commands(page, "ros2 launch emf_ros "):
        name, *rest = words[3:]
        known = {"lift.launch.py": lift_arguments(), "demo.launch.py": demo_arguments()}[name]
        arguments = dict(word.split(":=", 1) for word in rest if word != "--show-args")
        for argument, value in arguments.items():
            assert argument in known, words
            assert value in (known[argument].choices or [value]), words
        if name == "demo.launch.py":
            arguments["source"] = arguments.pop("video", "0")
        if "/" in arguments.get("source", ""):
            cv2.imwrite(str(tmp_path / "image.png"), np.zeros((48, 64, 3), np.uint8))
            arguments["source"] = str(tmp_path)
        for argument in set(FILE_PARAMETERS) & arguments.keys():
            given = tmp_path / Path(arguments[argument]).name
            given.touch()
            arguments[argument] = str(given)
        assert plan(arguments).processes


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_launch_arguments_and_parameters_in_a_sentence_exist(page: Path) -> None:
    known = {*lift_arguments(), *demo_arguments(), *(n for s in PARAMETERS.values() for n in s)}
    names = {n for span in spans(page.read_text("utf-8")) for n in re.findall(r"^(\w+):=", span)}
    assert names <= known


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_programs_and_their_parameters_are_accepted(page: Path) -> None:
    for words in commands(page, "ros2 run emf_ros "):
        assert words[3] in programs(), words
        for option, word in zip(words, words[1:], strict=False):
            if option == "-p":
                name, value = word.split(":=")
                PARAMETERS[words[3]][name].parse(value)
        if words[3] == "security_policy":
            assert plan(dict(word.split(":=") for word in words[4:])).processes
    for words in commands(page, "ros2 param set "):
        node, name, value = words[3:]
        spec = PARAMETERS[node.strip("/")][name]
        spec.parse(value)
        assert spec.live, words


def test_documented_replays_wait_until_the_bag_is_discovered() -> None:
    """What is published earlier is lost, and a replay would not be the same twice."""
    files = [*PAGES, *(ROOT / "config").glob("*.yaml")]
    texts = [path.read_text(encoding="utf-8") for path in files]
    plays = [play for text in texts for play in re.findall(r"^[# ]+ros2 bag play .*", text, re.M)]
    assert len(plays) >= 2
    for play in plays:
        found = re.search(r" --delay (\d+)$", play)
        assert found and int(found[1]) >= DISCOVERY_S, play


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_targets_and_settings_of_make_exist(page: Path) -> None:
    in_sentences = [span.split() for span in spans(page.read_text("utf-8"))]
    wrong = []
    for words in [*commands(page, "make "), *in_sentences]:
        if words[:1] != ["make"] or len(words) < 2:
            continue
        target = re.search(rf"^{re.escape(words[1])}:", MAKEFILE, re.MULTILINE)
        settings = [word.partition("=")[0] for word in words[2:] if re.match(r"[A-Z]+=", word)]
        unknown = [s for s in settings if not re.search(rf"^{s} *\?=", MAKEFILE, re.MULTILINE)]
        wrong += [words] * (not target or bool(unknown))
    assert not wrong


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_scripts_exist(page: Path) -> None:
    for words in commands(page, r"(?:\.venv/bin/)?python (?:benchmarks|examples|tools)/"):
        assert (ROOT / words[1]).is_file(), words


def test_a_wrong_value_is_refused() -> None:
    with pytest.raises(ParamError):
        plan({"lag": "many"})
    assert sum(len(commands(page, "ros2 launch emf_ros ")) for page in PAGES) > 10
    assert sum(len(commands(page, r"(?:\.venv/bin/)?emf-ros ")) for page in PAGES) > 20
