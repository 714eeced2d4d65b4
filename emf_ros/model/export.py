"""The model as a file for other runtimes: ONNX, TorchScript, torch.export.

Each file takes `keypoints` (B, T, J, 3), any B. It gives `positions` (B, T, J, 3) m and `log_scale`
(B, T, J) log m, as `Lifter.forward` does. Its metadata hold the configuration, see
`LifterConfig.metadata`. It contains the fused form of the lifter.
"""

from __future__ import annotations

import importlib
import io
import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..io.one_line import one_line
from ..io.outputs import OutputError, replacing
from .fused import FusedLifter, half_inside
from .lifter import Lifter

OPSET = 17
#: Endings of the files, by format.
FORMATS = {"onnx": ".onnx", "torchscript": ".torchscript", "torch-export": ".pt2"}
#: Maximum difference of an export from torch, m and log m, by whether it is in half precision.
TOLERANCE = {False: 1e-4, True: 5e-3}

_INPUT = "keypoints"
_OUTPUTS = ("positions", "log_scale")
_METADATA = "metadata.json"
#: Packages that a format needs beside torch: to write the file, and to compare it.
_PACKAGES = {"onnx": ("onnx", "onnxruntime")}


class ExportError(RuntimeError):
    """The model cannot be exported, or the file does not compute the same."""


def require_packages(format: str = "onnx") -> None:
    """Check that a file of a format can be written and compared here.

    Raises:
        ExportError: the format is unknown, or a package that it needs is not installed.
    """
    if format not in FORMATS:
        raise ExportError(f"unknown format {format!r}; known: {', '.join(FORMATS)}")
    for package in _PACKAGES.get(format, ()):
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise ExportError(
                f"the export needs {package} (pip install {package}): {one_line(error)}"
            ) from None


def export_checked(
    lifter: Lifter, path: str | Path, format: str = "onnx", half: bool = False
) -> float:
    """Write the lifter to a file that computes the same; else a file of this name stays.

    Args:
        format, half: see `export`.

    Returns:
        see `check_export`.

    Raises:
        ExportError: the lifter cannot be exported, or the file does not compute the same.
        OutputError: the file cannot be written.
    """
    require_packages(format)
    try:
        with replacing(path, FORMATS[format]) as part:
            _write(lifter, part, format, half)
            return check_export(lifter, part, format, half)
    except OutputError:
        raise
    except Exception as error:  # exporters and runtimes raise whatever a network leads to
        raise ExportError(f"{path} is not written: {one_line(error)}") from None


def export(lifter: Lifter, path: str | Path, format: str = "onnx", half: bool = False) -> None:
    """Write the lifter to a file, whatever it computes; see `export_checked`.

    Args:
        format: one of `FORMATS`.
        half: the blocks in float16, see `half_inside`. TensorRT and CUDA take this file.

    Raises:
        ExportError: the format is unknown, or a package that it needs is not installed.
        OutputError: the file cannot be written.
    """
    require_packages(format)
    with replacing(path, FORMATS[format]) as part:
        _write(lifter, part, format, half)


def _write(lifter: Lifter, path: Path, format: str, half: bool) -> None:
    config = lifter.config
    fused = FusedLifter(lifter.cpu().eval())
    model: nn.Module = half_inside(fused) if half else fused
    # With a batch of one the exporters would make the batch a constant.
    example = torch.zeros(2, config.frames, lifter.joints, config.motion.channels)
    metadata = {**config.metadata(), "precision": "float16" if half else "float32"}
    write: Callable[[nn.Module, Tensor, Path, dict[str, str]], None] = {
        "onnx": _write_onnx,
        "torchscript": _write_torchscript,
        "torch-export": _write_torch_export,
    }[format]
    with warnings.catch_warnings(), torch.no_grad():
        # Tracing is deprecated. The new exporter needs more packages, and tracing suffices: the
        # network has no control flow that depends on values.
        warnings.simplefilter("ignore")
        write(model, example, path, metadata)


def _write_onnx(model: nn.Module, example: Tensor, path: Path, metadata: dict[str, str]) -> None:
    import onnx

    torch.onnx.export(
        model,
        (example,),
        str(path),
        dynamo=False,
        opset_version=OPSET,
        input_names=[_INPUT],
        output_names=list(_OUTPUTS),
        dynamic_axes={name: {0: "batch"} for name in (_INPUT, *_OUTPUTS)},
    )
    written = onnx.load(str(path))
    onnx.helper.set_model_props(written, metadata)
    onnx.checker.check_model(written)
    onnx.save(written, str(path))


def _write_torchscript(
    model: nn.Module, example: Tensor, path: Path, metadata: dict[str, str]
) -> None:
    traced = torch.jit.trace(model.eval(), (example,), check_trace=False)
    # Through memory: torch's writer of files ends the process where a disk is full.
    memory = io.BytesIO()
    torch.jit.save(torch.jit.freeze(traced), memory, {_METADATA: json.dumps(metadata)})
    path.write_bytes(memory.getbuffer())


def _write_torch_export(
    model: nn.Module, example: Tensor, path: Path, metadata: dict[str, str]
) -> None:
    batch = torch.export.Dim("batch", min=1, max=4096)
    program = torch.export.export(model, (example,), dynamic_shapes=({0: batch},))
    memory = io.BytesIO()
    torch.export.save(program, memory, extra_files={_METADATA: json.dumps(metadata)})
    path.write_bytes(memory.getbuffer())


def load_exported(
    path: str | Path, format: str
) -> tuple[Callable[[np.ndarray], Sequence[np.ndarray]], dict[str, str]]:
    """An exported file as a function of numpy arrays on the CPU, and its metadata.

    Raises:
        ExportError: the format is unknown, or a package that it needs is not installed.
    """
    require_packages(format)
    if format == "onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        metadata = dict(session.get_modelmeta().custom_metadata_map)
        return lambda x: session.run(list(_OUTPUTS), {_INPUT: x}), metadata
    extra = {_METADATA: ""}
    if format == "torchscript":
        module = torch.jit.load(str(path), map_location="cpu", _extra_files=extra)
    else:
        module = torch.export.load(str(path), extra_files=extra).module()

    def run(x: np.ndarray) -> Sequence[np.ndarray]:
        with torch.no_grad():
            return [y.numpy() for y in module(torch.from_numpy(x))]

    return run, json.loads(extra[_METADATA])


def check_export(
    lifter: Lifter,
    path: str | Path,
    format: str = "onnx",
    half: bool = False,
    batches: Sequence[int] = (1, 3, 8),
) -> float:
    """Compare a file with the lifter on keypoints that move smoothly.

    Returns:
        the maximum difference of any output, m and log m.

    Raises:
        ExportError: it is above `TOLERANCE`, or the file holds another lifter.
    """
    run, metadata = load_exported(path, format)
    lifter = lifter.cpu().eval()
    if lifter.config.from_metadata(metadata) != lifter.config:
        raise ExportError("the file says that it holds another lifter than was exported")
    rng, c, worst = np.random.default_rng(0), lifter.config, 0.0
    for batch in batches:
        steps = rng.normal(0.0, 0.03, (batch, c.frames, lifter.joints, c.motion.channels))
        x = (rng.normal(0.0, 0.4, steps[:, :1].shape) + steps.cumsum(axis=1)).astype(np.float32)
        x[..., 2] = rng.uniform(0.0, 1.0, x.shape[:-1])
        with torch.inference_mode():
            expected = [y.numpy() for y in lifter(torch.from_numpy(x))]
        for mine, theirs in zip(expected, run(x), strict=True):
            if theirs.shape != mine.shape:
                raise ExportError(f"the file gives {theirs.shape} where torch gives {mine.shape}")
            difference = float(np.abs(mine - theirs).max())
            worst = max(worst, difference if np.isfinite(difference) else np.inf)
    if worst > TOLERANCE[half]:
        raise ExportError(
            f"the file differs from torch by {worst:.2g}, more than {TOLERANCE[half]:g}"
        )
    return worst
