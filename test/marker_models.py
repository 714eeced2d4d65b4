"""Small ONNX models with the signatures of well-known ones, which find coloured markers.

Each joint has a colour. The graph undoes the normalisation that it is told, so that another one, or
channels in another order, find nothing; then it takes the middle of what has the joint's colour.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LEVELS = (40, 110, 180, 250)
COLORS = [
    (r, g, b) for r in LEVELS for g in LEVELS for b in LEVELS if max(r, g, b) - min(r, g, b) > 70
]
NUMPY_TYPES = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "uint8": TensorProto.UINT8,
    "int32": TensorProto.INT32,
}
IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
PLAIN = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


# ------------------------------------------------------------------------------------- images


def places(count: int, left: float, top: float, width: float, height: float) -> np.ndarray:
    """(count, 2) px: a person's joints, spread over an area."""
    columns = int(np.clip(round(np.sqrt(count * width / height)), 1, count))
    rows = -(-count // columns)
    # As many to each row as it takes.
    columns = -(-count // rows)
    row, column = np.divmod(np.arange(count), columns)
    rng = np.random.default_rng(5)
    jitter = rng.uniform(-0.12, 0.12, (count, 2))
    cells = np.stack([column, row], axis=-1) + 0.5 + jitter
    return (left, top) + cells * (width / columns, height / rows)


def picture(width: int, height: int, people: list[np.ndarray], radius: float) -> np.ndarray:
    """(H, W, 3) uint8 RGB with a marker at each joint of each person."""
    image = np.zeros((height, width, 3), np.uint8)
    for person in people:
        for color, (x, y) in zip(COLORS, person, strict=False):
            at = (round(16 * x), round(16 * y))
            cv2.circle(image, at, round(16 * radius), color, -1, cv2.LINE_8, 4)
    return image


# ------------------------------------------------------------------------------------- the graph


class Graph:
    """A graph under construction: each method adds a node and returns its output's name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._count = 0

    def constant(self, values: object, dtype: type = np.float32) -> str:
        self._count += 1
        name = f"c{self._count}"
        self.constants.append(numpy_helper.from_array(np.array(values, dtype), name))
        return name

    def add(self, operator: str, *inputs: str, to: str = "", **attributes: object) -> str:
        self._count += 1
        out = to or f"v{self._count}"
        self.nodes.append(helper.make_node(operator, inputs, [out], **attributes))
        return out

    def axes(self, *axes: int) -> str:
        return self.constant(axes, np.int64)

    def join(self, parts: list[str], axis: int, to: str = "") -> str:
        return self.add("Concat", *parts, axis=axis, to=to)

    def reshape(self, value: str, shape: tuple[int, ...], to: str = "") -> str:
        return self.add("Reshape", value, self.constant(shape, np.int64), to=to)

    def scale(self, value: str, factor: object, offset: object = 0.0) -> str:
        """value * factor + offset."""
        scaled = self.add("Mul", value, self.constant(factor))
        return self.add("Add", scaled, self.constant(offset))

    def likeness(
        self,
        size: tuple[int, int],
        joints: int,
        dtype: str,
        channels: str,
        colors: str,
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> str:
        """(B, K, H, W): how much each pixel has each joint's colour, 0..1."""
        value = "input" if dtype == "float32" else self.cast("input")
        if channels == "nhwc":
            value = self.add("Transpose", value, perm=[0, 3, 1, 2])
        value = self.scale(value, np.reshape(std, (1, 3, 1, 1)), np.reshape(mean, (1, 3, 1, 1)))
        if colors == "bgr":
            value = self.add("Gather", value, self.constant([2, 1, 0], np.int64), axis=1)
        wanted = np.array(COLORS[:joints], np.float32)
        cross = self.add(
            "Conv",
            value,
            self.constant(-2 * wanted[:, :, None, None]),
            self.constant((wanted**2).sum(-1)),
        )
        squared = self.add("ReduceSum", self.add("Mul", value, value), self.axes(1), keepdims=1)
        distance = self.add("Add", cross, squared)
        alike = self.add("Exp", self.scale(distance, -1 / (2 * 15.0**2)))
        return self.add("AveragePool", alike, kernel_shape=[3, 3], pads=[1, 1, 1, 1])

    def cast(self, value: str) -> str:
        """As float32; apart, because the operator's attribute is named as our argument."""
        self._count += 1
        out = f"v{self._count}"
        self.nodes.append(helper.make_node("Cast", [value], [out], to=TensorProto.FLOAT))
        return out

    def joints(self, alike: str, size: tuple[int, int], mask: np.ndarray) -> tuple[str, str, str]:
        """x, y px and score, each (B, K), of the markers within a mask (H, W)."""
        width, height = size
        alike = self.add("Mul", alike, self.constant(mask[None, None]))
        score = self.add("ReduceMax", alike, axes=[2, 3], keepdims=0)
        sharp = alike
        for _ in range(3):
            sharp = self.add("Mul", sharp, sharp)
        total = self.scale(self.add("ReduceSum", sharp, self.axes(2, 3), keepdims=0), 1.0, 1e-9)
        middles = []
        for values in (
            np.arange(width).reshape(1, 1, 1, -1),
            np.arange(height).reshape(1, 1, -1, 1),
        ):
            moment = self.add("Mul", sharp, self.constant(values))
            moment = self.add("ReduceSum", moment, self.axes(2, 3), keepdims=0)
            middles.append(self.add("Div", moment, total))
        return middles[0], middles[1], score

    def bump(self, middle: str, places: np.ndarray, sigma: float, shape: tuple[int, ...]) -> str:
        """exp(-(place - middle)^2 / (2 sigma^2)); the middle (B, K) gets the axes of the shape."""
        middle = self.add("Unsqueeze", middle, self.axes(*range(2, 2 + len(shape))))
        away = self.add("Sub", self.constant(places.reshape(1, 1, *shape)), middle)
        return self.add("Exp", self.scale(self.add("Mul", away, away), -1 / (2 * sigma**2)))


def _masks(size: tuple[int, int], people: int) -> list[np.ndarray]:
    """The input cut into as many parts, from left to right."""
    width, height = size
    edges = np.linspace(0, width, people + 1).round().astype(int)
    masks = []
    for a, b in zip(edges, edges[1:], strict=False):
        mask = np.zeros((height, width), np.float32)
        mask[:, a:b] = 1.0
        masks.append(mask)
    return masks


def marker_model(
    path: Path,
    form: str,
    size: tuple[int, int],
    joints: int = 17,
    people: int = 1,
    dtype: str = "float32",
    channels: str = "nchw",
    colors: str = "rgb",
    mean: tuple[float, ...] = PLAIN[0],
    std: tuple[float, ...] = PLAIN[1],
    batch: int | str = 1,
    dynamic: bool = False,
    opset: int = 17,
    classes: int = 3,
) -> Path:
    """Write a model.

    Args:
        path: of the file.
        form: of the output: a pose decoder's or box decoder's name, 'yolo_pose_end2end', or
            'heatmap_stride', with a cell on the first of its pixels and an output of Paddle's more.
        size: (width, height) of the input.
        people: how many are found, each in its part of the image from left to right; each twice
            where the form leaves it to others to suppress that.
        batch: a number, or a name for any.
        dynamic: the input's size is not fixed in the file, though it is in fact.
    """
    graph = Graph()
    width, height = size
    alike = graph.likeness(size, joints, dtype, channels, colors, mean, std)
    outputs: dict[str, tuple] = {}
    found = [graph.joints(alike, size, mask) for mask in _masks(size, people)]

    def last(value: str) -> str:
        return graph.add("Unsqueeze", value, graph.axes(2))

    def total(score: str) -> str:
        return graph.add("ReduceMean", score, axes=[1], keepdims=1)

    def box(x: str, y: str) -> list[str]:
        """Left, top, right, bottom, each (1, 1)."""
        return [
            graph.add(operator, value, axes=[1], keepdims=1)
            for operator in ("ReduceMin", "ReduceMax")
            for value in (x, y)
        ]

    def middle_and_size(corners: list[str]) -> list[str]:
        left, top, right, bottom = corners
        middle = [
            graph.scale(graph.add("Add", a, b), 0.5) for a, b in ((left, right), (top, bottom))
        ]
        return middle + [graph.add("Sub", b, a) for a, b in ((left, right), (top, bottom))]

    if form == "simcc":
        x, y, score = found[0]
        for name, value, length in (("simcc_x", x, width), ("simcc_y", y, height)):
            bins = np.arange(2 * length) / 2
            graph.add("Mul", graph.bump(value, bins, 3.0, (2 * length,)), last(score), to=name)
            outputs[name] = (batch, joints, 2 * length)
    elif form in ("heatmap", "heatmap_stride"):
        x, y, score = found[0]
        columns, rows = width // 4, height // 4
        across, down = 4 * np.arange(columns), 4 * np.arange(rows)
        if form == "heatmap":
            across, down = (c * (n - 1) / c[-1] for c, n in ((across, width), (down, height)))
        both = graph.add(
            "Mul",
            graph.bump(x, across, 8.0, (1, columns)),
            graph.bump(y, down, 8.0, (rows, 1)),
        )
        score = graph.add("Unsqueeze", score, graph.axes(2, 3))
        graph.add("Mul", both, score, to="heatmaps")
        outputs["heatmaps"] = (batch, joints, rows, columns)
        if form == "heatmap_stride":
            flat = graph.reshape("heatmaps", (-1, joints, rows * columns))
            graph.add("ArgMax", flat, axis=2, keepdims=0, to="highest")
            outputs["highest"] = (batch, joints)
    elif form in ("movenet_single", "movenet_multi"):
        rows_ = []
        for x, y, score in found:
            shares = [graph.scale(y, 1 / height, 0.5 / height)]
            shares.append(graph.scale(x, 1 / width, 0.5 / width))
            points = graph.join([last(v) for v in (*shares, score)], 2)
            if form == "movenet_single":
                graph.reshape(points, (1, 1, joints, 3), to="output_0")
                outputs["output_0"] = (1, 1, joints, 3)
                break
            left, top, right, bottom = box(x, y)
            sides = [(top, height), (left, width), (bottom, height), (right, width)]
            tail = [graph.scale(v, 1 / n, 0.5 / n) for v, n in sides] + [total(score)]
            rows_.append(graph.join([graph.reshape(points, (1, 3 * joints)), *tail], 1))
        if form == "movenet_multi":
            rows_.append(graph.constant(np.zeros((6 - len(found), 3 * joints + 5))))
            graph.reshape(graph.join(rows_, 0), (1, 6, 3 * joints + 5), to="output_0")
            outputs["output_0"] = (1, 6, 3 * joints + 5)
    elif form == "rtmo":
        dets, points = [], []
        for x, y, score in found:
            dets.append(graph.join([*box(x, y), total(score)], 1))
            points.append(graph.join([last(v) for v in (x, y, score)], 2))
        graph.add("Unsqueeze", graph.join(dets, 0), graph.axes(0), to="dets")
        graph.add("Unsqueeze", graph.join(points, 0), graph.axes(0), to="keypoints")
        outputs["dets"] = (1, "people", 5)
        outputs["keypoints"] = (1, "people", joints, 3)
    elif form in ("yolo_pose", "yolo_pose_end2end"):
        rows_ = []
        for x, y, score in found:
            # Keypoints are counted from the image's edge.
            points = [graph.scale(v, 1.0, 0.5) for v in (x, y)]
            flat = graph.join([last(v) for v in (*points, score)], 2)
            flat = graph.reshape(flat, (1, 3 * joints))
            if form == "yolo_pose":
                for worse in (0.8, 1.0):
                    # The same person again, from a neighbouring cell.
                    sure = graph.scale(total(score), worse)
                    rows_.append(graph.join([*middle_and_size(box(x, y)), sure, flat], 1))
            else:
                kind = graph.constant([[0.0]])
                rows_.append(graph.join([*box(x, y), total(score), kind, flat], 1))
        # As many more as there are cells that see nothing.
        length = (5 if form == "yolo_pose" else 6) + 3 * joints
        rows_.append(graph.constant(np.zeros((20, length))))
        table = graph.add("Unsqueeze", graph.join(rows_, 0), graph.axes(0))
        count = len(rows_) - 1 + 20
        if form == "yolo_pose":
            graph.add("Transpose", table, perm=[0, 2, 1], to="output0")
            outputs["output0"] = (1, length, count)
        else:
            graph.add("Identity", table, to="output0")
            outputs["output0"] = (1, count, length)
    elif form == "yolo_boxes":
        rows_ = []
        for x, y, score in found:
            for worse in (0.8, 1.0):
                scores = [graph.scale(total(score), worse)]
                scores += [graph.constant([[0.9]])] * (classes - 1)
                rows_.append(graph.join([*middle_and_size(box(x, y)), *scores], 1))
        table = graph.add("Unsqueeze", graph.join(rows_, 0), graph.axes(0))
        graph.add("Transpose", table, perm=[0, 2, 1], to="output0")
        outputs["output0"] = (1, 4 + classes, len(rows_))
    elif form == "yolox_boxes":
        cells = sum((width // s) * (height // s) for s in (8, 16, 32))
        table = graph.constant(np.zeros((1, cells, 5 + classes)))
        for number, (x, y, score) in enumerate(found):
            # Cell (number, 1) of the finest grid.
            column, row, stride = number, 1, 8
            cx, cy, w, h = middle_and_size(box(x, y))
            values = [
                graph.scale(cx, 1 / stride, -column),
                graph.scale(cy, 1 / stride, -row),
                *(graph.add("Log", graph.scale(n, 1 / stride, 1e-3)) for n in (w, h)),
                total(score),
                graph.constant([[1.0] + [0.2] * (classes - 1)]),
            ]
            where = np.zeros((1, cells, 1))
            where[0, row * (width // stride) + column] = 1.0
            placed = graph.add("Mul", graph.join(values, 1), graph.constant(where))
            table = graph.add("Add", table, placed)
        graph.add("Identity", table, to="output")
        outputs["output"] = (1, cells, 5 + classes)
    elif form == "nms_boxes":
        dets = [graph.join([*box(x, y), total(score)], 1) for x, y, score in found]
        # Something else, surer than anyone.
        dets.append(graph.constant([[5.0, 5.0, 50.0, 50.0, 0.99]]))
        graph.add("Unsqueeze", graph.join(dets, 0), graph.axes(0), to="dets")
        graph.add("Identity", graph.constant([[0] * people + [7]], np.int64), to="labels")
        outputs["dets"], outputs["labels"] = (1, people + 1, 5), (1, people + 1)
    else:
        raise ValueError(form)

    sides = ["height", "width"] if dynamic else [height, width]
    shape = [batch, 3, *sides] if channels == "nchw" else [batch, *sides, 3]
    made = helper.make_model(
        helper.make_graph(
            graph.nodes,
            form,
            [helper.make_tensor_value_info("input", NUMPY_TYPES[dtype], shape)],
            [
                helper.make_tensor_value_info(
                    name,
                    TensorProto.INT64 if name in ("labels", "highest") else TensorProto.FLOAT,
                    list(out),
                )
                for name, out in outputs.items()
            ],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=8,
    )
    onnx.save(made, path)
    return path
