"""Reads TensorFlow Lite networks: operators, shapes, and weights, sparse ones as well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

#: Identifier at byte 4 of a TensorFlow Lite file.
FILE_IDENTIFIER = b"TFL3"
#: Padding of a convolution whose output has as many pixels as its input, divided by the stride.
SAME_PADDING = 0
#: Format of a level of a sparse tensor that lists all its children.
DENSE_LEVEL = 0
#: Types of the floats that weights are stored as.
FLOAT_TYPES = {0: np.dtype("<f4"), 1: np.dtype("<f2")}
#: Types of the integers that constants are stored as.
INTEGER_TYPES = {2: np.dtype("<i4"), 4: np.dtype("<i8")}
#: Classes of the schema that read the index vectors of sparse tensors.
INDEX_VECTORS = {1: "Int32Vector", 2: "Uint16Vector", 3: "Uint8Vector"}


class ConversionError(ValueError):
    """A network that cannot be converted; the message says why."""


@dataclass
class Operator:
    """One operator of a network.

    Attributes:
        kind: name of the operator in TensorFlow Lite's schema.
        inputs, outputs: indices of the tensors.
        options: the operator's options, undecoded.
    """

    kind: str
    inputs: list[int]
    outputs: list[int]
    options: Any


class TfliteGraph:
    """The graph of a .tflite file; tensors are decoded on request.

    Args:
        network: content of the file.

    Attributes:
        inputs, outputs: indices of the tensors.
        operators: in the order in which they run.

    Raises:
        ConversionError: the file is no TensorFlow Lite network with one graph.
    """

    def __init__(self, network: bytes) -> None:
        self._schema = _schema()
        kinds = {
            value: name
            for name, value in vars(self._schema.BuiltinOperator).items()
            if isinstance(value, int)
        }
        if network[4:8] != FILE_IDENTIFIER:
            raise ConversionError("this is no TensorFlow Lite network")
        self._model = self._schema.Model.GetRootAs(network, 0)
        if self._model.SubgraphsLength() != 1:
            raise ConversionError("the network has more or less than one graph")
        self._graph = graph = self._model.Subgraphs(0)
        self.inputs = [graph.Inputs(i) for i in range(graph.InputsLength())]
        self.outputs = [graph.Outputs(i) for i in range(graph.OutputsLength())]
        self.operators = []
        for i in range(graph.OperatorsLength()):
            operator = graph.Operators(i)
            code = self._model.OperatorCodes(operator.OpcodeIndex())
            # The older of the two fields holds numbers under 127 only.
            number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
            self.operators.append(
                Operator(
                    kinds.get(number, f"operator {number}"),
                    [operator.Inputs(k) for k in range(operator.InputsLength())],
                    [operator.Outputs(k) for k in range(operator.OutputsLength())],
                    operator.BuiltinOptions(),
                )
            )
        self._producer = {out: op for op in self.operators for out in op.outputs}

    def needed_for(self, tensors: set[int]) -> list[Operator]:
        """The operators that these tensors are computed by, in the order in which they run."""
        needed_tensors, needed = set(tensors), []
        for operator in reversed(self.operators):
            if needed_tensors.intersection(operator.outputs):
                needed_tensors.update(operator.inputs)
                needed.append(operator)
        return needed[::-1]

    def options(self, operator: Operator, kind: str) -> Any:
        """The options of an operator, decoded as a class of the schema."""
        options = getattr(self._schema, kind)()
        options.Init(operator.options.Bytes, operator.options.Pos)
        return options

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Shape of a tensor."""
        table = self._graph.Tensors(tensor)
        return tuple(table.Shape(i) for i in range(table.ShapeLength()))

    def constant(self, tensor: int) -> np.ndarray | None:
        """Value of a tensor that does not depend on the input: dense, floats as float32.

        None for a tensor that is computed.

        Raises:
            ConversionError: the type or the sparsity of the tensor is not supported.
        """
        producer = self._producer.get(tensor)
        if producer is not None and producer.kind in ("DEQUANTIZE", "DENSIFY"):
            return self.constant(producer.inputs[0])
        table = self._graph.Tensors(tensor)
        buffer = self._model.Buffers(table.Buffer())
        if not buffer.DataLength():
            return None
        kind = {**FLOAT_TYPES, **INTEGER_TYPES}.get(table.Type())
        if kind is None:
            raise ConversionError(f"weights of type {table.Type()} are not supported")
        values = buffer.DataAsNumpy().view(kind)
        if table.Type() in FLOAT_TYPES:
            values = values.astype(np.float32)
        shape = self.shape(tensor)
        sparsity = table.Sparsity()
        if sparsity is None:
            return values.reshape(shape)
        levels: list[tuple[np.ndarray, np.ndarray] | int] = []
        for i in range(sparsity.DimMetadataLength()):
            level = sparsity.DimMetadata(i)
            if level.Format() == DENSE_LEVEL:
                levels.append(level.DenseSize())
            else:
                levels.append(
                    (
                        self._indices(level.ArraySegmentsType(), level.ArraySegments()),
                        self._indices(level.ArrayIndicesType(), level.ArrayIndices()),
                    )
                )
        return to_dense(
            values,
            shape,
            [sparsity.TraversalOrder(i) for i in range(sparsity.TraversalOrderLength())],
            [sparsity.BlockMap(i) for i in range(sparsity.BlockMapLength())],
            levels,
        )

    def _indices(self, kind: int, table: Any) -> np.ndarray:
        vector = getattr(self._schema, INDEX_VECTORS[kind])()
        vector.Init(table.Bytes, table.Pos)
        return np.asarray(vector.ValuesAsNumpy(), dtype=np.int64)


def to_dense(
    values: np.ndarray,
    shape: tuple[int, ...],
    traversal: list[int],
    block_map: list[int],
    levels: list[tuple[np.ndarray, np.ndarray] | int],
) -> np.ndarray:
    """Expand a sparse tensor of TensorFlow Lite.

    The format is that of TACO (Kjolstad et al., The Tensor Algebra Compiler, 2017): a tree. Its
    levels are the dimensions of the tensor, and then those of the blocks that the tensor is divided
    into. A dense level has all its children; a compressed level lists them.

    Args:
        values: (n,) of the leaves, in the tree's order.
        shape: of the dense tensor.
        traversal: the dimension of each level; from `len(shape)` on, a dimension of the blocks.
        block_map: the dimension of the tensor that each dimension of the blocks divides.
        levels: of each dense level its size; of each compressed level the offsets at which the
            children of each parent begin and end (parents + 1,), and the children (n,).

    Raises:
        ConversionError: the numbers of leaves and of values differ, or levels contradict.
    """
    rank = len(shape)
    block = np.ones(rank, dtype=np.int64)
    outer = np.zeros((1, rank), dtype=np.int64)
    inner = np.zeros((1, rank), dtype=np.int64)
    for dimension, level in zip(traversal, levels, strict=True):
        if isinstance(level, int):
            parents = np.repeat(np.arange(len(outer)), level)
            children = np.tile(np.arange(level), len(outer))
        else:
            segments, indices = (part.astype(np.int64) for part in level)
            parents = np.repeat(np.arange(len(outer)), segments[1:] - segments[:-1])
            children = indices
        if len(parents) != len(children):
            raise ConversionError("the levels of a sparse tensor do not fit together")
        outer, inner = outer[parents], inner[parents]
        if dimension < rank:
            outer[:, dimension] = children
        else:
            if not isinstance(level, int):
                raise ConversionError("a sparse tensor with sparse blocks is not supported")
            inner[:, block_map[dimension - rank]] = children
            block[block_map[dimension - rank]] = level
    if len(outer) != len(values):
        raise ConversionError(f"a sparse tensor has {len(outer)} places and {len(values)} values")
    dense = np.zeros(shape, dtype=values.dtype)
    dense[tuple((outer * block + inner).T)] = values
    return dense


def _schema() -> Any:
    """The classes that read .tflite files: of the package tflite, or the same ones of mediapipe."""
    try:
        import tflite

        return tflite
    except ImportError:
        pass
    try:
        from mediapipe.tasks.metadata import schema_py_generated

        return schema_py_generated
    except ImportError:
        raise ConversionError(
            "reading TensorFlow Lite's files needs the package tflite: pip install tflite==2.18.0"
        ) from None
