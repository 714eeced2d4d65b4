"""Runs a tiny network with one provider of onnxruntime: `python -m emf_ros.doctor.provider NAME`.

It is a process of its own: a provider of a GPU may write its reason to stderr only, or crash.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from ..detect.onnx_file import declaration, graph, model, node
from ..runtime.device import BackendUnavailable
from ..runtime.onnx import make_session
from ..runtime.onnx_gpu import load_libraries

#: Version of the operators of the tiny network; every onnxruntime that works has them.
OPSET = 13

#: Version of the file format of that time.
IR_VERSION = 7


def tiny_network() -> bytes:
    """The content of a .onnx file that doubles four numbers."""
    shape = (1, 4)
    whole = graph(
        "tiny",
        [node("Add", ["x", "x"], ["y"])],
        [],
        [declaration("x", shape)],
        [declaration("y", shape)],
    )
    return model(whole, OPSET, IR_VERSION, "emf_ros")


def main(name: str) -> int:
    """Run; 0 where the provider started and gave the right numbers."""
    import onnxruntime

    if name not in onnxruntime.get_available_providers():
        print(f"this onnxruntime has no {name}", file=sys.stderr)
        return 1
    try:
        missing = load_libraries(name)
    except BackendUnavailable as reason:
        print(reason, file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="emf_ros_") as folder:
        path = Path(folder) / "tiny.onnx"
        path.write_bytes(tiny_network())
        session = make_session(path, 1, [name])
        if name not in session.get_providers():
            print(missing or f"{name} did not start", file=sys.stderr)
            return 1
        x = np.arange(4, dtype=np.float32).reshape(1, 4)
        if not np.array_equal(session.run(None, {"x": x})[0], 2 * x):
            print(f"{name} gives wrong numbers", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
