"""Which views of a board are kept, and what is still missing."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .board import Found

#: Minimum mean movement of the corners between two views that are kept, as a share of the image's
#: diagonal.
MIN_MOVEMENT = 0.04

#: Number of cells along each side of the image that corners should cover.
CELLS = 4

#: Minimum share of the cells that corners cover.
GOOD_COVERAGE = 0.8

#: Minimum perspective of a tilted board: the ratio of two opposite sides in the image, minus 1.
TILTED = 0.12

#: Minimum number of views with a tilted board.
MIN_TILTED = 4

#: Minimum number of views.
MIN_VIEWS = 5

#: Number of views from which more bring little.
GOOD_VIEWS = 15


@dataclass
class Views:
    """The views of a board that are kept.

    Attributes:
        size: (width, height) of the images, px.
        found: of each view.
        names: of each view, for messages.
    """

    size: tuple[int, int]
    found: list[Found] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    _outlines: list[np.ndarray] = field(default_factory=list)

    def add(self, found: Found, name: str) -> bool:
        """Keep a view, unless one like it is kept already; whether it is kept."""
        outline = _outline(found)
        least = MIN_MOVEMENT * float(np.hypot(*self.size))
        for kept in self._outlines:
            if np.linalg.norm(outline - kept, axis=-1).mean() < least:
                return False
        self.found.append(found)
        self.names.append(name)
        self._outlines.append(outline)
        return True

    def coverage(self) -> np.ndarray:
        """(CELLS, CELLS) bool, whether a corner is in a cell of the image, by rows."""
        covered = np.zeros((CELLS, CELLS), dtype=bool)
        for found in self.found:
            cells = (found.pixels / self.size * CELLS).astype(int).clip(0, CELLS - 1)
            covered[cells[:, 1], cells[:, 0]] = True
        return covered

    def tilted(self) -> int:
        """Number of views in which the board is clearly tilted."""
        return sum(_perspective(outline) > TILTED for outline in self._outlines)

    def hints(self) -> list[str]:
        """What to do for a better calibration, a few words each; the most useful first."""
        hints = []
        if self.tilted() < MIN_TILTED:
            hints.append("tilt the board by 30 degrees, to each side")
        covered = self.coverage()
        if covered.mean() < GOOD_COVERAGE:
            half = CELLS // 2
            parts = {
                "upper left": covered[:half, :half],
                "upper right": covered[:half, half:],
                "lower left": covered[half:, :half],
                "lower right": covered[half:, half:],
            }
            hints.append(f"hold the board {min(parts, key=lambda p: parts[p].mean())}")
        if len(self.found) < GOOD_VIEWS:
            hints.append(f"show {GOOD_VIEWS - len(self.found)} more views")
        return hints


def _outline(found: Found) -> np.ndarray:
    """(4, 2) px, the outline of the corners: of a part of a board, that of the part."""
    matrix = _homography(found)
    low, high = found.points.min(axis=0), found.points.max(axis=0)
    square = np.array([low, (high[0], low[1]), high, (low[0], high[1])])
    ahead = np.concatenate([square, np.ones((4, 1))], axis=1) @ matrix.T
    return ahead[:, :2] / ahead[:, 2:]


def _homography(found: Found) -> np.ndarray:
    """(3, 3), from the board to the image, by least squares."""
    import cv2

    matrix, _ = cv2.findHomography(found.points, found.pixels)
    return np.eye(3) if matrix is None else matrix


def _perspective(outline: np.ndarray) -> float:
    """The largest ratio of two opposite sides, minus 1."""
    a, b, c, d = np.linalg.norm(np.roll(outline, -1, axis=0) - outline, axis=-1)
    ratios = [max(pair) / max(min(pair), 1e-9) for pair in ((a, c), (b, d))]
    return max(ratios) - 1.0
