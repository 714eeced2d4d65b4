"""Schedules the tiles of an image, the crops that the person detection gets in each frame.

The person detection network detects people that fill its input. It detects 9 in 10 people whose
height is 0.3 of the tile's side, 6 in 10 at 0.2, and none at 0.1. Therefore it gets tiles of
several sizes, a few in each frame.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from ...geometry.crops import Roi
from .roi import at_same_place

#: Number of sizes of tiles; the largest shows the whole image.
TILE_SIZES = 3
#: Side of a tile over the side of the next smaller one.
TILE_SIZE_RATIO = 1.75
#: Order of the sizes: the middle size, for people some metres away, comes most often.
SIZE_TURNS = (1, 0, 1, 2)
#: Total distance by which the tiles reach beyond the image's edges, as a share of their side.
OVERHANG_TO_SIDE = 0.25
#: Shift of the grid of tiles from round to round along x and y, in grid steps. Multiples of these
#: numbers fill a square evenly (Roberts, The unreasonable effectiveness of quasirandom sequences,
#: 2018).
GRID_SHIFTS = (0.7548776662466927, 0.5698402909980532)
#: Minimum side of a tile, px: a smaller one shows no more detail than the next larger one.
MIN_TILE_SIDE_PX = 200
#: Number of tiles of the first frame: the whole image, and three parts of a 16:9 image.
FIRST_FRAME_TILES = 4.0
#: Number of frames that get a tile each, at the start and after a person is lost. One tile is not
#: enough: the person detection misses a person in some frames.
BURST_FRAMES = 30
#: Time for which the last place of a lost person gets tiles, ns: another person may occlude it.
LOST_MEMORY_NS = 1_000_000_000
#: Side of the tile around a lost person over the side of the person's ROI.
LOST_TILE_TO_ROI = 2.0
#: Time between frames per tile, ns: a slower camera gets more tiles in a frame.
TILE_INTERVAL_NS = 33_000_000
#: Number of landmark inferences per tile, while fewer people than the maximum are tracked. The
#: person detection then takes a fixed share of the time.
DETECTION_INTERVAL = 3
#: Maximum number of tiles that a slow camera gets in one frame.
MAX_TILES_PER_FRAME = 3


class TileScheduler:
    """Chooses the tiles of each frame.

    At the start, after a loss, and while there is no person, each frame gets a tile. Otherwise one
    tile follows after a number of landmark inferences, so that the person detection takes a fixed
    share of the time.
    """

    def __init__(self) -> None:
        self._sequence: Iterator[Roi] = iter(())
        #: Number of tiles due; its fraction is kept for the next frame.
        self._due = 0.0
        #: Number of tiles of this frame that have not been taken.
        self._count = 0
        #: Number of frames left that get a tile each.
        self._burst_frames = BURST_FRAMES
        #: Of each lost person the stamp, ns, until which it gets tiles, and the last ROI.
        self._lost: list[tuple[int, Roi]] = []
        #: Whether a tile around a lost person is due.
        self._lost_due = False

    def restart(self, width: int, height: int) -> None:
        """Begin with the whole image.

        Args:
            width, height: px, of the image.
        """
        self._sequence = tile_sequence(width, height)
        self._due, self._burst_frames, self._lost = FIRST_FRAME_TILES, BURST_FRAMES, []
        self._count = 0

    def add_lost(self, roi: Roi, stamp_ns: int) -> None:
        """Add tiles for a lost person.

        Args:
            roi: the last one of the person.
            stamp_ns: of the frame in which the person was lost.
        """
        self._burst_frames = BURST_FRAMES
        self._lost.append((stamp_ns + LOST_MEMORY_NS, roi))

    def remove_lost(self, roi: Roi) -> None:
        """End the tiles for lost people at the place of this ROI."""
        self._lost = [
            (until_ns, lost) for until_ns, lost in self._lost if not at_same_place(roi, lost)
        ]

    def begin(self, stamp_ns: int, elapsed_ns: int, tracked: int, max_people: int) -> None:
        """Begin a frame: determine which tiles are due.

        Args:
            stamp_ns: of the frame.
            elapsed_ns: since the frame before.
            tracked: number of people tracked into this frame.
            max_people: number of people at which there are no tiles.
        """
        self._due += max(tracked, 1) / DETECTION_INTERVAL
        if self._burst_frames or not tracked:
            count = min(max(round(elapsed_ns / TILE_INTERVAL_NS), 1), MAX_TILES_PER_FRAME)
            self._due = max(self._due, count)
        self._lost = [(until_ns, roi) for until_ns, roi in self._lost if stamp_ns < until_ns]
        # One tile that a live detector had no time for stays due.
        self._count = max(int(self._due), min(self._count, 1)) if tracked < max_people else 0
        self._lost_due = bool(self._count and self._lost)
        # The burst begins with the first person.
        self._burst_frames -= bool(tracked and self._burst_frames and self._count)
        self._due %= 1

    @property
    def tile_is_due(self) -> bool:
        """Whether `take` gives tiles."""
        return self._count > 0

    @property
    def lost_tile_is_due(self) -> bool:
        """Whether `take_lost` gives a tile."""
        return self._lost_due and bool(self._lost)

    def take(self, count: int) -> list[Roi]:
        """The next tiles that are due, at most this number."""
        count = min(count, self._count)
        self._count -= count
        return list(itertools.islice(self._sequence, count))

    def take_lost(self) -> list[Roi]:
        """A tile around one of the lost people, each in turn; empty if none is due."""
        if not self.lost_tile_is_due:
            return []
        self._lost_due = False
        self._lost.append(self._lost.pop(0))
        _, roi = self._lost[-1]
        return [Roi(roi.x, roi.y, LOST_TILE_TO_ROI * roi.side, 0.0)]

    def take_all(self) -> list[Roi]:
        """All tiles that are due, one around a lost person first."""
        return self.take_lost() + self.take(self._count)


def tile_sequence(width: int, height: int) -> Iterator[Roi]:
    """The tiles of an image, without end.

    First the whole image and all tiles of the next size; then the sizes alternate.

    Args:
        width, height: px.
    """
    sides = [float(max(width, height))]
    while len(sides) < TILE_SIZES and sides[-1] / TILE_SIZE_RATIO >= MIN_TILE_SIDE_PX:
        sides.append(sides[-1] / TILE_SIZE_RATIO)
    sizes = [itertools.chain.from_iterable(tile_grids(width, height, side)) for side in sides]
    yield from next(tile_grids(width, height, sides[0]))
    if len(sides) > 1:
        yield from next(tile_grids(width, height, sides[1]))
    for size in itertools.cycle(SIZE_TURNS):
        if size < len(sizes):
            yield next(sizes[size])


def tile_grids(width: int, height: int, side: float) -> Iterator[list[Roi]]:
    """Grids of tiles of one size that cover an image, row by row; neighbours overlap by half.

    Each round shifts the grid. A person that is cut in one round is whole in another, and a person
    that is missed at one place of a tile may be detected at another.
    """
    for index in itertools.count():
        centres = []
        for length, step in zip((width, height), GRID_SHIFTS, strict=True):
            shift = (0.5 + index * step) % 1
            extent = max(length - side, 0.0)
            count = 1 + max(math.ceil(2 * extent / side - 0.1), 0)
            # Without the overhang, only some rounds would show the image's edges.
            extent += OVERHANG_TO_SIDE * side
            first = (length - extent) / 2
            centres.append([first + extent * (i + shift) / count for i in range(count)])
        # The whole image has only one position.
        if side == max(width, height):
            centres = [[width / 2], [height / 2]]
        yield [Roi(x, y, side, 0.0) for y in centres[1] for x in centres[0]]
