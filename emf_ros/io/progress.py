"""Progress of a long loop: a bar on a terminal, lines at intervals in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

#: Minimum time between two lines in a log, s.
MIN_LINE_INTERVAL_S = 10.0
#: Maximum time between two lines in a log while the loop advances, s.
MAX_LINE_INTERVAL_S = 60.0
#: Share of the total after which the next line is due, if the minimum time has passed.
LINE_SHARE = 0.1


def say(text: str) -> None:
    """Print a line on stdout without breaking a bar."""
    tqdm.write(text)


class Progress:
    """Progress of one loop on stderr; a context manager.

    On a terminal it is a bar. Elsewhere it is a line after 10 s, then one for every 10 % or every
    minute, and one at the end.

    Args:
        what: the activity, such as "lifting".
        total: units of the whole loop; None where it is not known.
        unit: name of one unit, such as "frame".
        done: units done before the start.
        shown: False prints nothing.
    """

    def __init__(
        self,
        what: str,
        total: int | None = None,
        unit: str = "frame",
        done: int = 0,
        shown: bool = True,
    ) -> None:
        self.what, self.total, self.unit, self.done = what, total or None, unit, done
        self._shown, self._note, self._first = shown, "", done
        self._begin = self._line_at = time.monotonic()
        self._line_done = done
        self._bar: tqdm | None = None
        if shown and sys.stderr.isatty():
            self._bar = tqdm(
                desc=what, total=self.total, unit=unit, initial=done, dynamic_ncols=True
            )

    def update(self, units: int = 1) -> None:
        """Add the units done since the last call."""
        self.done += units
        if self._bar is not None:
            self._bar.update(units)
            return
        since_s = time.monotonic() - self._line_at
        if not self._shown or since_s < MIN_LINE_INTERVAL_S:
            return
        share = (self.done - self._line_done) / self.total if self.total else 0.0
        first = self._line_done == self._first
        if first or share >= LINE_SHARE or since_s >= MAX_LINE_INTERVAL_S:
            self._print_line()

    def note(self, text: str) -> None:
        """Set a text that follows the figures."""
        self._note = text
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)

    def close(self) -> None:
        """End the bar, or print the last line."""
        if self._bar is not None:
            self._bar.close()
        elif self._shown and self.done > self._first:
            self._print_line()
        self._shown = False

    def _print_line(self) -> None:
        now = time.monotonic()
        elapsed_s = now - self._begin
        parts = [f"{self.what}: {self.done}"]
        if self.total:
            parts = [f"{parts[0]} of {self.total} ({100 * self.done / self.total:.0f} %)"]
        parts.append(f"{elapsed_s:.0f} s")
        if self.unit != "s" and elapsed_s > 0:
            parts.append(f"{(self.done - self._first) / elapsed_s:.1f} {self.unit}/s")
        if self._note:
            parts.append(self._note)
        print(", ".join(parts), file=sys.stderr, flush=True)
        self._line_at, self._line_done = now, self.done

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def track(
    items: Iterable[Item],
    what: str,
    total: int | None = None,
    unit: str = "frame",
    shown: bool = True,
) -> Iterator[Item]:
    """Yield the items and show their progress; arguments as of `Progress`."""
    with Progress(what, total, unit, shown=shown) as progress:
        for item in items:
            yield item
            progress.update()
