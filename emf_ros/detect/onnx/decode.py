"""From a crop to a network's input, and from its output to keypoints and boxes.

Coordinates are px from the centre of the upper left pixel, as everywhere in the package. Networks
that give shares of the image count from its edges, and so do those of Ultralytics.
"""

from __future__ import annotations

import cv2
import numpy as np

from ...geometry.boxes import nms
from .config import NetworkConfig

#: Maximum number of candidates that are compared with each other: a crowd has fewer.
MAX_CANDIDATES = 1000
#: Minimum score of a candidate even where the settings have a threshold of 0, 0..1.
MIN_CANDIDATE_SCORE = 1e-6
#: Strides of the grids of a YOLOX network, px.
YOLOX_STRIDES_PX = (8, 16, 32)


class WrongShape(Exception):
    """An output has another shape than the decoder expects; the message has both shapes."""


def network_input(crop: np.ndarray, config: NetworkConfig, dtype: str) -> np.ndarray:
    """The input of a network, without the axis of the batch.

    Args:
        crop: (height, width, 3) uint8 RGB.
        config: of the network.
        dtype: one of `config.DTYPES`.

    Returns:
        (3, height, width) or (height, width, 3) of the data type.
    """
    if config.colors == "bgr":
        crop = crop[..., ::-1]
    values = np.empty((3, *crop.shape[:2]), np.float32)
    # By planes: pixel by pixel it takes sixty times as long.
    for plane, channel, mean, std in zip(
        values, cv2.split(crop), config.mean, config.std, strict=True
    ):
        np.multiply(channel, np.float32(1 / std), out=plane, dtype=np.float32)
        if mean:
            plane -= np.float32(mean / std)
    if config.channels == "nhwc":
        values = values.transpose(1, 2, 0)
    return np.ascontiguousarray(values, dtype=dtype)


# ------------------------------------------------------------------------------------- top-down


def decode_crops(
    outputs: dict[str, np.ndarray], config: NetworkConfig, size: tuple[int, int]
) -> np.ndarray:
    """Keypoints of a top-down network.

    Args:
        outputs: by name, in the order of the network.
        config: of the network.
        size: (width, height) of its input.

    Returns:
        (B, K, 3) px of the input, px, score.

    Raises:
        WrongShape: the output has another shape than the decoder expects.
    """
    assert config.layout is not None
    joints = len(config.layout)
    if config.decode == "simcc":
        return _simcc(outputs, config.split, joints, size)
    if config.decode == "heatmap":
        return _heatmaps(outputs, config, joints, size)
    (output,) = _expect(outputs, [("B", 1, joints, 3)])
    return _from_shares(output[:, 0], size)


def _simcc(
    outputs: dict[str, np.ndarray], split: float, joints: int, size: tuple[int, int]
) -> np.ndarray:
    if {"simcc_x", "simcc_y"} <= set(outputs):
        outputs = {name: outputs[name] for name in ("simcc_x", "simcc_y")}
    bins = [round(n * split) for n in size]
    axes = _expect(outputs, [("B", joints, n) for n in bins])
    positions = [a.argmax(axis=-1) / split for a in axes]
    # Both the column and the row must have a high score.
    score = np.minimum(*(a.max(axis=-1) for a in axes))
    return np.stack([*positions, score], axis=-1)


def _heatmaps(
    outputs: dict[str, np.ndarray], config: NetworkConfig, joints: int, size: tuple[int, int]
) -> np.ndarray:
    form: tuple[int | str, ...] = ("B", joints, "h", "w")
    # The exports of PaddleDetection also give the highest cell of each heat map.
    maps = _expect(outputs, [form], [form, ("B", joints)])[0]
    batch, _, rows, columns = maps.shape
    if min(rows, columns) < 2 or abs(rows * size[0] - columns * size[1]) > max(size):
        raise WrongShape(
            f"expected heat maps with the aspect ratio of the input, {size[0]} x {size[1]}, "
            f"found {columns} wide and {rows} high"
        )
    flat = maps.reshape(batch, joints, -1)
    peak = flat.argmax(axis=-1)
    row, column = np.divmod(peak, columns)
    cells = np.stack([column, row], axis=-1).astype(np.float64)
    cells += _refined(maps, row, column, config.refine)
    width, height = size
    if config.grid == "corners":
        cell_px = np.array([(width - 1) / (columns - 1), (height - 1) / (rows - 1)])
    else:
        cell_px = np.array([width / columns, height / rows])
    return np.concatenate([cells * cell_px, flat.max(axis=-1)[..., None]], axis=-1)


def _refined(maps: np.ndarray, row: np.ndarray, column: np.ndarray, method: str) -> np.ndarray:
    """(B, K, 2) shift from the highest cell to the peak between the cells, x and y, cells.

    The shift along an axis is 0 where the highest cell is at an edge of the map.
    """
    shift = np.zeros((*row.shape, 2))
    if method == "none":
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
        if method == "quarter":
            moved = 0.25 * np.sign(high - low)
        else:
            # The logarithm of a Gaussian is a parabola, which three points define.
            smallest = np.maximum(1e-3 * np.abs(here), 1e-9)
            a, b, c = (np.log(np.maximum(v, smallest)) for v in (low, here, high))
            curvature = 2 * b - a - c
            moved = np.where(curvature > 1e-6, 0.5 * (c - a) / np.maximum(curvature, 1e-6), 0.0)
        shift[..., axis] = np.where(inside, moved.clip(-0.5, 0.5), 0.0)
    return shift


# ------------------------------------------------------------------------------------- one stage


def decode_people(
    outputs: dict[str, np.ndarray], config: NetworkConfig, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """People of a one-stage network after NMS, best score first.

    Args:
        outputs, config, size: see `decode_crops`.

    Returns:
        keypoints (P, K, 3) px of the input, px, score; scores (P,).

    Raises:
        WrongShape: see `decode_crops`.
    """
    assert config.layout is not None
    joints = len(config.layout)
    if config.decode == "rtmo":
        if {"dets", "keypoints"} <= set(outputs):
            outputs = {name: outputs[name] for name in ("dets", "keypoints")}
        dets, points = _expect(outputs, [(1, "N", 5), (1, "N", joints, 3)])
        boxes, scores, keypoints = dets[0, :, :4], dets[0, :, 4], points[0]
    elif config.decode == "movenet_multi":
        (output,) = _expect(outputs, [(1, "N", 3 * joints + 5)])
        keypoints = _from_shares(output[0, :, :-5].reshape(-1, joints, 3), size)
        low, high = (output[0, :, a:b][:, ::-1] * size for a, b in ((-5, -3), (-3, -1)))
        boxes, scores = np.concatenate([low, high], axis=-1), output[0, :, -1]
    else:
        (output,) = _expect(outputs, [(1, 5 + 3 * joints, "N")], [(1, "N", 6 + 3 * joints)])
        if output.shape[1] == 5 + 3 * joints:
            rows = output[0].T
            boxes, scores, points = _corners(rows[:, :4]), rows[:, 4], rows[:, 5:]
        else:
            # After NMS in the network; the sixth column is the class, of which there is one.
            boxes, scores, points = output[0, :, :4], output[0, :, 4], output[0, :, 6:]
        # Training mirrors x to width - x, which counts from the image's edge.
        keypoints = points.reshape(-1, joints, 3) - np.array([0.5, 0.5, 0.0], points.dtype)
    valid = np.isfinite(keypoints).all(axis=(1, 2)) & np.isfinite(boxes).all(axis=1)
    kept = _kept(boxes, scores, valid, config)
    return keypoints[kept], scores[kept]


def decode_boxes(
    outputs: dict[str, np.ndarray], config: NetworkConfig, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Bounding boxes of people after NMS, best score first.

    Args:
        outputs, config, size: see `decode_crops`.

    Returns:
        boxes (P, 4) left, top, right, bottom, px of the input; scores (P,).

    Raises:
        WrongShape: see `decode_crops`.
    """
    # YOLO with NMS inside, as version 26 is exported, has six columns. Otherwise it has thousands.
    six = len(outputs) == 1 and next(iter(outputs.values())).shape[-1:] == (6,)
    if config.decode == "nms_boxes" or (config.decode == "yolo_boxes" and six):
        if {"dets", "labels"} <= set(outputs):
            outputs = {name: outputs[name] for name in ("dets", "labels")}
        if len(outputs) == 2:
            output, classes = _expect(outputs, [(1, "N", 5), (1, "N")])
            of_people = classes[0] == config.class_id
        else:
            (output,) = _expect(outputs, [(1, "N", 6)], [(1, "N", 5)])
            of_people = output[0, :, 5] == config.class_id if output.shape[2] == 6 else True
        boxes, scores = output[0, :, :4], np.where(of_people, output[0, :, 4], 0.0)
    elif config.decode == "yolo_boxes":
        (output,) = _expect(outputs, [(1, "4 + classes", "N")])
        rows = output[0].T
        _expect_class(rows.shape[1] - 4, config.class_id)
        boxes, scores = _corners(rows[:, :4]), rows[:, 4 + config.class_id]
    else:
        cells = _yolox_cells(size)
        (output,) = _expect(outputs, [(1, len(cells), "5 + classes")])
        _expect_class(output.shape[2] - 5, config.class_id)
        rows = output[0].astype(np.float64)
        centres = (rows[:, :2] + cells[:, :2]) * cells[:, 2:]
        extents = np.exp(rows[:, 2:4].clip(-20, 20)) * cells[:, 2:]
        boxes = _corners(np.concatenate([centres, extents], axis=-1))
        scores = rows[:, 4] * rows[:, 5 + config.class_id]
    valid = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    kept = _kept(boxes, scores, valid, config)
    return boxes[kept], scores[kept]


def _yolox_cells(size: tuple[int, int]) -> np.ndarray:
    """(N, 3) column, row and stride of the cells of all grids, in the order of the output."""
    grids = []
    for stride in YOLOX_STRIDES_PX:
        row, column = np.indices((size[1] // stride, size[0] // stride))
        grids.append(np.stack([column, row, np.full_like(row, stride)], axis=-1).reshape(-1, 3))
    return np.concatenate(grids).astype(np.float64)


def _expect_class(count: int, class_id: int) -> None:
    if count <= class_id:
        raise WrongShape(f"expected a class {class_id}, found {max(count, 0)} classes")


def _from_shares(keypoints: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(..., 3) y, x as shares of the input, score, to px, px, score."""
    positions = keypoints[..., 1::-1] * size - 0.5
    return np.concatenate([positions, keypoints[..., 2:]], axis=-1)


def _corners(boxes: np.ndarray) -> np.ndarray:
    """(N, 4) centre and size to left, top, right, bottom."""
    half = boxes[:, 2:] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=-1)


def _kept(
    boxes: np.ndarray, scores: np.ndarray, valid: np.ndarray, config: NetworkConfig
) -> np.ndarray:
    """Indices of the boxes (N, 4) above the score threshold after NMS, best score first.

    Boxes that are not valid (N,) are left out.
    """
    scores = np.where(valid, scores, 0.0)
    order = np.argsort(-scores, kind="stable")[:MAX_CANDIDATES]
    order = order[scores[order] > max(config.score_threshold, MIN_CANDIDATE_SCORE)]
    kept: np.ndarray = order[nms(boxes[order].astype(np.float64), scores[order], config.nms_iou)]
    return kept


def _expect(
    outputs: dict[str, np.ndarray], *forms: list[tuple[int | str, ...]]
) -> list[np.ndarray]:
    """The outputs, if their shapes have one of these forms; a word stands for any number.

    Raises:
        WrongShape: the shapes have none of the forms.
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
