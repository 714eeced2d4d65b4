"""The colours of what a person wears on the trunk, to tell people apart after a crossing."""

from __future__ import annotations

import cv2
import numpy as np

from ..skeletons import Layout

#: Points taken across and along the trunk.
GRID = (8, 16)
#: Of the trunk's outline, what is looked at: its edges are arms and background.
INNER = 0.7
#: A trunk that is seen from the side is taken to be this wide, as a share of its length.
LEAST_WIDTH = 0.3
#: Shorter trunks, px, show no colours worth comparing.
LEAST_LENGTH = 12.0
#: Share of a trunk that has to be seen.
LEAST_SEEN = 0.4
#: Bins of L, a and b of CIELAB. Few of L: light changes more than dye.
BINS = (4, 8, 8)
BIN_COUNT = BINS[0] * BINS[1] * BINS[2]
#: a and b beyond this (of 128) are all one; cloth in daylight is seldom more colourful.
CHROMA = 48.0
NO_BOXES = np.empty((0, 4))


def trunk_quad(keypoints: np.ndarray, layout: Layout, min_score: float) -> np.ndarray | None:
    """The corners of a trunk's inner part.

    Args:
        keypoints: (K, 3) px, px, score.
        layout: theirs; it has shoulders and hips.
        min_score: of each of the four.

    Returns:
        (4, 2) px: at the left and right shoulder, the left and right hip; None where one of them is
        unseen, or all are too close together.
    """
    corners = keypoints[[layout.index(j) for j in _CORNERS]]
    if not (np.isfinite(corners).all() and (corners[:, 2] >= min_score).all()):
        return None
    left, right = corners[[0, 2], :2], corners[[1, 3], :2]
    axis, across = 0.5 * (left + right), 0.5 * (left - right)
    along = axis[1] - axis[0]
    length = float(np.hypot(*along))
    if length < LEAST_LENGTH:
        return None
    # Widened at a right angle to the trunk's axis where it is seen from the side.
    normal = np.array([along[1], -along[0]]) / length
    width = across @ normal
    width = np.where(width < 0, -1.0, 1.0) * np.maximum(np.abs(width), 0.5 * LEAST_WIDTH * length)
    across = INNER * width[:, None] * normal
    middle = axis.mean(axis=0)
    axis = middle + INNER * (axis - middle)
    return np.array(
        [axis[0] + across[0], axis[0] - across[0], axis[1] + across[1], axis[1] - across[1]]
    )


_CORNERS = ("left_shoulder", "right_shoulder", "left_hip", "right_hip")
_U, _V = (g.ravel() for g in np.meshgrid(np.linspace(0, 1, GRID[0]), np.linspace(0, 1, GRID[1])))
#: (points, 4) share of each corner in each point.
_SHARES = np.stack([(1 - _V) * (1 - _U), (1 - _V) * _U, _V * (1 - _U), _V * _U], axis=1)


def colour_histogram(
    image: np.ndarray, quad: np.ndarray, covers: np.ndarray = NO_BOXES
) -> np.ndarray | None:
    """How often each colour occurs inside a quad.

    Args:
        image: (H, W, 3) uint8 RGB.
        quad: (4, 2) px of `trunk_quad`.
        covers: (N, 4) left, top, right, bottom, px; what is inside is left out.

    Returns:
        (B,) shares, sum 1: CIELAB in `BINS`, each point spread over the two nearest bins of each
        axis. None where less than `LEAST_SEEN` of the quad can be seen.
    """
    points = np.rint(_SHARES @ quad).astype(int)
    height, width = image.shape[:2]
    seen = ((points >= 0) & (points < (width, height))).all(axis=1)
    seen &= ~((points > covers[:, None, :2]) & (points < covers[:, None, 2:])).all(-1).any(axis=0)
    points = points[seen]
    if len(points) < LEAST_SEEN * len(_SHARES):
        return None
    pixels = image[points[:, 1], points[:, 0]][None].astype(np.float32) / 255
    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)[0]
    lab[:, 0] /= 100
    lab[:, 1:] = 0.5 + 0.5 * (lab[:, 1:] / CHROMA).clip(-1, 1)
    place = lab * (np.array(BINS) - 1)
    low = np.minimum(place.astype(int), np.array(BINS) - 2)
    share = place - low
    out = np.zeros(BIN_COUNT)
    for corner in np.ndindex(2, 2, 2):
        bins = np.ravel_multi_index(tuple((low + corner).T), BINS)
        weight = np.where(corner, share, 1 - share).prod(axis=1)
        out += np.bincount(bins, weight, len(out))
    return out / len(points)


def likeness(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Bhattacharyya's coefficient of each with each: 1 for equal ones, 0 for nothing in common.

    Args:
        first, second: (N, B) and (M, B) histograms; NaN where one is not known.

    Returns:
        (N, M).
    """
    return np.sqrt(first) @ np.sqrt(second).T
