"""The colours of what a person wears on trunk and thighs, to tell people apart after a crossing."""

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
#: The width of a thigh's inner part, as a share of its length.
THIGH_WIDTH = 0.25
#: Shorter trunks and thighs, px, show no colours worth comparing.
LEAST_LENGTH = 12.0
#: Share of the points that has to be seen.
LEAST_SEEN = 0.4
#: Bins of L, a and b of CIELAB. Few of L: light changes more than dye.
BINS = (4, 8, 8)
BIN_COUNT = BINS[0] * BINS[1] * BINS[2]
#: a and b beyond this (of 128) are all one; cloth in daylight is seldom more colourful.
CHROMA = 48.0
#: Trunk and thighs.
PARTS = 2


def trunk_quad(keypoints: np.ndarray, layout: Layout, min_score: float) -> np.ndarray | None:
    """The corners of a trunk's inner part.

    Args:
        keypoints: (K, 3) px, px, score.
        layout: theirs; it has shoulders and hips.
        min_score: of each of the four.

    Returns:
        (1, 4, 2) px: at the left and right shoulder, the left and right hip; None where one of them
        is unseen, or all are too close together.
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
        [[axis[0] + across[0], axis[0] - across[0], axis[1] + across[1], axis[1] - across[1]]]
    )


def thigh_quads(keypoints: np.ndarray, layout: Layout, min_score: float) -> np.ndarray | None:
    """The corners of the thighs' inner parts.

    Args:
        keypoints: (K, 3) px, px, score.
        layout: theirs; it has hips and knees.
        min_score: of each hip and knee.

    Returns:
        (1 or 2, 4, 2) px: two at the hip, two at the knee; None where no thigh is seen, or all are
        too short.
    """
    quads = []
    for hip, knee in keypoints[[[layout.index(j) for j in thigh] for thigh in _THIGHS]]:
        if not (np.isfinite([hip, knee]).all() and hip[2] >= min_score and knee[2] >= min_score):
            continue
        along = knee[:2] - hip[:2]
        if np.hypot(*along) >= LEAST_LENGTH:
            across = 0.5 * THIGH_WIDTH * np.array([along[1], -along[0]])
            middle = 0.5 * (hip[:2] + knee[:2])
            ends = middle - 0.5 * INNER * along, middle + 0.5 * INNER * along
            quads.append([end + sign * across for end in ends for sign in (1, -1)])
    return np.array(quads) if quads else None


_THIGHS = [(f"{side}_hip", f"{side}_knee") for side in ("left", "right")]
_CORNERS = ("left_shoulder", "right_shoulder", "left_hip", "right_hip")
_U, _V = (g.ravel() for g in np.meshgrid(np.linspace(0, 1, GRID[0]), np.linspace(0, 1, GRID[1])))
#: (points, 4) share of each corner in each point.
_SHARES = np.stack([(1 - _V) * (1 - _U), (1 - _V) * _U, _V * (1 - _U), _V * _U], axis=1)


def colour_histograms(
    image: np.ndarray,
    quads: np.ndarray,
    whose: np.ndarray,
    in_front: np.ndarray | None = None,
    ranks: np.ndarray | None = None,
) -> np.ndarray:
    """How often each colour occurs inside quads.

    Args:
        image: (H, W, 3) uint8 RGB.
        quads: (Q, 4, 2) px, of `trunk_quad` or `thigh_quads`.
        whose: (Q,) the histogram that each goes into, 0 to N - 1.
        in_front: (H, W) of `ranks_of`; what is above the own rank is left out.
        ranks: (Q,) the own ones.

    Returns:
        (N, B) shares, sum 1: CIELAB in `BINS`, each point spread over the two nearest bins of each
        axis. NaN where less than `LEAST_SEEN` of the quads can be seen.
    """
    points = np.rint(_SHARES @ quads).astype(int).reshape(-1, 2)
    owner = np.repeat(whose, len(_SHARES))
    count = np.bincount(owner)
    height, width = image.shape[:2]
    seen = ((points >= 0) & (points < (width, height))).all(axis=1)
    if in_front is not None and ranks is not None:
        x, y = points[seen].T
        seen[seen] = in_front[y, x] <= np.repeat(ranks, len(_SHARES))[seen]
    points, owner = points[seen], owner[seen]
    pixels = image[points[:, 1], points[:, 0]][None].astype(np.float32) / 255
    out = np.zeros((len(count), BIN_COUNT))
    if len(points):
        lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)[0]
        lab[:, 0] /= 100
        lab[:, 1:] = 0.5 + 0.5 * (lab[:, 1:] / CHROMA).clip(-1, 1)
        place = lab * (np.array(BINS) - 1)
        low = np.minimum(place.astype(int), np.array(BINS) - 2)
        share = place - low
        first = owner * BIN_COUNT + np.ravel_multi_index(tuple(low.T), BINS)
        for corner in np.ndindex(2, 2, 2):
            weight = np.where(corner, share, 1 - share).prod(axis=1)
            bins = first + np.ravel_multi_index(corner, BINS)
            out += np.bincount(bins, weight, out.size).reshape(out.shape)
    known = np.bincount(owner, minlength=len(count))
    out[known < LEAST_SEEN * count] = np.nan
    return out / np.maximum(known, 1)[:, None]


def ranks_of(
    poses: np.ndarray, size: tuple[int, int], min_score: float
) -> tuple[np.ndarray, np.ndarray]:
    """Who is in front where: who stands lower in the picture is nearer.

    Args:
        poses: (N, K, 3) px, px, score.
        size: (height, width) px.
        min_score: keypoints under it are not seen.

    Returns:
        (height, width) the rank of whoever covers it, by the convex hull of the keypoints, 0 for
        nobody; and (N,) the ranks, the nearest's the highest, at most 255.
    """
    places = [p[np.isfinite(p).all(axis=1) & (p[:, 2] >= min_score), :2] for p in poses]
    bottoms = [p[:, 1].max() if len(p) else -np.inf for p in places]
    ranks = np.zeros(len(poses), dtype=int)
    ranks[np.argsort(bottoms, kind="stable")] = np.minimum(np.arange(len(poses)) + 1, 255)
    out = np.zeros(size, np.uint8)
    for i in np.argsort(ranks, kind="stable"):
        if len(places[i]):
            near = places[i].clip(-1e4, 1e4).astype(np.int32)
            cv2.fillConvexPoly(out, cv2.convexHull(near), int(ranks[i]))
    return out, ranks


def clothes(image: np.ndarray, poses: np.ndarray, layout: Layout, min_score: float) -> np.ndarray:
    """The colours of people's trunks and thighs, as far as nobody else covers them.

    Args:
        image: (H, W, 3) uint8 RGB.
        poses: (N, K, 3) px, px, score.
        layout: theirs.
        min_score: keypoints under it are not seen.

    Returns:
        (N, `PARTS`, B) histograms; a part that is not seen is NaN.
    """
    out = np.full((len(poses), PARTS, BIN_COUNT), np.nan)
    in_front, ranks = ranks_of(poses, image.shape[:2], min_score)
    found = [
        (i, part, quads)
        for i, pose in enumerate(poses)
        for part, quads_of in enumerate((trunk_quad, thigh_quads))
        if (quads := quads_of(pose, layout, min_score)) is not None
    ]
    if found:
        people, parts, quads = zip(*found, strict=True)
        whose = np.repeat(np.arange(len(found)), [len(q) for q in quads])
        ranks = ranks[np.array(people)[whose]]
        out[people, parts] = colour_histograms(image, np.concatenate(quads), whose, in_front, ranks)
    return out


def likeness(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Bhattacharyya's coefficient of each with each: 1 for equal ones, 0 for nothing in common.

    Args:
        first, second: (..., N, B) and (..., M, B) histograms; NaN where one is not known.

    Returns:
        (..., N, M).
    """
    return np.sqrt(first) @ np.swapaxes(np.sqrt(second), -1, -2)
