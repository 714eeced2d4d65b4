"""Weights and models of others: absurd sizes, other outputs, damage; refused in one line."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from damage import damage, lies, read_or_refused
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import grown_mb
from onnx import TensorProto, helper
from onnx_models import make

from emf_ros.detect.onnx.detector import OnnxPoseDetector
from emf_ros.detect.protocol import DetectorError
from emf_ros.io.paths import share_folder
from emf_ros.lift.engine import make_engine
from emf_ros.lift.engine_base import EngineError, clip_shape
from emf_ros.model.checkpoint import WeightsError, load_notes, load_weights
from emf_ros.model.presets import PRESETS, LifterConfig

#: Fewer examples of what opens a model.
FEWER = settings(max_examples=settings.default.max_examples // 8)

#: Maximum memory that refusing a file may take, MB.
MAX_MB = 300

METADATA = PRESETS["lite"].metadata()


def metadata_with(**changes: Any) -> dict[str, str]:
    """Metadata of a lifter with changed settings, which contradict nothing else."""
    config = {**json.loads(METADATA["config"]), **changes}
    own = {
        name: f"{config[name]:g}" if name == "rate_hz" else str(config[name])
        for name in ("frames", "rate_hz", "layout")
    }
    return {**METADATA, **own, "config": json.dumps(config)}


ABSURD = [
    {"layers": 100_000},
    {"layers": 900},
    {"dim": 2**16},
    {"dim": 2**40},
    {"dim_rep": 10**9},
    {"heads": 5},
    {"frames": 3 * 10**9},
    {"rate_hz": 1e300},
    {"rate_hz": 1e-300},
    {"mlp_ratio": float("nan")},
    {"mlp_ratio": "x"},
    {"layer_scale": float("inf")},
    {"motion": {"scales": [1, 10**9, 4]}},
    {"motion": {"max_taps": 10**9}},
    {"motion": {"channels": 10**8}},
    {"motion": {"joint_kernels": 10**9}},
    {"motion": {"dropout": -3}},
    {"motion": {1: 2}},
]


@functools.cache
def weights() -> bytes:
    return (share_folder("models") / "lite.safetensors").read_bytes()


def with_head(head: bytes) -> bytes:
    """The shipped weights with another header."""
    size = int.from_bytes(weights()[:8], "little")
    return len(head).to_bytes(8, "little") + head + weights()[8 + size :]


@functools.cache
def head() -> bytes:
    return weights()[8 : 8 + int.from_bytes(weights()[:8], "little")]


@pytest.mark.parametrize("changes", ABSURD, ids=str)
def test_weights_of_an_absurd_lifter_are_refused_before_it_is_built(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    described = json.loads(head())
    described["__metadata__"] = metadata_with(**changes)
    path = tmp_path / "mine.safetensors"
    path.write_bytes(with_head(json.dumps(described).encode()))
    with grown_mb() as grown, pytest.raises(WeightsError, match=r"mine\.safetensors") as refusal:
        load_weights(path)
    assert grown() < MAX_MB and len(str(refusal.value).splitlines()) == 1


def test_metadata_of_many_levels_are_refused() -> None:
    with pytest.raises(ValueError, match="describes no lifter"):
        LifterConfig.from_metadata({**METADATA, "config": "[" * 200_000})


@FEWER
@given(st.data())
def test_damaged_weights_are_loaded_or_refused(data: Any) -> None:
    changed = data.draw(damage(head()) | lies(head()))
    file = with_head(changed) if data.draw(st.booleans()) else weights()[:8] + changed

    def read(path: Path) -> Any:
        load_notes(path)
        return load_weights(path)

    with grown_mb() as grown:
        read_or_refused(read, file, WeightsError, "mine.safetensors")
    assert grown() < MAX_MB


# ------------------------------------------------------------------------------ ONNX


def lifter_model(path: Path, values: np.ndarray, scale: np.ndarray, dtype: int) -> Path:
    """An ONNX model with the input of the lifter, which gives the same whatever it gets."""
    shape = ["people", *clip_shape(PRESETS["lite"])]
    nodes = [
        helper.make_node("Constant", [], [name], value=onnx.numpy_helper.from_array(array))
        for name, array in (("positions", values), ("log_scale", scale))
    ]
    graph = helper.make_graph(
        nodes,
        "lifter",
        [helper.make_tensor_value_info("keypoints", dtype, shape)],
        [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, None)
            for n in ("positions", "log_scale")
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    helper.set_model_props(model, METADATA)
    model.ir_version = 8
    onnx.save(model, path)
    return path


SHAPE = clip_shape(PRESETS["lite"])
POSITIONS = np.zeros((2, *SHAPE), np.float32)


@pytest.mark.parametrize(
    ("positions", "scale", "dtype", "why"),
    [
        (np.float32([1.0]), POSITIONS[..., 0], TensorProto.FLOAT, "gives .* for two people"),
        (POSITIONS[:1], POSITIONS[:1, ..., 0], TensorProto.FLOAT, "gives .* for two people"),
        (np.nan * POSITIONS, POSITIONS[..., 0], TensorProto.FLOAT, "are not finite"),
        (POSITIONS, POSITIONS[..., 0], TensorProto.DOUBLE, r"tensor\(double\)"),
    ],
    ids=["shape", "people", "NaN", "input"],
)
def test_an_onnx_lifter_that_gives_something_else_is_refused_when_it_is_loaded(
    positions: np.ndarray, scale: np.ndarray, dtype: int, why: str, tmp_path: Path
) -> None:
    path = lifter_model(tmp_path / "mine.onnx", positions, scale, dtype)
    with pytest.raises(EngineError, match=rf"mine\.onnx.*{why}") as refusal:
        make_engine("lite", path, "cpu", threads=1)
    assert len(str(refusal.value).splitlines()) == 1


def test_an_onnx_lifter_without_the_outputs_is_refused_when_it_is_loaded(tmp_path: Path) -> None:
    path = lifter_model(tmp_path / "mine.onnx", POSITIONS, POSITIONS[..., 0], TensorProto.FLOAT)
    model = onnx.load(path)
    del model.graph.output[1]
    onnx.save(model, path)
    with pytest.raises(EngineError, match=r"mine\.onnx fails on an input of .*log_scale"):
        make_engine("lite", path, "cpu", threads=1)


def test_a_detector_of_gigantic_images_is_refused_before_it_runs(tmp_path: Path) -> None:
    path = make(tmp_path, "simcc")
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 1_000_000, 2_000_000])
    size = helper.make_tensor_value_info("size", TensorProto.INT64, [4])
    nodes = [helper.make_node("Shape", ["image"], ["size"])]
    model = helper.make_model(
        helper.make_graph(nodes, "detector", [image], [size]),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    model.ir_version = 8
    onnx.save(model, path)
    with grown_mb() as grown, pytest.raises(DetectorError, match="at most 8192 px wide and high"):
        OnnxPoseDetector(path, 2, 0.4, device="cpu")
    assert grown() < MAX_MB


@functools.cache
def detector_files(folder: str) -> tuple[bytes, bytes]:
    path = make(Path(folder), "simcc")
    return path.read_bytes(), path.with_suffix(".yaml").read_bytes()


@FEWER
@given(st.data())
def test_a_damaged_model_of_a_detector_is_loaded_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: Any
) -> None:
    model, beside = detector_files(str(tmp_path_factory.getbasetemp()))
    image = np.full((120, 160, 3), 90, np.uint8)

    def read(path: Path) -> Any:
        path.with_suffix(".yaml").write_bytes(beside)
        detector = OnnxPoseDetector(path, 2, 0.4, device="cpu")
        found = detector.detect(image, 0)
        detector.close()
        return found

    for person in read_or_refused(read, data.draw(lies(model)), DetectorError, "mine.onnx") or []:
        assert person.keypoints.shape == (17, 3) and not np.isinf(person.keypoints).any()


# ------------------------------------------------------------------------------ paths


def test_the_home_of_nobody_is_no_file() -> None:
    from emf_ros.geometry.camera import CameraError
    from emf_ros.io.calibration.reader import read_camera
    from emf_ros.io.frame_source import VideoError
    from emf_ros.io.video import open_source

    name = "~nobody_of_this_name/file"
    for read, error in (
        (lambda: make_engine("lite", f"{name}.onnx", "cpu"), EngineError),
        (lambda: OnnxPoseDetector(f"{name}.onnx", 2, 0.4), DetectorError),
        (lambda: read_camera(f"{name}.yaml"), CameraError),
        (lambda: open_source(f"{name}.mp4"), VideoError),
    ):
        with pytest.raises(error, match=name):
            read()
