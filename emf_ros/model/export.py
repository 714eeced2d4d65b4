"""The model as an ONNX file, for runtimes that are not torch."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import torch

from .lifter import Lifter
from .presets import FORMAT

OPSET = 17


def export_onnx(lifter: Lifter, path: str | Path) -> None:
    """Write input `keypoints` (B, T, J, 3), outputs `positions` (B, T, J, 3) and `log_scale`
    (B, T, J), float32, any B, with the configuration in the file's metadata."""
    import onnx

    config = lifter.config
    example = torch.zeros(2, config.frames, 17, 3)
    temporary = Path(f"{path}.part")
    with warnings.catch_warnings():
        # Tracing is deprecated in favour of an exporter that needs another package; this network
        # has no control flow, which is all that tracing cannot do.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            lifter.cpu().eval(),
            (example,),
            str(temporary),
            dynamo=False,
            opset_version=OPSET,
            input_names=["keypoints"],
            output_names=["positions", "log_scale"],
            dynamic_axes={n: {0: "batch"} for n in ("keypoints", "positions", "log_scale")},
        )
    model = onnx.load(str(temporary))
    onnx.helper.set_model_props(
        model, {"format": FORMAT, "config": json.dumps(config.as_dict(), sort_keys=True)}
    )
    onnx.save(model, str(temporary))
    temporary.replace(path)
