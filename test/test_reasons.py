"""The enum of all counters: complete, explained, and the only place of the keys."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from emf_ros.reasons import DETECTOR, EXPLANATIONS, LIFTER, SOURCE, VIEWER, Reason

PACKAGE = Path(__file__).resolve().parents[1] / "emf_ros"

SOURCES = [path for path in PACKAGE.rglob("*.py") if path.name != "reasons.py"]

#: Nodes that run the code of a file or folder; the first entry that fits decides.
NODES_OF = {
    "nodes/video_source.py": {SOURCE},
    "nodes/keypoint_detector.py": {DETECTOR},
    "nodes/skeleton_viewer.py": {VIEWER},
    "nodes/base.py": {SOURCE, DETECTOR, LIFTER, VIEWER},
    "nodes/taking.py": {DETECTOR, LIFTER, VIEWER},
    "nodes": {LIFTER},
    "detect": {DETECTOR},
    "lift": {LIFTER},
    "track": {DETECTOR, LIFTER},
    "runtime": {DETECTOR, LIFTER},
    "stamps.py": {DETECTOR, LIFTER},
}


def members_in(path: Path) -> Iterator[Reason]:
    """The members that a file names as `Reason.MEMBER`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "Reason"
            and node.attr in Reason.__members__
        ):
            yield Reason[node.attr]


def nodes_of(path: Path) -> set[str]:
    place = path.relative_to(PACKAGE).as_posix()
    return next((n for start, n in NODES_OF.items() if place.startswith(start)), set())


def test_each_counter_is_counted_in_the_code() -> None:
    counted = {member for path in SOURCES for member in members_in(path)}
    assert set(Reason) - counted == set()


def test_counter_keys_are_written_in_the_enum_only() -> None:
    keys = {reason.value for reason in Reason}
    literals = {
        (path.name, node.lineno, node.value)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in keys
    }
    assert literals == set()


def test_counters_are_typed_by_the_enum() -> None:
    assert [p.name for p in SOURCES if "Counter[str]" in p.read_text(encoding="utf-8")] == []


def test_counters_name_the_nodes_whose_code_counts_them() -> None:
    counting: dict[Reason, set[str]] = {reason: set() for reason in Reason}
    for path in SOURCES:
        for member in members_in(path):
            counting[member] |= nodes_of(path)
    assert {r: set(r.explanation.nodes) for r in Reason} == counting


@pytest.mark.parametrize("reason", Reason, ids=str)
def test_counters_are_explained_in_whole_short_sentences(reason: Reason) -> None:
    explanation = EXPLANATIONS[reason]
    for text in (explanation.meaning, explanation.cause, explanation.remedy):
        assert re.fullmatch(r"[A-Za-z/].*[^.]\.", text), text
        assert all(len(s.split()) <= 20 for s in re.split(r"[;.:] ?", text)), text


def test_a_counter_equals_its_key() -> None:
    counts = Counter([Reason.GPU_LOST])
    assert counts == {"gpu_lost": 1}
    assert f"{Reason.GPU_LOST} {Reason.GPU_LOST!s}" == "gpu_lost gpu_lost"
