"""Pictures into a network's input, and its output into keypoints and boxes.

Coordinates are of pixels' centres, (0, 0) that of the top left one, as everywhere in the package.
Networks that give shares of the picture count from its edges, and so do Ultralytics'.
"""

from __future__ import annotations

import cv2
import numpy as np

from ...geometry.boxes import nms
from .config import NetworkConfig

#: More candidates than this are not compared with each other: a crowd has fewer.
MOST_CANDIDATES = 1000


class WrongShape(Exception):
    """An output of another shape than the decoder's; the text says what is expected and found."""


def tensor(picture: np.ndarray, config: NetworkConfig, dtype: str) -> np.ndarray:
    """The input (height, width, 3) uint8 RGB as the network wants it, without the batch's axis."""
    if config.colors == "bgr":
        picture = picture[..., ::-1]
    values = np.empty((3, *picture.shape[:2]), np.float32)
    # Plane by plane: pixel by pixel, with three numbers for each, takes sixty times as long.
    for plane, given, mean, std in zip(
        values, cv2.split(picture), config.mean, config.std, strict=True
    ):
        np.multiply(given, np.float32(1 / std), out=plane, dtype=np.float32)
        if mean:
            plane -= np.float32(mean / std)
    if config.channels == "nhwc":
        values = values.transpose(1, 2, 0)
    return np.ascontiguousarray(values, dtype=dtype)


# ------------------------------------------------------------------------------------- top-down


def decode_crops(
    outputs: dict[str, np.ndarray], config: NetworkConfig, size: tuple[int, int]
) -> np.ndarray:
    """A top-down network's keypoints.

    Args:
        outputs: by name, in the network's order.
        config: of the network.
        size: (width, height) of its input.

    Returns:
        (B, K, 3) px of the input, px, score.

    Raises:
        WrongShape: the output is none of this decoder's.
    """
    assert config.layout is not None
    joints = len(config.layout)
    if config.decode == "simcc":
        return _simcc(outputs, config.split, joints, size)
    if config.decode == "heatmap":
        return _heatmaps(outputs, config, joints, size)
    (found,) = _expect(outputs, [("B", 1, joints, 3)])
    return _from_shares(found[:, 0], size)


def _simcc(
    outputs: dict[str, np.ndarray], split: float, joints: int, size: tuple[int, int]
) -> np.ndarray:
    if {"simcc_x", "simcc_y"} <= set(outputs):
        outputs = {name: outputs[name] for name in ("simcc_x", "simcc_y")}
    bins = [round(n * split) for n in size]
    axes = _expect(outputs, [("B", joints, n) for n in bins])
    places = [a.argmax(axis=-1) / split for a in axes]
    # Sure of the column but not of the row is not sure.
    score = np.minimum(*(a.max(axis=-1) for a in axes))
    return np.stack([*places, score], axis=-1)


def _heatmaps(
    outputs: dict[str, np.ndarray], config: NetworkConfig, joints: int, size: tuple[int, int]
) -> np.ndarray:
    form: tuple[int | str, ...] = ("B", joints, "h", "w")
    # PaddleDetection's exports have each map's highest cell beside it.
    maps = _expect(outputs, [form], [form, ("B", joints)])[0]
    batch, _, rows, columns = maps.shape
    if min(rows, columns) < 2 or abs(rows * size[0] - columns * size[1]) > max(size):
        raise WrongShape(
            f"expected heat maps of the input's shape, {size[0]} wide and {size[1]} high, "
            f"found {columns} wide and {rows} high"
        )
    flat = maps.reshape(batch, joints, -1)
    peak = flat.argmax(axis=-1)
    row, column = np.divmod(peak, columns)
    cells = np.stack([column, row], axis=-1).astype(np.float64)
    cells += _refined(maps, row, column, config.refine)
    wide, high = size
    if config.grid == "corners":
        per_cell = np.array([(wide - 1) / (columns - 1), (high - 1) / (rows - 1)])
    else:
        per_cell = np.array([wide / columns, high / rows])
    return np.concatenate([cells * per_cell, flat.max(axis=-1)[..., None]], axis=-1)


def _refined(maps: np.ndarray, row: np.ndarray, column: np.ndarray, how: str) -> np.ndarray:
    """(B, K, 2) cells, x and y, from the highest cell to where the peak lies between it and its
    neighbours; 0 along an axis at whose end it is."""
    shift = np.zeros((*row.shape, 2))
    if how == "none":
        return shift
    rows, columns = maps.shape[-2:]
    batch, joint = np.indices(row.shape)
    for axis, (at, count) in enumerate(((column, columns), (row, rows))):
        inside = (at > 0) & (at < count - 1)
        step = (0, 1) if axis == 0 else (1, 0)
        low, here, high = (
            maps[
                batch,
                joint,
                np.clip(row + k * step[0], 0, rows - 1),
                np.clip(column + k * step[1], 0, columns - 1),
            ].astype(np.float64)
            for k in (-1, 0, 1)
        )
        if how == "quarter":
            moved = 0.25 * np.sign(high - low)
        else:
            # A Gaussian's logarithm is a parabola, which three points fix.
            least = np.maximum(1e-3 * np.abs(here), 1e-9)
            a, b, c = (np.log(np.maximum(v, least)) for v in (low, here, high))
            bend = 2 * b - a - c
            moved = np.where(bend > 1e-6, 0.5 * (c - a) / np.maximum(bend, 1e-6), 0.0)
        shift[..., axis] = np.where(inside, moved.clip(-0.5, 0.5), 0.0)
    return shift


# ------------------------------------------------------------------------------------- one stage


def decode_people(
    outputs: dict[str, np.ndarray], config: NetworkConfig, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """A one-stage network's people, the best first, without doubles.

    Args:
        outputs, config, size: as of `decode_crops`.

    Returns:
        keypoints (P, K, 3) px of the input, px, score; scores (P,).

    Raises:
        WrongShape: as `decode_crops`.
    """
    assert config.layout is not None
    joints = len(config.layout)
    if config.decode == "rtmo":
        if {"dets", "keypoints"} <= set(outputs):
            outputs = {name: outputs[name] for name in ("dets", "keypoints")}
        dets, points = _expect(outputs, [(1, "N", 5), (1, "N", joints, 3)])
        boxes, scores, keypoints = dets[0, :, :4], dets[0, :, 4], points[0]
    elif config.decode == "movenet_multi":
        (found,) = _expect(outputs, [(1, "N", 3 * joints + 5)])
        keypoints = _from_shares(found[0, :, :-5].reshape(-1, joints, 3), size)
        low, high = (found[0, :, a:b][:, ::-1] * size for a, b in ((-5, -3), (-3, -1)))
        boxes, scores = np.concatenate([low, high], axis=-1), found[0, :, -1]
    else:
        (found,) = _expect(outputs, [(1, 5 + 3 * joints, "N")], [(1, "N", 6 + 3 * joints)])
        if found.shape[1] == 5 + 3 * joints:
            rows = found[0].T
            boxes, scores, points = _corners(rows[:, :4]), rows[:, 4], rows[:, 5:]
        else:
            # Suppressed already; the sixth is the class, of which there is one.
            boxes, scores, points = found[0, :, :4], found[0, :, 4], found[0, :, 6:]
        # They are mirrored in training as width - x: counted from the picture's edge.
        keypoints = points.reshape(-1, joints, 3) - np.array([0.5, 0.5, 0.0], points.dtype)
    sound = np.isfinite(keypoints).all(axis=(1, 2)) & np.isfinite(boxes).all(axis=1)
    kept = _suppressed(boxes, np.where(sound, scores, 0.0), config)
    return keypoints[kept], scores[kept]


def decode_boxes(
    outputs: dict[str, np.ndarray], config: NetworkConfig, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """The people that a network finds, the best first, without doubles.

    Args:
        outputs, config, size: as of `decode_crops`.

    Returns:
        boxes (P, 4) left, top, right, bottom, px of the input; scores (P,).

    Raises:
        WrongShape: as `decode_crops`.
    """
    kind = config.class_id
    if config.decode == "nms_boxes":
        if {"dets", "labels"} <= set(outputs):
            outputs = {name: outputs[name] for name in ("dets", "labels")}
        if len(outputs) == 2:
            found, kinds = _expect(outputs, [(1, "N", 5), (1, "N")])
            of_people = kinds[0] == kind
        else:
            (found,) = _expect(outputs, [(1, "N", 6)], [(1, "N", 5)])
            of_people = found[0, :, 5] == kind if found.shape[2] == 6 else np.array(True)
        boxes, scores = found[0, :, :4], np.where(of_people, found[0, :, 4], 0.0)
    elif config.decode == "yolo_boxes":
        (found,) = _expect(outputs, [(1, "4 + classes", "N")])
        rows = found[0].T
        _expect_class(rows.shape[1] - 4, kind)
        boxes, scores = _corners(rows[:, :4]), rows[:, 4 + kind]
    else:
        cells = _yolox_cells(size)
        (found,) = _expect(outputs, [(1, len(cells), "5 + classes")])
        _expect_class(found.shape[2] - 5, kind)
        rows = found[0].astype(np.float64)
        middles = (rows[:, :2] + cells[:, :2]) * cells[:, 2:]
        extents = np.exp(rows[:, 2:4].clip(-20, 20)) * cells[:, 2:]
        boxes = _corners(np.concatenate([middles, extents], axis=-1))
        scores = rows[:, 4] * rows[:, 5 + kind]
    sound = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    kept = _suppressed(boxes, np.where(sound, scores, 0.0), config)
    return boxes[kept], scores[kept]


def _yolox_cells(size: tuple[int, int]) -> np.ndarray:
    """(N, 3): column, row and stride of each of the grids' cells, in the output's order."""
    grids = []
    for stride in (8, 16, 32):
        row, column = np.indices((size[1] // stride, size[0] // stride))
        grids.append(np.stack([column, row, np.full_like(row, stride)], axis=-1).reshape(-1, 3))
    return np.concatenate(grids).astype(np.float64)


def _expect_class(classes: int, kind: int) -> None:
    if classes <= kind:
        raise WrongShape(f"expected a class {kind}, found {max(classes, 0)} classes")


def _from_shares(found: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(..., 3) y, x as shares of the input, score, to px, px, score."""
    places = found[..., 1::-1] * size - 0.5
    return np.concatenate([places, found[..., 2:]], axis=-1)


def _corners(boxes: np.ndarray) -> np.ndarray:
    """(N, 4) middle and size to left, top, right, bottom."""
    half = boxes[:, 2:] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=-1)


def _suppressed(boxes: np.ndarray, scores: np.ndarray, config: NetworkConfig) -> np.ndarray:
    """Indices of the boxes (N, 4) kept, best score first: of those over the threshold, without the
    ones that overlap a better one."""
    order = np.argsort(-scores, kind="stable")[:MOST_CANDIDATES]
    order = order[scores[order] > max(config.score_threshold, 1e-6)]
    kept: np.ndarray = order[nms(boxes[order].astype(np.float64), scores[order], config.nms_iou)]
    return kept


def _expect(
    outputs: dict[str, np.ndarray], *forms: list[tuple[int | str, ...]]
) -> list[np.ndarray]:
    """The outputs, which have one of these forms: a number must be met, a word may be any.

    Raises:
        WrongShape: they have none.
    """
    arrays = list(outputs.values())
    for form in forms:
        if len(form) == len(arrays) and all(
            len(shape) == array.ndim
            and all(isinstance(n, str) or n == m for n, m in zip(shape, array.shape, strict=True))
            for shape, array in zip(form, arrays, strict=True)
        ):
            return arrays
    expected = " or ".join(
        " and ".join(f"({', '.join(map(str, shape))})" for shape in form) for form in forms
    )
    found = " and ".join(f"{name} {array.shape}" for name, array in outputs.items())
    raise WrongShape(f"expected {expected}, found {found}")
