"""Calibration boards: checkerboard and ChArUco, found in an image.

OpenCV has ChArUco under one API up to 4.6 and under another from 4.7 on; both are used here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

#: Minimum number of inner corners along a side: fewer do not tell a turn of the board.
MIN_CORNERS = 3

#: Minimum number of corners of a ChArUco board in a view.
MIN_VISIBLE = 12

#: Maximum side of the image in which a checkerboard is looked for first, px. Looking for one that
#: is not there takes seconds in a large image.
QUICK_SIDE = 1000

#: Ratio of the half width of the window of the sub-pixel search to the distance of two corners.
WINDOW = 0.3

#: Maximum half width of that window, px.
MAX_WINDOW = 11


class BoardError(ValueError):
    """A board that cannot exist, or that this OpenCV cannot find."""


@dataclass(frozen=True)
class Found:
    """The corners of a board in one image.

    Attributes:
        points: (N, 2) on the board; one side of a square is 1.
        pixels: (N, 2) px.
    """

    points: np.ndarray
    pixels: np.ndarray


class Checkerboard:
    """A checkerboard; all of it must be visible.

    Args:
        columns, rows: number of inner corners, as ROS counts them.

    Raises:
        BoardError: there are too few corners.
    """

    def __init__(self, columns: int, rows: int) -> None:
        if min(columns, rows) < MIN_CORNERS:
            raise BoardError(f"a board of {columns}x{rows} inner corners is too small")
        self.size = (columns, rows)
        y, x = np.mgrid[:rows, :columns]
        self._points = np.stack([x, y], axis=-1).reshape(-1, 2).astype(np.float64)

    def find(self, grey: np.ndarray) -> Found | None:
        """The board in an image (H, W) uint8; None where it is not found."""
        scale = min(1.0, QUICK_SIDE / max(grey.shape))
        small = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        found, corners = cv2.findChessboardCornersSB(small, self.size, None)
        if not found:
            flags = cv2.CALIB_CB_ADAPTIVE_THRESH | cv2.CALIB_CB_NORMALIZE_IMAGE
            flags |= cv2.CALIB_CB_FAST_CHECK
            found, corners = cv2.findChessboardCorners(small, self.size, None, flags=flags)
        if not found or corners is None or len(corners) != len(self._points):
            return None
        pixels = (corners.reshape(-1, 2).astype(np.float64) + 0.5) / scale - 0.5
        grid = pixels.reshape(self.size[1], self.size[0], 2)
        apart = min(np.linalg.norm(np.diff(grid, axis=axis), axis=-1).min() for axis in (0, 1))
        return Found(self._points, refined(grey, pixels, float(apart)))


class CharucoBoard:
    """A ChArUco board; a part of it may be hidden or outside the image.

    Args:
        columns, rows: number of squares.
        dictionary: name of the markers in OpenCV, such as 'DICT_5X5_100'.
        marker_ratio: side of a marker over the side of a square.

    Raises:
        BoardError: there is no such board, or this OpenCV has no ChArUco.
    """

    def __init__(self, columns: int, rows: int, dictionary: str, marker_ratio: float) -> None:
        if min(columns, rows) < MIN_CORNERS + 1:
            raise BoardError(f"a board of {columns}x{rows} squares is too small")
        corners = (columns - 1) * (rows - 1)
        if corners < MIN_VISIBLE:
            raise BoardError(
                f"a board of {columns}x{rows} squares has {corners} inner corners, and "
                f"{MIN_VISIBLE} are needed: use one of 5x4 squares or more"
            )
        if not 0 < marker_ratio < 1:
            raise BoardError(f"a marker ratio of {marker_ratio:g} is outside 0..1")
        aruco = getattr(cv2, "aruco", None)
        if aruco is None or not any(
            hasattr(aruco, name) for name in ("CharucoDetector", "interpolateCornersCharuco")
        ):
            raise BoardError(
                f"OpenCV {cv2.__version__} here has no ChArUco: install opencv-python-headless 4.7 "
                "or later, or use a checkerboard"
            )
        number = getattr(aruco, dictionary, None)
        if number is None or not dictionary.startswith("DICT_"):
            raise BoardError(f"OpenCV has no markers {dictionary!r}; an example: DICT_5X5_100")
        self.size = (columns, rows)
        self._markers = aruco.getPredefinedDictionary(number)
        self._boards = self._make_boards(marker_ratio)
        wanted = columns * rows // 2
        have = len(self._markers.bytesList)
        if have < wanted:
            raise BoardError(f"{dictionary} has {have} markers, the board needs {wanted}")

    def _make_boards(self, ratio: float) -> list:
        """The board, and where OpenCV knows it, the one of versions before 4.6."""
        if hasattr(cv2.aruco, "CharucoBoard_create"):
            return [cv2.aruco.CharucoBoard_create(*self.size, 1.0, ratio, self._markers)]
        boards = [cv2.aruco.CharucoBoard(self.size, 1.0, ratio, self._markers) for _ in range(2)]
        if not hasattr(boards[1], "setLegacyPattern"):
            return boards[:1]
        boards[1].setLegacyPattern(True)
        return boards

    def find(self, grey: np.ndarray) -> Found | None:
        """The board in an image (H, W) uint8; None where it is not found."""
        for board in self._boards:
            corners, ids = self._detect(grey, board)
            if corners is None or ids is None or len(ids) < MIN_VISIBLE:
                continue
            all_points = (
                board.getChessboardCorners()
                if hasattr(board, "getChessboardCorners")
                else board.chessboardCorners
            )
            points = np.asarray(all_points, dtype=np.float64)[ids.ravel(), :2]
            if np.linalg.matrix_rank(points - points.mean(axis=0), tol=0.1) == 2:
                return Found(points, corners.reshape(-1, 2).astype(np.float64))
        return None

    def _detect(self, grey: np.ndarray, board: cv2.aruco.CharucoBoard) -> tuple:
        """The corners and their numbers; None for none."""
        if hasattr(cv2.aruco, "CharucoDetector"):
            return cv2.aruco.CharucoDetector(board).detectBoard(grey)[:2]
        # Functions of OpenCV 4.6 and earlier, which the types of later versions do not have.
        old: Any = vars(cv2)["aruco"]
        markers, numbers, _ = old.detectMarkers(grey, self._markers)
        if numbers is None or not len(numbers):
            return None, None
        return old.interpolateCornersCharuco(markers, numbers, grey, board)[1:]


Board = Checkerboard | CharucoBoard


def refined(grey: np.ndarray, pixels: np.ndarray, apart: float) -> np.ndarray:
    """Corners to a fraction of a pixel.

    Args:
        grey: (H, W) uint8.
        pixels: (N, 2) px.
        apart: distance of the nearest two, px.
    """
    half = int(np.clip(WINDOW * apart, 2, MAX_WINDOW))
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_MAX_ITER, 50, 1e-3)
    start = pixels.astype(np.float32).reshape(-1, 1, 2)
    corners = cv2.cornerSubPix(grey, start, (half, half), (-1, -1), criteria)
    return corners.reshape(-1, 2).astype(np.float64)
