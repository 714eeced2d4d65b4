"""docs/reference/tracking.md: every name exists, and every value is that of the code."""

import inspect
import re
from pathlib import Path

import numpy as np
import pytest

from emf_ros.geometry import boxes
from emf_ros.reasons import Reason
from emf_ros.track import (
    QualityGate,
    Tracker,
    apart,
    appearance,
    association,
    duplicates,
    plausibility,
    reidentification,
    state,
    tracker,
)

PAGE = (Path(__file__).parents[1] / "docs" / "reference" / "tracking.md").read_text("utf-8")
MODULES = (
    boxes,
    apart,
    appearance,
    association,
    duplicates,
    plausibility,
    reidentification,
    state,
    tracker,
)
NUMBER = r"\d[\d.]*(?:e\d+)?"


def values():
    """Name -> value of the constants and of the arguments of Tracker and QualityGate."""
    known = {}
    for cls in (QualityGate, Tracker):
        for name, parameter in inspect.signature(cls).parameters.items():
            known[name] = parameter.default
    for module in MODULES:
        known.update({name: v for name, v in vars(module).items() if name.isupper()})
    return known


def stated():
    """(name, text of the value) of the tables, and of the brackets in the sentences."""
    out = re.findall(rf"`([A-Za-z_]\w+)`\s+\(({NUMBER}(?: x {NUMBER})*)", PAGE)
    for row in re.findall(r"^\|.*\|$", PAGE, re.MULTILINE):
        *_, names, numbers = (cell.strip() for cell in row.strip("|").split("|"))
        names = re.fullmatch(r"`\w+`(?:, `\w+`)*", names) and re.findall(r"`(\w+)`", names)
        if names and re.match(NUMBER, numbers):
            out += zip(names, numbers.split(";"), strict=True)
    return out


def test_every_constant_of_the_tracking_page_exists():
    names = set(re.findall(r"`([A-Z][A-Z0-9_]+)`", PAGE))
    assert len(names) > 30 and names - set(values()) == set()


def test_every_rejection_reason_is_on_the_tracking_page():
    sources = [Path(module.__file__).read_text() for module in (plausibility, duplicates)]
    reasons = {Reason[name] for name in re.findall(r"\bReason\.([A-Z_]+)\b", "".join(sources))}
    assert len(reasons) >= 7
    assert {r for r in reasons if f"| `{r}` |" not in PAGE} == set()


def test_every_value_of_the_tracking_page_is_that_of_the_code():
    pairs, known = stated(), values()
    assert len(pairs) > 40
    for name, text in pairs:
        numbers = [float(n) for n in re.findall(NUMBER, text)]
        assert np.ravel(known[name]) == pytest.approx(numbers), name
