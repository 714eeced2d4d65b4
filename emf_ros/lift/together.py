"""Several cameras, lifted in one forward pass."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ..types import Frame3D
from .forward import run_model
from .pipeline import LiftPipeline


def lift_together(pipelines: Sequence[LiftPipeline]) -> list[Frame3D | None]:
    """Lift the people of several cameras in one forward pass.

    Args:
        pipelines: of one engine.

    Returns:
        the poses of each camera, None for cameras without a new image to describe. `lift_ms` of
        each is the time of the whole pass.
    """
    begin = time.perf_counter()
    windows = [pipeline.windows() for pipeline in pipelines]
    due = [one for one in windows if one is not None]
    lifted = iter(run_model(pipelines[0].engine, due) if due else [])
    results = [
        None if one is None else pipeline.poses(one, next(lifted))
        for pipeline, one in zip(pipelines, windows, strict=True)
    ]
    elapsed_ms = 1000 * (time.perf_counter() - begin)
    for result in results:
        if result is not None:
            result.lift_ms = elapsed_ms
    return results
