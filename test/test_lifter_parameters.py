"""Parameters of the real skeleton_lifter process: refused, and described."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import Any

import pytest
from lifter_process import (
    Lifter,
)


def _truncated(tmp_path: Any, name: str) -> str:
    from emf_ros.io.paths import share_folder

    path = tmp_path / name
    shutil.copy(share_folder("models") / name, path)
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size // 2)
    return str(path)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        pytest.param({"lags": 3}, ["lags", "unknown"], id="unknown name"),
        pytest.param({"smoothing_beta": 8.0}, ["'smoothing_beta'", "set smoothing"], id="old name"),
        pytest.param(
            {"person_height_m": float("nan")}, ["person_height_m", "nan"], id="not a number"
        ),
        pytest.param({"lag": 27}, ["lag", "27"], id="out of range"),
        pytest.param({"coast_s": -0.1}, ["coast_s"], id="negative time"),
        pytest.param({"lag": 1.5}, ["lag", "whole number", "auto"], id="float for int"),
        pytest.param({"lag": "most"}, ["lag", "most", "auto"], id="another word"),
        pytest.param({"threads": 1.5}, ["threads", "INTEGER"], id="float for int only"),
        pytest.param({"cameras": ["front", "1st"]}, ["cameras", "1st"], id="no topic's name"),
        pytest.param({"cameras": ["a", "b", "a"]}, ["cameras", "twice"], id="repeated camera"),
        pytest.param({"smoothing": "much"}, ["smoothing", "much", "light"], id="no such smoothing"),
        pytest.param({"max_people": "many"}, ["max_people"], id="text for int"),
        pytest.param({"preset": "huge"}, ["preset", "huge", "lite"], id="no such preset"),
        pytest.param({"device": "tpu"}, ["device", "tpu", "cpu"], id="no such device"),
        pytest.param({"weights": "/no/such.onnx"}, ["/no/such.onnx"], id="missing weights"),
        pytest.param({"weights": "lite.onnx", "device": "cpu"}, ["lite.onnx"], id="truncated onnx"),
        pytest.param({"weights": "lite.safetensors"}, ["lite.safetensors"], id="truncated weights"),
        pytest.param({"device": "cuda"}, ["GPU is required"], id="no GPU"),
    ],
)
def test_bad_parameters_end_the_process(
    start_node, tmp_path, parameters: dict[str, Any], expected: list[str]
) -> None:
    if str(parameters.get("weights", "")).startswith("lite"):
        parameters = {**parameters, "weights": _truncated(tmp_path, parameters["weights"])}
    process = start_node("skeleton_lifter", expect=False, **parameters)
    assert process.wait() == 1
    assert "Traceback" not in process.log
    said = [line for line in process.log.splitlines() if line.startswith("emf_ros: ")]
    assert len(said) == 1
    for word in expected:
        assert word in said[0]


def test_an_interrupt_while_starting_is_a_clean_end(start_node) -> None:
    process = start_node("skeleton_lifter")
    # As soon as others see the node: it may still be loading its model.
    process.stop()


def test_an_interrupt_while_an_error_is_handled_is_a_clean_end() -> None:
    # ROS shuts down at once, which makes errors. Python raises KeyboardInterrupt a moment later.
    script = """
import sys
import rclpy
from emf_ros.nodes.running import run

def interrupted():
    raise KeyboardInterrupt

def build():
    rclpy.shutdown()
    rclpy.ok = interrupted
    raise RuntimeError("the context is invalid")

sys.exit(run(build))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_parameters_are_described_with_range_and_whether_they_change_live(
    ros, lifter: Lifter
) -> None:
    from rcl_interfaces.srv import DescribeParameters

    from emf_ros.nodes.params import SkeletonLifterParams

    node = lifter.process.topic("skeleton_lifter")
    specs = SkeletonLifterParams.specs()
    names = list(specs)
    described = ros.call(
        DescribeParameters, f"{node}/describe_parameters", DescribeParameters.Request(names=names)
    ).descriptors
    assert [d.name for d in described] == names
    assert [d.description for d in described] == [spec.text for spec in specs.values()]
    ranged = {d.name: d for d in described}
    assert ranged["max_people"].integer_range[0].to_value == specs["max_people"].high
    assert ranged["coast_s"].floating_point_range[0].to_value == specs["coast_s"].high
    assert "auto" in ranged["lag"].additional_constraints
    assert "cleanup + configure" in ranged["preset"].additional_constraints
    assert "cleanup" not in ranged["lag"].additional_constraints
