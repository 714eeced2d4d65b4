"""All checks in their order, and their results as text and JSON."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from typing import Any

from .. import __version__
from . import gpu, memory, packages, ros, topics, weights
from .result import Level, Result, error, ok

#: Sections of the report.
Section = tuple[str, list[Result]]


def run_checks(seconds: float) -> Iterator[Section]:
    """Run all checks; each section is given when it is complete.

    Args:
        seconds: for which live topics are heard; 0: they are not looked at.
    """
    yield (
        "Python",
        _guarded(
            packages.python,
            packages.packages,
            packages.pairs,
            packages.duplicates,
            lambda: packages.shadowed(os.environ.get("ROS_DISTRO", "")),
        ),
    )
    yield "GPU", _guarded(gpu.driver, gpu.jetpack, gpu.providers, gpu.engine_cache)
    yield "Weights", _guarded(weights.shipped, weights.downloaded)
    yield "ROS 2", (found := _guarded(ros.environment, memory.shared_memory))
    if seconds <= 0 or any(r.check == "ROS 2" and r.level is not Level.OK for r in found):
        return
    yield "Topics", _guarded(lambda: _live(seconds))


def _live(seconds: float) -> list[Result]:
    """Live topics, and processes that this shell does not hear."""
    import importlib.util

    if importlib.util.find_spec("rclpy") is None:
        return [ok("topics", "not looked at: there is no ROS 2")]
    facts, failures = topics.survey(seconds)
    rmw = facts.get("rmw", "")
    return [*failures, *(topics.judge(facts) if facts else []), *ros.other_processes(rmw)]


def _guarded(*checks: Callable[[], list[Result]]) -> list[Result]:
    """The results of checks. A check that fails itself is a finding, too."""
    results: list[Result] = []
    for check in checks:
        try:
            # Some libraries print where they cannot be imported; stdout has the report only.
            with redirect_stdout(sys.stderr):
                results += check()
        except Exception as failure:  # a doctor must not fall ill
            name = getattr(check, "__name__", "check")
            text = " ".join(str(failure).split())[:200]
            results.append(
                error(
                    name,
                    f"the check failed: {type(failure).__name__}: {text}",
                    "report this, with the output of emf-ros doctor --json",
                )
            )
    return results


def text_lines(section: Section) -> Iterator[str]:
    """The lines of a section for a terminal."""
    title, results = section
    yield title
    for result in results:
        yield f"  {result.level.value:8}{result.check}: {result.message}"
        if result.fix:
            yield f"          fix: {result.fix}"


def summary(results: list[Result]) -> str:
    """How many problems there are, one line."""
    levels = Counter(result.level for result in results)
    errors, warnings = levels[Level.ERROR], levels[Level.WARNING]
    if not errors and not warnings:
        return "all is well"
    return f"{errors} error{'s' * (errors != 1)}, {warnings} warning{'s' * (warnings != 1)}"


def as_json(sections: list[Section]) -> dict[str, Any]:
    """The report as JSON takes it."""
    results = [
        {
            "section": title,
            "check": result.check,
            "level": result.level.value,
            "message": result.message,
            "fix": result.fix,
        }
        for title, found in sections
        for result in found
    ]
    levels = Counter(result["level"] for result in results)
    return {
        "version": __version__,
        "errors": levels["error"],
        "warnings": levels["warning"],
        "results": results,
    }
