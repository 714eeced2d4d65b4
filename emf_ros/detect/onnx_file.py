"""Writes ONNX files, without the package onnx: the part of the format that BlazePose needs.

The files are protocol buffers: numbered fields, each a whole number or bytes with their length. The
numbers of the fields are those of onnx.proto (version 3 of ONNX's file format and later).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: Types of tensors by numpy's names of them.
TENSOR_TYPES = {"float32": 1, "uint8": 2, "int32": 6, "int64": 7}

#: Wire types of protocol buffers: a whole number, and bytes with their length.
VARINT, BYTES = 0, 2
#: Types of an attribute.
ATTRIBUTE_INT, ATTRIBUTE_TEXT, ATTRIBUTE_INTS = 2, 3, 7


def _number(value: int) -> bytes:
    value &= (1 << 64) - 1  # a negative number in two's complement
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _int(field: int, value: int) -> bytes:
    return _number(field << 3 | VARINT) + _number(int(value))


def _bytes(field: int, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return _number(field << 3 | BYTES) + _number(len(data)) + data


def _attribute(name: str, value: int | str | Sequence[int]) -> bytes:
    begin = _bytes(1, name)
    if isinstance(value, str):
        return begin + _bytes(4, value) + _int(20, ATTRIBUTE_TEXT)
    if isinstance(value, int):
        return begin + _int(3, value) + _int(20, ATTRIBUTE_INT)
    return begin + b"".join(_int(8, v) for v in value) + _int(20, ATTRIBUTE_INTS)


def node(
    kind: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    **attributes: int | str | Sequence[int],
) -> bytes:
    """A node of a graph: one operator. An input with an empty name is not given."""
    return (
        b"".join(_bytes(1, name) for name in inputs)
        + b"".join(_bytes(2, name) for name in outputs)
        + _bytes(3, f"{kind}_{outputs[0]}")
        + _bytes(4, kind)
        + b"".join(_bytes(5, _attribute(n, attributes[n])) for n in sorted(attributes))
    )


def tensor(name: str, value: np.ndarray) -> bytes:
    """A constant of a graph, of one of `TENSOR_TYPES`."""
    data = np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("<")).tobytes()
    dims = b"".join(_int(1, size) for size in value.shape)
    return dims + _int(2, TENSOR_TYPES[value.dtype.name]) + _bytes(8, name) + _bytes(9, data)


def declaration(name: str, shape: Sequence[int | str], dtype: str = "float32") -> bytes:
    """The declaration of an input or output, of one of `TENSOR_TYPES`.

    A text in the shape names a free size.
    """
    dims = b"".join(
        _bytes(1, _bytes(2, size) if isinstance(size, str) else _int(1, size)) for size in shape
    )
    kind = _int(1, TENSOR_TYPES[dtype]) + _bytes(2, dims)
    return _bytes(1, name) + _bytes(2, _bytes(1, kind))


def graph(
    name: str,
    nodes: Sequence[bytes],
    constants: Sequence[bytes],
    inputs: Sequence[bytes],
    outputs: Sequence[bytes],
) -> bytes:
    """A graph; the nodes in the order in which they run."""
    parts = ((1, nodes), (2, [name.encode()]), (5, constants), (11, inputs), (12, outputs))
    return b"".join(_bytes(field, part) for field, own in parts for part in own)


def model(whole: bytes, opset: int, ir_version: int, producer: str) -> bytes:
    """The content of a .onnx file with one graph.

    Args:
        whole: the graph.
        opset: version of the operators.
        ir_version: version of the file format.
        producer: name of the program that writes it.
    """
    operators = _bytes(1, "") + _int(2, opset)
    return _int(1, ir_version) + _bytes(2, producer) + _bytes(7, whole) + _bytes(8, operators)
