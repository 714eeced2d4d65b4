"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Level(str, Enum):
    """How bad it is. With an ERROR something does not work, with a WARNING it may not work well."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Result:
    """One finding.

    Attributes:
        check: name of what was checked.
        level: how bad it is.
        message: what was found, one line.
        fix: what to do about it, one line; empty where nothing is wrong.
    """

    check: str
    level: Level
    message: str
    fix: str = ""


def ok(check: str, message: str) -> Result:
    """A finding that is as it should be."""
    return Result(check, Level.OK, message)


def warning(check: str, message: str, fix: str) -> Result:
    """A finding with which something may not work well."""
    return Result(check, Level.WARNING, message, fix)


def error(check: str, message: str, fix: str) -> Result:
    """A finding with which something does not work."""
    return Result(check, Level.ERROR, message, fix)
