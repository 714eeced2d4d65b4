"""Looks for a board in the frames of a video, a folder of images or a webcam, with a preview."""

from __future__ import annotations

import time
from collections.abc import Callable

import cv2
import numpy as np

from ..io.frame_source import FrameSource
from .board import Board, Found
from .views import CELLS, GOOD_COVERAGE, GOOD_VIEWS, MIN_TILTED, Views

#: Number of views that are enough; more take time and bring little.
MAX_VIEWS = 60

#: Period in which a video is looked at, s; images in a folder are all looked at.
PERIOD_S = 0.25

#: Height of the preview, px.
PREVIEW_HEIGHT = 540

#: Keys that end the collection: q, Escape and Enter.
_END_KEYS = (ord("q"), 27, 13)


class Preview:
    """A window with the image, the corners and the covered cells, where there is a screen.

    Args:
        wanted: whether to try.

    Attributes:
        shown: whether there is a window.
    """

    def __init__(self, wanted: bool) -> None:
        self.shown = False
        if wanted:
            try:
                cv2.namedWindow(_TITLE, cv2.WINDOW_NORMAL)
                self.shown = True
            except cv2.error:
                pass  # a headless OpenCV, or no screen

    def show(self, image: np.ndarray, found: Found | None, views: Views, hint: str) -> bool:
        """Show an image (H, W, 3) BGR; False where the user ends the collection."""
        if not self.shown:
            return True
        scale = PREVIEW_HEIGHT / image.shape[0]
        cv2.imshow(_TITLE, preview_image(image, found, views, hint, scale))
        return (cv2.waitKey(1) & 0xFF) not in _END_KEYS

    def close(self) -> None:
        """Close the window."""
        if self.shown:
            cv2.destroyWindow(_TITLE)


_TITLE = "emf-ros calibrate"


def preview_image(
    image: np.ndarray, found: Found | None, views: Views, hint: str, scale: float = 1.0
) -> np.ndarray:
    """The image (H, W, 3) BGR, scaled, with corners, covered cells in green, and a hint."""
    shown = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    height, width = shown.shape[:2]
    tint = shown.copy()
    for row, column in np.argwhere(views.coverage()):
        low = (int(column * width / CELLS), int(row * height / CELLS))
        high = (int((column + 1) * width / CELLS), int((row + 1) * height / CELLS))
        cv2.rectangle(tint, low, high, (0, 160, 0), -1)
    shown = cv2.addWeighted(tint, 0.25, shown, 0.75, 0)
    for x, y in [] if found is None else found.pixels * scale:
        cv2.circle(shown, (round(x), round(y)), 3, (0, 255, 255), -1)
    text = f"{len(views.found)} views; {hint or 'enough: press q'}"
    for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(shown, text, (8, height - 12), cv2.FONT_HERSHEY_SIMPLEX, 0.6, colour, thickness)
    return shown


def is_enough(views: Views) -> bool:
    """Whether more views would bring little."""
    return len(views.found) >= MAX_VIEWS or (
        len(views.found) >= GOOD_VIEWS
        and views.tilted() >= MIN_TILTED
        and views.coverage().mean() >= GOOD_COVERAGE
    )


def collect(
    source: FrameSource,
    board: Board,
    every_frame: bool,
    tell: Callable[[str], None],
    preview: bool = False,
    stopping: Callable[[], bool] = lambda: False,
) -> Views:
    """The views of a board in the frames of a source, which is read to its end and closed.

    A webcam is read until the views are enough. Of a video, the frames are taken with a distance
    of a quarter of a second.

    Args:
        source: of the frames.
        board: that is looked for.
        every_frame: look at every frame, as of a folder of images.
        tell: called with each sentence for the user.
        preview: show a window where there is a screen.
        stopping: ends the collection where it gives true.
    """
    views, window = Views(source.size), Preview(preview)
    if preview and not window.shown:
        tell("no preview: this OpenCV has no windows, or there is no screen; hints are printed")
    next_s, said, looked = -1.0, "", 0
    try:
        while not stopping() and (grabbed := source.grab()) is not None:
            number, stamp_s = grabbed
            now_s = time.monotonic() if source.live else stamp_s
            if not every_frame and now_s < next_s:
                continue
            next_s = now_s + PERIOD_S
            image = source.retrieve()
            if image is None:
                continue
            looked += 1
            found = board.find(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
            kept = found is not None and views.add(found, f"frame {number}")
            hint = next(iter(views.hints()), "")
            if kept and hint and hint != said and (source.live or preview):
                tell(f"{len(views.found)} views; {hint}")
                said = hint
            if not window.show(image, found, views, hint):
                break
            if is_enough(views) and (source.live or len(views.found) >= MAX_VIEWS):
                break
    finally:
        source.close()
        window.close()
    tell(f"{len(views.found)} different views of the board in {looked} images")
    return views
