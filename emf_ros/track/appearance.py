"""Appearance: colour histograms of trunk and thighs, which tell people apart after an occlusion."""

from __future__ import annotations

import cv2
import numpy as np

from ..skeletons import Layout

#: Number of points sampled across and along a trunk or a thigh.
GRID = (8, 16)

#: Inner part of the trunk or thigh that is sampled, as a share of its length and width. The edges
#: show arms and background.
INNER_SHARE = 0.7

#: Minimum width of a trunk, as a share of its length. A trunk seen from the side has shoulders on
#: one line.
MIN_TRUNK_WIDTH = 0.3

#: Width of the sampled part of a thigh, as a share of the thigh's length.
THIGH_WIDTH = 0.25

#: Minimum length, px, of a trunk or a thigh that is sampled. Shorter ones show too few colours.
MIN_LENGTH_PX = 12.0

#: Minimum share of the sampled points that is visible, for a histogram to be known.
MIN_VISIBLE_SHARE = 0.4

#: Number of bins of CIELAB's L, a and b. L has few: light changes more than dye.
BINS = (4, 8, 8)

#: Number of bins of a histogram.
BIN_COUNT = BINS[0] * BINS[1] * BINS[2]

#: Maximum absolute value of CIELAB's a and b, of 128. Larger values are clipped. Cloth in
#: daylight is seldom more colourful.
MAX_CHROMA = 48.0

#: Number of body parts with a histogram: trunk and thighs.
PARTS = 2

#: Maximum rank of a person in an occlusion map, which is of 8 bits.
MAX_RANK = 255

#: Limit of the coordinates, px, of a polygon that OpenCV draws.
MAX_POLYGON_PX = 1e4

#: Similarities of two appearances, 0..1, at which `LLR_OF_SIMILARITY` is given; linear in between.
SIMILARITY_KNOTS = (0.0, 0.3, 0.5, 0.7, 0.85, 1.0)

#: Log-likelihood ratio of one person to two different people, at each of `SIMILARITY_KNOTS`.
LLR_OF_SIMILARITY = (-8.0, -6.0, -3.5, 0.0, 2.0, 2.5)

#: Maximum log-likelihood ratio by appearance.
MAX_APPEARANCE_LLR = LLR_OF_SIMILARITY[-1]


def trunk_quad(keypoints: np.ndarray, layout: Layout, min_score: float) -> np.ndarray | None:
    """The corners of a trunk's inner part.

    Args:
        keypoints: (K, 3) px, px, score.
        layout: of the keypoints; it has shoulders and hips.
        min_score: minimum score of each of the four.

    Returns:
        (1, 4, 2) px: at the left and right shoulder, the left and right hip; None where one of them
        is missing, or the trunk is shorter than `MIN_LENGTH_PX`.
    """
    corners = keypoints[[layout.index(j) for j in _CORNERS]]
    if not (np.isfinite(corners).all() and (corners[:, 2] >= min_score).all()):
        return None
    left, right = corners[[0, 2], :2], corners[[1, 3], :2]
    axis, across = 0.5 * (left + right), 0.5 * (left - right)
    along = axis[1] - axis[0]
    length = float(np.hypot(*along))
    if length < MIN_LENGTH_PX:
        return None
    # A trunk seen from the side is widened at a right angle to its axis.
    normal = np.array([along[1], -along[0]]) / length
    width = across @ normal
    width = np.where(width < 0, -1.0, 1.0) * np.maximum(
        np.abs(width), 0.5 * MIN_TRUNK_WIDTH * length
    )
    across = INNER_SHARE * width[:, None] * normal
    middle = axis.mean(axis=0)
    axis = middle + INNER_SHARE * (axis - middle)
    return np.array(
        [[axis[0] + across[0], axis[0] - across[0], axis[1] + across[1], axis[1] - across[1]]]
    )


def thigh_quads(keypoints: np.ndarray, layout: Layout, min_score: float) -> np.ndarray | None:
    """The corners of the thighs' inner parts.

    Args:
        keypoints: (K, 3) px, px, score.
        layout: of the keypoints; it has hips and knees.
        min_score: minimum score of each hip and knee.

    Returns:
        (1 or 2, 4, 2) px: two at the hip, two at the knee; None where no thigh is visible and at
        least `MIN_LENGTH_PX` long.
    """
    quads = []
    for hip, knee in keypoints[np.array([[layout.index(j) for j in thigh] for thigh in _THIGHS])]:
        if not (np.isfinite([hip, knee]).all() and hip[2] >= min_score and knee[2] >= min_score):
            continue
        along = knee[:2] - hip[:2]
        if np.hypot(*along) >= MIN_LENGTH_PX:
            across = 0.5 * THIGH_WIDTH * np.array([along[1], -along[0]])
            middle = 0.5 * (hip[:2] + knee[:2])
            ends = middle - 0.5 * INNER_SHARE * along, middle + 0.5 * INNER_SHARE * along
            quads.append([end + sign * across for end in ends for sign in (1, -1)])
    return np.array(quads) if quads else None


_THIGHS = [(f"{side}_hip", f"{side}_knee") for side in ("left", "right")]
_CORNERS = ("left_shoulder", "right_shoulder", "left_hip", "right_hip")
_U, _V = (g.ravel() for g in np.meshgrid(np.linspace(0, 1, GRID[0]), np.linspace(0, 1, GRID[1])))
#: (points, 4) share of each corner of a quad in each sampled point.
_SHARES = np.stack([(1 - _V) * (1 - _U), (1 - _V) * _U, _V * (1 - _U), _V * _U], axis=1)


def colour_histograms(
    image: np.ndarray,
    quads: np.ndarray,
    histogram_of: np.ndarray,
    occlusion_map: np.ndarray | None = None,
    ranks: np.ndarray | None = None,
) -> np.ndarray:
    """Histograms of the colours inside quads.

    Args:
        image: (H, W, 3) uint8 RGB.
        quads: (Q, 4, 2) px, of `trunk_quad` or `thigh_quads`.
        histogram_of: (Q,) index of the histogram that each quad adds to, 0 to N - 1.
        occlusion_map: (H, W) of `occlusion`; pixels of a rank above the quad's are left out.
        ranks: (Q,) of `occlusion`, of the person of each quad.

    Returns:
        (N, B) shares, sum 1: CIELAB in `BINS`, each point spread over the two nearest bins of each
        axis. NaN where less than `MIN_VISIBLE_SHARE` of the points are visible.
    """
    points = np.rint(_SHARES @ quads).astype(int).reshape(-1, 2)
    owner = np.repeat(histogram_of, len(_SHARES))
    count = np.bincount(owner)
    height, width = image.shape[:2]
    visible = ((points >= 0) & (points < (width, height))).all(axis=1)
    if occlusion_map is not None and ranks is not None:
        x, y = points[visible].T
        visible[visible] = occlusion_map[y, x] <= np.repeat(ranks, len(_SHARES))[visible]
    points, owner = points[visible], owner[visible]
    pixels = image[points[:, 1], points[:, 0]][None].astype(np.float32) / 255
    out = np.zeros((len(count), BIN_COUNT))
    if len(points):
        lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)[0]
        lab[:, 0] /= 100
        lab[:, 1:] = 0.5 + 0.5 * (lab[:, 1:] / MAX_CHROMA).clip(-1, 1)
        position = lab * (np.array(BINS) - 1)
        low = np.minimum(position.astype(int), np.array(BINS) - 2)
        share = position - low
        first = owner * BIN_COUNT + np.ravel_multi_index(tuple(low.T), BINS)
        for corner in np.ndindex(2, 2, 2):
            weight = np.where(corner, share, 1 - share).prod(axis=1)
            bins = first + np.ravel_multi_index(corner, BINS)
            out += np.bincount(bins, weight, out.size).reshape(out.shape)
    known = np.bincount(owner, minlength=len(count))
    out[known < MIN_VISIBLE_SHARE * count] = np.nan
    return out / np.maximum(known, 1)[:, None]


def occlusion(
    poses: np.ndarray, image_size: tuple[int, int], min_score: float
) -> tuple[np.ndarray, np.ndarray]:
    """Which person is in front at each pixel. Lower feet in the image mean a nearer person.

    Args:
        poses: (N, K, 3) px, px, score.
        image_size: (height, width) px.
        min_score: keypoints of a lower score are left out.

    Returns:
        (height, width) rank of the person that covers each pixel, by the convex hull of the
        keypoints; 0 where no person is; and (N,) the rank of each person. The nearest person has
        the highest rank, at most `MAX_RANK`.
    """
    points = [p[np.isfinite(p).all(axis=1) & (p[:, 2] >= min_score), :2] for p in poses]
    bottoms = [p[:, 1].max() if len(p) else -np.inf for p in points]
    ranks = np.zeros(len(poses), dtype=int)
    ranks[np.argsort(bottoms, kind="stable")] = np.minimum(np.arange(len(poses)) + 1, MAX_RANK)
    occlusion_map = np.zeros(image_size, np.uint8)
    for i in np.argsort(ranks, kind="stable"):
        if len(points[i]):
            outline = points[i].clip(-MAX_POLYGON_PX, MAX_POLYGON_PX).astype(np.int32)
            cv2.fillConvexPoly(occlusion_map, cv2.convexHull(outline), int(ranks[i]))
    return occlusion_map, ranks


def appearance_histograms(
    image: np.ndarray, poses: np.ndarray, layout: Layout, min_score: float
) -> np.ndarray:
    """Colour histograms of people's trunks and thighs, without the parts that others occlude.

    Args:
        image: (H, W, 3) uint8 RGB.
        poses: (N, K, 3) px, px, score.
        layout: of the keypoints.
        min_score: keypoints of a lower score are left out.

    Returns:
        (N, `PARTS`, B) histograms; a part that is not visible is NaN.
    """
    out = unknown_appearance(len(poses))
    occlusion_map, ranks = occlusion(poses, image.shape[:2], min_score)
    visible = [
        (i, part, quads)
        for i, pose in enumerate(poses)
        for part, quads_of in enumerate((trunk_quad, thigh_quads))
        if (quads := quads_of(pose, layout, min_score)) is not None
    ]
    if visible:
        people, parts, quads = zip(*visible, strict=True)
        histogram_of = np.repeat(np.arange(len(visible)), [len(q) for q in quads])
        ranks = ranks[np.array(people)[histogram_of]]
        out[people, parts] = colour_histograms(
            image, np.concatenate(quads), histogram_of, occlusion_map, ranks
        )
    return out


def unknown_appearance(count: int) -> np.ndarray:
    """(count, `PARTS`, B) NaN: histograms of people whose appearance is not known."""
    return np.full((count, PARTS, BIN_COUNT), np.nan)


def histogram_similarity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Bhattacharyya coefficient of each with each: 1 for equal ones, 0 for nothing in common.

    Args:
        first, second: (..., N, B) and (..., M, B) histograms; NaN where one is not known.

    Returns:
        (..., N, M), 0..1; NaN where one of the two is not known.
    """
    return np.sqrt(first) @ np.swapaxes(np.sqrt(second), -1, -2)


def appearance_similarity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Mean similarity of the body parts that are known of both people, each with each.

    Args:
        first, second: (N, `PARTS`, B) and (M, `PARTS`, B) histograms.

    Returns:
        (N, M), 0..1; NaN where no part is known of both.
    """
    if not len(first) or not len(second):
        return np.full((len(first), len(second)), np.nan)
    parts = histogram_similarity(first.swapaxes(0, 1), second.swapaxes(0, 1))
    known = np.isfinite(parts).sum(axis=0)
    return np.where(known, np.nansum(parts, axis=0) / np.maximum(known, 1), np.nan)


def appearance_llr(similarity: np.ndarray) -> np.ndarray:
    """Log-likelihood ratio of one person to two, by similarity 0..1; 0 where it is NaN."""
    return np.nan_to_num(np.interp(similarity, SIMILARITY_KNOTS, LLR_OF_SIMILARITY))
