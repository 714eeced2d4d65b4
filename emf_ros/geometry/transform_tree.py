"""The frames of a robot as a tree of transforms over time, as ROS publishes them on /tf.

It keeps the transforms of the last seconds, and looks up the transform between two frames at a
time: interpolated between the samples before and after, never continued beyond them.
"""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence

import numpy as np

from ..stamps import NANOSECONDS
from .transforms import Transform, between

#: Time for which transforms are kept, s.
KEEP_S = 10.0

#: Maximum time between two samples that are interpolated, s. A base that accelerates by 1 m/s^2 is
#: off by 0.12 m in the middle of such a gap.
MAX_GAP_S = 1.0

#: Age at which a sample is not late but of a clock that was set back, s.
CLOCK_BACK_S = 1.0

#: Time after which a frame that is published no more is forgotten, s, wall time.
FORGET_S = 60.0

#: Maximum number of frames.
MAX_FRAMES = 4096

#: Maximum length of the name of a frame, characters.
MAX_NAME_LENGTH = 256

#: Maximum mean rate of a transform, Hz; of a faster one the oldest samples are forgotten.
MAX_RATE_HZ = 1000


class TransformTree:
    """Transforms by the name of the child frame. All methods may be called from any thread.

    Args:
        keep_s: time for which transforms are kept, s.
    """

    def __init__(self, keep_s: float = KEEP_S) -> None:
        self._keep_ns = round(keep_s * NANOSECONDS)
        self._edges: dict[str, _Edge] = {}
        # Guards the edges.
        self._lock = threading.Lock()
        self._swept_s = time.monotonic()

    def add(
        self,
        parent: str,
        child: str,
        stamp_ns: int,
        translation: Sequence[float],
        quaternion: Sequence[float],
        static: bool = False,
    ) -> None:
        """Take the transform from a child frame to its parent.

        Args:
            parent, child: names of the frames.
            stamp_ns: time of the transform, ns; static ones hold at any time.
            translation: x, y, z, m.
            quaternion: x, y, z, w.
            static: whether it holds at any time.

        Raises:
            ValueError: a number is not finite, the quaternion is 0, or a name is empty, too long or
                the same.
        """
        if max(len(parent), len(child)) > MAX_NAME_LENGTH:
            raise ValueError(f"the name of a frame has over {MAX_NAME_LENGTH} characters")
        length = math.sqrt(sum(value * value for value in quaternion))
        if not (all(map(math.isfinite, translation)) and 1e-3 < length < 1e3):
            raise ValueError(f"the transform from {child!r} to {parent!r} is no transform")
        parent, child = bare(parent), bare(child)
        if not parent or not child or parent == child:
            raise ValueError(f"a transform from {child!r} to {parent!r} has no meaning")
        row = (*map(float, translation), *(value / length for value in quaternion))
        with self._lock:
            now_s = time.monotonic()
            edge = self._edges.get(child)
            if edge is None or edge.parent != parent or edge.static != static:
                if len(self._edges) >= MAX_FRAMES and edge is None:
                    raise ValueError(f"there are more than {MAX_FRAMES} frames")
                edge = self._edges[child] = _Edge(parent, static)
            edge.add(stamp_ns, row, now_s, self._keep_ns)
            if now_s - self._swept_s > FORGET_S:
                self._swept_s = now_s
                self._forget(now_s)

    def _forget(self, now_s: float) -> None:
        """Forget the frames that are not published any more, such as those of people."""
        for child, edge in list(self._edges.items()):
            if not edge.static and now_s - edge.heard_s > FORGET_S:
                del self._edges[child]

    def lookup(self, target: str, source: str, stamps_ns: np.ndarray) -> Transform:
        """The transforms from one frame to another.

        Args:
            target, source: names of the frames.
            stamps_ns: (N,) int64, ns.

        Returns:
            N transforms; NaN where one is not known.
        """
        count = len(stamps_ns)
        with self._lock:
            path = self._path(bare(target), bare(source))
            if path is None:
                return Transform(np.full((count, 3, 3), np.nan), np.full((count, 3), np.nan))
            ups, downs = (self._product(names, stamps_ns) for names in path)
        return downs.inverse() @ ups

    def trouble(self, target: str, source: str, stamp_ns: int) -> str:
        """Why the transform from one frame to another is not known at a time; empty where it is."""
        with self._lock:
            return self._trouble(bare(target), bare(source), stamp_ns)[0]

    def may_come(self, target: str, source: str, stamp_ns: int) -> bool:
        """Whether only samples after a time are missing, and the next ones may be these."""
        with self._lock:
            return self._trouble(bare(target), bare(source), stamp_ns)[1]

    # ------------------------------------------------------------------ the tree

    def _ancestors(self, frame: str) -> list[str]:
        """A frame, its parent, and so on; a loop ends it."""
        found = [frame]
        while (edge := self._edges.get(found[-1])) is not None and edge.parent not in found:
            found.append(edge.parent)
        return found

    def _path(self, target: str, source: str) -> tuple[list[str], list[str]] | None:
        """The children on the ways from source and target up to their common ancestor."""
        ups, downs = self._ancestors(source), self._ancestors(target)
        shared = next((frame for frame in ups if frame in downs), None)
        if shared is None or not shared:
            return None
        return ups[: ups.index(shared)], downs[: downs.index(shared)]

    def _product(self, names: list[str], stamps_ns: np.ndarray) -> Transform:
        """The transforms from the first frame to the parent of the last."""
        count = len(stamps_ns)
        made = Transform(np.broadcast_to(np.eye(3), (count, 3, 3)), np.zeros((count, 3)))
        for name in names:
            rows = self._edges[name].at(stamps_ns)
            made = Transform.of(rows[:, :3], rows[:, 3:]) @ made
        return made

    def _trouble(self, target: str, source: str, stamp_ns: int) -> tuple[str, bool]:
        """Why a transform is not known, and whether the next samples may tell it."""
        path = self._path(target, source)
        if path is None:
            known = self._edges.keys() | {edge.parent for edge in self._edges.values()}
            for frame in (source, target):
                if frame not in known:
                    return f"no transform has the frame {frame!r}", False
            roots = [self._ancestors(frame)[-1] for frame in (source, target)]
            return (
                f"{source!r} and {target!r} are not connected: their trees begin at "
                f"{roots[0]!r} and {roots[1]!r}",
                False,
            )
        for name in (*path[0], *path[1]):
            edge = self._edges[name]
            text, may_come = edge.trouble(stamp_ns)
            if text:
                return f"{name!r} in {edge.parent!r}: {text}", may_come
        return "", False


def bare(frame: str) -> str:
    """The name of a frame without the slash that older programs put in front."""
    return frame.lstrip("/")


class _Edge:
    """The transforms from one frame to its parent, oldest first."""

    def __init__(self, parent: str, static: bool) -> None:
        self.parent, self.static, self.heard_s = parent, static, 0.0
        self._stamps: list[int] = []
        self._rows: list[tuple[float, ...]] = []

    def add(self, stamp_ns: int, row: tuple[float, ...], heard_s: float, keep_ns: int) -> None:
        self.heard_s = heard_s
        if self.static:
            self._rows = [row]
            return
        if self._stamps and stamp_ns < self._stamps[-1] - CLOCK_BACK_S * NANOSECONDS:
            self._stamps, self._rows = [], []
        index = bisect_left(self._stamps, stamp_ns)
        if index < len(self._stamps) and self._stamps[index] == stamp_ns:
            self._rows[index] = row
            return
        insort(self._stamps, stamp_ns)
        self._rows.insert(index, row)
        old = bisect_left(self._stamps, self._stamps[-1] - keep_ns)
        if len(self._stamps) > MAX_RATE_HZ * keep_ns / NANOSECONDS:
            old = max(old, len(self._stamps) // 4 + 1)
        # Removal from the front of a list moves all the rest.
        if old > len(self._stamps) // 4:
            del self._stamps[:old], self._rows[:old]

    def at(self, stamps_ns: np.ndarray) -> np.ndarray:
        """(N, 7) translation and quaternion; NaN where they are not known."""
        if self.static:
            return np.repeat(np.array(self._rows), len(stamps_ns), axis=0)
        # Only the samples around the stamps become an array.
        low = max(bisect_right(self._stamps, int(stamps_ns.min())) - 1, 0)
        high = bisect_left(self._stamps, int(stamps_ns.max())) + 1
        stamps, rows = np.array(self._stamps[low:high], np.int64), np.array(self._rows[low:high])
        after = np.searchsorted(stamps, stamps_ns)
        last = len(stamps) - 1
        inside = after <= last
        after = np.minimum(after, last)
        exact = stamps[after] == stamps_ns
        before = np.where(exact, after, np.maximum(after - 1, 0))
        gap_ns = stamps[after] - stamps[before]
        known = exact | (inside & (gap_ns > 0) & (gap_ns <= MAX_GAP_S * NANOSECONDS))
        share = (stamps_ns - stamps[before]) / np.where(gap_ns > 0, gap_ns, 1)
        share = np.where(known, share, 0.0)
        place = rows[before, :3] + share[:, None] * (rows[after, :3] - rows[before, :3])
        turn = between(rows[before, 3:], rows[after, 3:], share)
        return np.where(known[:, None], np.concatenate([place, turn], axis=-1), np.nan)

    def trouble(self, stamp_ns: int) -> tuple[str, bool]:
        """Why there is no transform at a stamp, ns, and whether the next sample may tell it."""
        if self.static or np.isfinite(self.at(np.array([stamp_ns]))).all():
            return "", False
        newest_s = (stamp_ns - self._stamps[-1]) / NANOSECONDS
        if newest_s > 0:
            return f"the newest transform is {newest_s:.2f} s too old", newest_s < MAX_GAP_S
        oldest_s = (self._stamps[0] - stamp_ns) / NANOSECONDS
        if oldest_s > 0:
            return f"the oldest transform is {oldest_s:.2f} s too new", False
        return f"there is a gap of more than {MAX_GAP_S:g} s", False
