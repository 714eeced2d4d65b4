"""Reads TensorFlow Lite networks: operators, shapes, and weights, sparse ones as well."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from .tflite_schema import OPERATORS, Table

#: Identifier at byte 4 of a TensorFlow Lite file.
FILE_IDENTIFIER = b"TFL3"
#: Padding of a convolution whose output has as many pixels as its input, divided by the stride.
SAME_PADDING = 0
#: Format of a level of a sparse tensor that lists all its children.
DENSE_LEVEL = 0
#: Types of the floats that weights are stored as.
FLOAT_TYPES = {0: "<f4", 1: "<f2"}
#: Types of the integers that constants are stored as.
INTEGER_TYPES = {2: "<i4", 4: "<i8"}
#: Types of the index vectors of sparse tensors.
INDEX_TYPES = {1: "<i4", 2: "<u2", 3: "<u1"}


class ConversionError(ValueError):
    """A network that cannot be converted; the message says why."""


@dataclass
class Operator:
    """One operator of a network.

    Attributes:
        kind: name of the operator in TensorFlow Lite's schema.
        inputs, outputs: indices of the tensors.
        options: the operator's options; None where it has none.
    """

    kind: str
    inputs: list[int]
    outputs: list[int]
    options: Table | None


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
        if network[4:8] != FILE_IDENTIFIER:
            raise ConversionError("this is no TensorFlow Lite network")
        try:
            self._read(network)
        except (struct.error, ValueError, IndexError) as error:
            raise ConversionError(f"the network is damaged: {error}") from None

    def _read(self, network: bytes) -> None:
        model = Table.root(network)
        graphs = model.tables(2)
        if len(graphs) != 1:
            raise ConversionError("the network has more or less than one graph")
        self._tensors, self._buffers = graphs[0].tables(0), model.tables(4)
        self.inputs = graphs[0].numbers(1, "<i4").tolist()
        self.outputs = graphs[0].numbers(2, "<i4").tolist()
        # The older of the two fields holds numbers under 127 only.
        codes = [max(code.number(0, "b"), code.number(3)) for code in model.tables(1)]
        self.operators = []
        for operator in graphs[0].tables(3):
            number = codes[operator.number(0, "I")]
            self.operators.append(
                Operator(
                    OPERATORS.get(number, f"operator {number}"),
                    operator.numbers(1, "<i4").tolist(),
                    operator.numbers(2, "<i4").tolist(),
                    operator.table(4),
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

    def options(self, operator: Operator, kind: str) -> SimpleNamespace:
        """The options of an operator, by the names of `tflite_schema.FIELDS`.

        Raises:
            ConversionError: the operator has no options.
        """
        if operator.options is None:
            raise ConversionError(f"an operator {operator.kind} has no options")
        return operator.options.fields(kind)

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Shape of a tensor."""
        return tuple(self._tensors[tensor].numbers(0, "<i4").tolist())

    def constant(self, tensor: int) -> np.ndarray | None:
        """Value of a tensor that does not depend on the input: dense, floats as float32.

        None for a tensor that is computed.

        Raises:
            ConversionError: the type or the sparsity of the tensor is not supported.
        """
        producer = self._producer.get(tensor)
        if producer is not None and producer.kind in ("DEQUANTIZE", "DENSIFY"):
            return self.constant(producer.inputs[0])
        table = self._tensors[tensor]
        data = self._buffers[table.number(2, "I")].numbers(0, "<u1")
        if not len(data):
            return None
        number = table.number(1, "b")
        kind = {**FLOAT_TYPES, **INTEGER_TYPES}.get(number)
        if kind is None:
            raise ConversionError(f"weights of type {number} are not supported")
        values: np.ndarray = data.view(np.dtype(kind))
        if number in FLOAT_TYPES:
            values = values.astype(np.float32)
        shape = self.shape(tensor)
        sparsity = table.table(6)
        if sparsity is None:
            return values.reshape(shape)
        levels: list[tuple[np.ndarray, np.ndarray] | int] = []
        for level in sparsity.tables(2):
            if level.number(0, "b") == DENSE_LEVEL:
                levels.append(level.number(1))
            else:
                levels.append((self._indices(level, 2), self._indices(level, 4)))
        traversal, blocks = (sparsity.numbers(i, "<i4").tolist() for i in (0, 1))
        return to_dense(values, shape, traversal, blocks, levels)

    def _indices(self, level: Table, field: int) -> np.ndarray:
        """(N,) int64, the index vector of a level; its type is in the field before it."""
        kind, vector = INDEX_TYPES[level.number(field, "B")], level.table(field + 1)
        return np.empty(0, np.int64) if vector is None else vector.numbers(0, kind).astype(np.int64)


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
