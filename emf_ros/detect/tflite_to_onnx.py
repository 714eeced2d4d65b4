"""Converts BlazePose's TensorFlow Lite networks to ONNX.

It supports what these networks consist of: ten kinds of operators, and float weights, some in half
precision, some sparse. Anything else is an error that names it. General converters need TensorFlow,
or fail on sparse weights.

TensorFlow Lite stores images as (N, H, W, C), ONNX as (N, C, H, W). The whole network is transposed
once, weights included. Only the image, and the few outputs that are reshaped into lists, are
transposed at run time.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from . import onnx_file
from .tflite_graph import SAME_PADDING, ConversionError, Operator, TfliteGraph

#: Version of ONNX's operators: onnxruntime 1.14 and TensorRT 8.6 read it.
OPSET = 17
#: Version of ONNX's file format, which goes with the operators.
IR_VERSION = 8
#: Activations that an operator may have in itself, by their number in the schema.
ACTIVATIONS = {0: "none", 1: "relu", 3: "relu6"}
#: Order of the axes of (N, H, W, C) in (N, C, H, W).
TO_NCHW = (0, 3, 1, 2)
#: Order of the axes of (N, C, H, W) in (N, H, W, C).
TO_NHWC = (0, 2, 3, 1)


def convert(
    network: bytes, outputs: Mapping[int, str], name: str, tones: tuple[float, float]
) -> bytes:
    """Convert a network.

    Args:
        network: a .tflite file with one graph and one image as input.
        outputs: names of the outputs to keep, by their index. Operators that serve only other
            outputs are left out.
        name: of the graph.
        tones: values that the network takes for the tones 0 and 255.

    Returns:
        The content of a .onnx file. Its input `image` is (N, H, W, C) uint8: a GPU is sent a
        quarter of the bytes of float32. Outputs that are images are (N, C, H, W). Other outputs
        keep their shape, with N as the first axis.

    Raises:
        ConversionError: an operator, an option or a type is not supported.
    """
    graph = TfliteGraph(network)
    kept = {graph.outputs[index]: output for index, output in outputs.items()}
    writer = _Writer(graph, graph.needed_for(set(kept)))
    writer.normalise("image", *tones)
    writer.write()
    for tensor, output in kept.items():
        writer.nodes.append(onnx_file.node("Identity", [writer.name(tensor)], [output]))
    _, channels, *sides = _onnx_shape(graph.shape(graph.inputs[0]))
    whole = onnx_file.graph(
        name,
        writer.nodes,
        [onnx_file.tensor(given, value) for given, value in writer.constants.items()],
        [onnx_file.declaration("image", ["N", *sides, channels], "uint8")],
        [onnx_file.declaration(out, _onnx_shape(graph.shape(i))) for i, out in kept.items()],
    )
    return onnx_file.model(whole, OPSET, IR_VERSION, "emf_ros")


def _onnx_shape(shape: tuple[int, ...]) -> tuple[int | str, ...]:
    if shape[0] != 1:
        raise ConversionError("the network does not take single images")
    transposed = tuple(shape[axis] for axis in TO_NCHW) if len(shape) == 4 else shape
    return "N", *transposed[1:]


class _Writer:
    """Writes operators as ONNX nodes.

    Args:
        graph: the network.
        operators: to write, in the order in which they run.

    Attributes:
        nodes: written so far.
        constants: values of the constant tensors of the ONNX graph, by name.
    """

    def __init__(self, graph: TfliteGraph, operators: list[Operator]) -> None:
        self._graph = graph
        self._operators = operators
        self._uses = Counter(i for op in operators for i in op.inputs)
        self._users = {i: op for op in operators for i in op.inputs}
        #: Padded tensors whose padding moves into the convolutions: the tensor before the padding,
        #: and the padding at the top, left, bottom, right, px.
        self._padded: dict[int, tuple[int, tuple[int, int, int, int]]] = {}
        #: Outputs of convolutions that are written before the resizing that they follow.
        self._moved: set[int] = set()
        self.nodes: list[bytes] = []
        self.constants: dict[str, np.ndarray] = {}

    def write(self) -> None:
        """Write all operators. Raises ConversionError."""
        for operator in self._operators:
            writer = getattr(self, f"_{operator.kind.lower()}", None)
            if writer is None:
                raise ConversionError(f"the operator {operator.kind} is not supported")
            writer(operator)

    def normalise(self, image: str, black: float, white: float) -> None:
        """Write the normalisation of the network's input.

        Args:
            image: name of the image (N, H, W, C) uint8.
            black, white: values of the tones 0 and 255.
        """
        given = self.name(self._graph.inputs[0])
        scale = self._constant("tone_scale", np.float32((white - black) / 255))
        low = self._constant("black", np.float32(black))
        # TensorRT takes uint8 only into a Cast.
        kind = onnx_file.TENSOR_TYPES["float32"]
        self.nodes += [
            onnx_file.node("Cast", [image], ["tones"], to=kind),
            onnx_file.node("Mul", ["tones", scale], ["scaled"]),
            onnx_file.node("Add", ["scaled", low], ["normalised"]),
            onnx_file.node("Transpose", ["normalised"], [given], perm=TO_NCHW),
        ]

    def name(self, tensor: int) -> str:
        """Name of a tensor in the ONNX graph."""
        return f"t{tensor}"

    # -------------------------------------------------------------------------- operators

    def _dequantize(self, operator: Operator) -> None:
        if self._graph.constant(operator.inputs[0]) is None:
            raise ConversionError("inference in half precision is not supported")

    _densify = _dequantize

    def _pad(self, operator: Operator) -> None:
        data, padding = operator.inputs
        ((n0, n1), (top, bottom), (left, right), (c0, c1)) = self._weights(padding).tolist()
        users = [op for op in self._operators if operator.outputs[0] in op.inputs]
        if not (n0 or n1 or c0 or c1) and all(self._can_pad(user) for user in users):
            self._padded[operator.outputs[0]] = data, (top, left, bottom, right)
            return
        onnx_pads = np.array([n0, c0, top, left, n1, c1, bottom, right], dtype=np.int64)
        given = [self.name(data), self._constant(f"pads{operator.outputs[0]}", onnx_pads)]
        self._node("Pad", given, operator.outputs[0])

    def _can_pad(self, operator: Operator) -> bool:
        """Whether an operator is a convolution without padding, which can take some."""
        kinds = {"CONV_2D": "Conv2DOptions", "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions"}
        if operator.kind not in kinds:
            return False
        return self._graph.options(operator, kinds[operator.kind]).padding != SAME_PADDING

    def _conv_2d(self, operator: Operator) -> None:
        if operator.outputs[0] in self._moved:
            return
        # (O, H, W, I) to (O, I, H, W)
        weights = self._weights(operator.inputs[1]).transpose(TO_NCHW)
        self._convolve(operator, self._graph.options(operator, "Conv2DOptions"), weights, 1)

    def _depthwise_conv_2d(self, operator: Operator) -> None:
        options = self._graph.options(operator, "DepthwiseConv2DOptions")
        channels = self._graph.shape(operator.inputs[0])[3]
        # (1, H, W, channels x multiplier) to (channels x multiplier, 1, H, W)
        weights = self._weights(operator.inputs[1]).transpose(3, 0, 1, 2)
        self._convolve(operator, options, weights, channels)

    def _convolve(self, operator: Operator, options: Any, weights: np.ndarray, groups: int) -> None:
        out = operator.outputs[0]
        data, pads = self._padded.get(operator.inputs[0], (operator.inputs[0], (0, 0, 0, 0)))
        strides = options.stride_h, options.stride_w
        dilations = options.dilation_h, options.dilation_w
        if dilations != (1, 1):
            raise ConversionError("dilated convolutions are not supported")
        if options.padding == SAME_PADDING:
            pads = self._same(operator.inputs[0], weights.shape[2:], strides)
        given = [self.name(data), self._constant(f"w{out}", np.ascontiguousarray(weights))]
        if len(operator.inputs) > 2 and operator.inputs[2] >= 0:
            given.append(self._constant(f"b{out}", self._weights(operator.inputs[2])))
        self._node(
            "Conv",
            given,
            out,
            options.activation,
            kernel_shape=weights.shape[2:],
            strides=strides,
            pads=pads,
            group=groups,
        )

    def _max_pool_2d(self, operator: Operator) -> None:
        options = self._graph.options(operator, "Pool2DOptions")
        kernel = options.filter_height, options.filter_width
        strides = options.stride_h, options.stride_w
        pads = (0, 0, 0, 0)
        if options.padding == SAME_PADDING:
            pads = self._same(operator.inputs[0], kernel, strides)
        self._node(
            "MaxPool",
            [self.name(operator.inputs[0])],
            operator.outputs[0],
            options.activation,
            kernel_shape=kernel,
            strides=strides,
            pads=pads,
        )

    def _add(self, operator: Operator) -> None:
        activation = self._graph.options(operator, "AddOptions").activation
        given = [self.name(tensor) for tensor in operator.inputs]
        self._node("Add", given, operator.outputs[0], activation)

    def _resize_bilinear(self, operator: Operator) -> None:
        options = self._graph.options(operator, "ResizeBilinearOptions")
        if options.align_corners or not options.half_pixel_centers:
            raise ConversionError("resizing is supported with half-pixel centres only")
        data, out = operator.inputs[0], operator.outputs[0]
        _, height, width, _ = self._graph.shape(data)
        _, new_height, new_width, _ = self._graph.shape(out)
        scales = np.array([1, 1, new_height / height, new_width / width], dtype=np.float32)
        resize: dict[str, Any] = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        given = ["", self._constant(f"scales{out}", scales)]
        user = self._users.get(out)
        if self._uses[out] == 1 and user is not None and self._is_pointwise(user):
            # The weights of bilinear interpolation sum to one. Therefore a pointwise convolution
            # can come before it, with a quarter of the pixels.
            small = f"small{out}"
            weights = self._weights(user.inputs[1]).transpose(TO_NCHW)
            self.nodes.append(
                onnx_file.node(
                    "Conv",
                    [
                        self.name(data),
                        self._constant(f"w{out}", np.ascontiguousarray(weights)),
                        self._constant(f"b{out}", self._weights(user.inputs[2])),
                    ],
                    [small],
                    kernel_shape=(1, 1),
                )
            )
            activation = self._graph.options(user, "Conv2DOptions").activation
            self._node("Resize", [small, *given], user.outputs[0], activation, **resize)
            self._moved.add(user.outputs[0])
            return
        self._node("Resize", [self.name(data), *given], out, **resize)

    def _is_pointwise(self, operator: Operator) -> bool:
        """Whether an operator is a linear function of each single pixel, before its activation."""
        if operator.kind != "CONV_2D" or len(operator.inputs) < 3:
            return False
        options = self._graph.options(operator, "Conv2DOptions")
        kernel = self._weights(operator.inputs[1]).shape[1:3]
        return kernel == (1, 1) and (options.stride_h, options.stride_w) == (1, 1)

    def _depth_to_space(self, operator: Operator) -> None:
        block = self._graph.options(operator, "DepthToSpaceOptions").block_size
        self._node(
            "DepthToSpace",
            [self.name(operator.inputs[0])],
            operator.outputs[0],
            blocksize=block,
            mode="DCR",
        )

    def _reshape(self, operator: Operator) -> None:
        data, out = operator.inputs[0], operator.outputs[0]
        shape = self._graph.shape(out)
        if len(shape) == 4:
            raise ConversionError("reshaping into images is not supported")
        given = self.name(data)
        if len(self._graph.shape(data)) == 4:
            self.nodes.append(onnx_file.node("Transpose", [given], [f"nhwc{out}"], perm=TO_NHWC))
            given = f"nhwc{out}"
        # The first axis is the batch.
        to = self._constant(f"shape{out}", np.array((-1, *shape[1:]), dtype=np.int64))
        self._node("Reshape", [given, to], out)

    def _concatenation(self, operator: Operator) -> None:
        options = self._graph.options(operator, "ConcatenationOptions")
        axis = options.axis % (rank := len(self._graph.shape(operator.outputs[0])))
        self._node(
            "Concat",
            [self.name(tensor) for tensor in operator.inputs],
            operator.outputs[0],
            options.activation,
            axis=TO_NCHW.index(axis) if rank == 4 else axis,
        )

    def _logistic(self, operator: Operator) -> None:
        self._node("Sigmoid", [self.name(operator.inputs[0])], operator.outputs[0])

    # -------------------------------------------------------------------------- nodes

    def _node(
        self, kind: str, given: list[str], out: int, activation: int = 0, **attributes: Any
    ) -> None:
        """Add a node, and a node for its activation."""
        function = ACTIVATIONS.get(activation)
        if function is None:
            raise ConversionError(f"the activation {activation} is not supported")
        name = self.name(out)
        inner = name if function == "none" else f"linear{out}"
        self.nodes.append(onnx_file.node(kind, given, [inner], **attributes))
        if function == "relu":
            self.nodes.append(onnx_file.node("Relu", [inner], [name]))
        elif function == "relu6":
            low = self._constant("zero", np.array(0, dtype=np.float32))
            high = self._constant("six", np.array(6, dtype=np.float32))
            self.nodes.append(onnx_file.node("Clip", [inner, low, high], [name]))

    def _constant(self, name: str, value: np.ndarray) -> str:
        self.constants.setdefault(name, value)
        return name

    def _weights(self, tensor: int) -> np.ndarray:
        value = self._graph.constant(tensor)
        if value is None:
            raise ConversionError("computed weights are not supported")
        return value

    def _same(
        self, tensor: int, kernel: tuple[int, ...], strides: tuple[int, int]
    ) -> tuple[int, int, int, int]:
        """Padding at the top, left, bottom, right, px, for an output of input size / stride.

        The size is rounded up. Of an odd padding the larger part is at the end.
        """
        before, after = [], []
        for size, extent, stride in zip(
            self._graph.shape(tensor)[1:3], kernel, strides, strict=True
        ):
            total = max((math.ceil(size / stride) - 1) * stride + extent - size, 0)
            before.append(total // 2)
            after.append(total - total // 2)
        return before[0], before[1], after[0], after[1]
