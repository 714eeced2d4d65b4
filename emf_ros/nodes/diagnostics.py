"""Diagnostics in the form of diagnostic_updater: one status for each task of a node."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from ..reasons import Reason

#: Age of results above which they are late, ms.
LATE_MS = 500.0


class Level(enum.IntEnum):
    """How a task stands; the values are those of diagnostic_msgs/DiagnosticStatus.

    OK: it works, or rests because nobody wants its results. WARN: it works, and something is lost
    or late. ERROR: input comes, and nothing can be made of it. STALE: no input comes.
    """

    OK = 0
    WARN = 1
    ERROR = 2
    STALE = 3


@dataclass
class Task:
    """The state of one task.

    Attributes:
        name: of the task, such as "images".
        level, text: how it stands.
        values: by key.
        counts: number of events by reason; they are added to the values.
        hardware: the camera: the frame_id of its images; empty while it is not known.
    """

    name: str
    level: Level = Level.OK
    text: str = ""
    values: dict[str, str] = field(default_factory=dict)
    counts: Mapping[Reason, int] = field(default_factory=dict)
    hardware: str = ""

    def worsen(self, level: Level, text: str) -> None:
        """Raise the level, and say why; the texts of all faults are kept, the worst first."""
        if not text or level < self.level:
            return
        faults = [self.text] if self.level is not Level.OK or level is Level.OK else []
        texts = [text, *faults] if level > self.level else [*faults, text]
        self.level, self.text = level, "; ".join(part for part in texts if part)


def diagnostics_msg(node: str, tasks: Iterable[Task], stamp: Time) -> DiagnosticArray:
    """The message of a node.

    Args:
        node: full name.
        tasks: of the node.
        stamp: now.
    """
    message = DiagnosticArray()
    message.header.stamp = stamp
    for task in tasks:
        counts = dict(task.counts)  # a copy: a worker may count meanwhile
        values = task.values | {str(reason): str(counts[reason]) for reason in sorted(counts)}
        status = DiagnosticStatus(
            level=bytes([task.level]),
            name=f"{node.lstrip('/')}: {task.name}",
            message=task.text,
            hardware_id=task.hardware or "none",
        )
        status.values.extend(KeyValue(key=key, value=value) for key, value in values.items())
        message.status.append(status)
    return message
