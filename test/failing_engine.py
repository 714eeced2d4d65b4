"""The node skeleton_lifter with an engine that is out of memory while a file exists.

The environment variable FAULT_FILE names the file.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from emf_ros.nodes import skeleton_lifter
from emf_ros.nodes.running import run


class FailingEngine:
    """An engine whose passes fail as those of onnxruntime do without memory."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.config, self.device = engine.config, engine.device
        self.description = engine.description

    def lift(self, keypoints: Any) -> Any:
        if os.path.exists(os.environ["FAULT_FILE"]):
            raise RuntimeError(
                "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : bfc_arena.cc: Available memory of 0 "
                "is smaller than requested bytes of 4456448"
            )
        return self._engine.lift(keypoints)

    def warm_up(self, largest: int) -> None:
        self._engine.warm_up(largest)


def main() -> int:
    make_engine = skeleton_lifter.make_engine
    skeleton_lifter.make_engine = lambda *given, **named: FailingEngine(
        make_engine(*given, **named)
    )
    return run(lambda: [skeleton_lifter.SkeletonLifter()])


if __name__ == "__main__":
    sys.exit(main())
