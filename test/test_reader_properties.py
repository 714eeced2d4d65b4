"""Truncated and changed files of every kind that is read: a result, or one line of the reader's
own error."""

from __future__ import annotations

import json
import tempfile
from typing import Any

import numpy as np
import pytest
from damage import damage, read_or_refused
from hypothesis import given
from hypothesis import strategies as st
from test_calibration import READ as CALIBRATIONS
from test_recording import keypoints

from emf_ros.detect.onnx.config import load_config
from emf_ros.detect.protocol import DetectorError
from emf_ros.geometry.camera import CameraError
from emf_ros.io.calibration.reader import read_camera
from emf_ros.io.recordings import RecordingError, load_recording
from emf_ros.model.presets import PRESETS, LifterConfig
from emf_ros.train.evaluate import EvaluationError
from emf_ros.train.truth import Truth


@given(st.data(), st.sampled_from(sorted(CALIBRATIONS)))
def test_a_damaged_calibration_file_is_read_or_refused_in_one_line(data: Any, kind: str) -> None:
    changed = data.draw(damage(CALIBRATIONS[kind].encode()))
    camera = read_or_refused(read_camera, changed, CameraError, "camera.yaml")
    if camera is not None:
        assert np.isfinite(camera.matrix).all() and np.isfinite(camera.distortion).all()
        assert (np.diag(camera.matrix) > 0).all() and min(camera.size) > 0


def npz_bytes(arrays: dict[str, Any], compressed: bool) -> bytes:
    with tempfile.TemporaryFile() as file:
        (np.savez_compressed if compressed else np.savez)(file, **arrays)
        file.seek(0)
        return file.read()


@st.composite
def changed_arrays(draw: st.DrawFn, arrays: dict[str, Any]) -> dict[str, Any]:
    """Arrays of which one or two have another shape, type or value, or are left out."""
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    for _ in range(draw(st.integers(1, 2))):
        name = draw(st.sampled_from(sorted(arrays)))
        array = arrays[name]
        kind = draw(st.sampled_from(["value", "shape", "length", "type", "scalar", "missing"]))
        number = draw(st.sampled_from([np.nan, np.inf, -np.inf, 1e300, -1.0, 0.0, 2.0**63, 0.5]))
        if kind == "value" and array.size and array.dtype.kind in "if":
            array = array.astype(float)
            array.flat[draw(st.integers(0, array.size - 1))] = number
            arrays[name] = array
        elif kind == "shape":
            arrays[name] = array[None]
        elif kind == "length":
            arrays[name] = array.ravel()[: draw(st.integers(0, array.size))]
        elif kind == "type":
            types = [object, "U4", "S2", complex, bool, "M8[s]", np.float16, np.uint8]
            try:
                with np.errstate(all="ignore"):
                    arrays[name] = array.astype(draw(st.sampled_from(types)))
            except (ValueError, TypeError, RuntimeError, OverflowError):
                # Numbers that are no dates, or objects that no byte can hold, for example.
                continue
        elif kind == "scalar":
            arrays[name] = np.array(draw(st.sampled_from([number, "x", None, b"", 1j])))
        elif kind == "missing" and len(arrays) > 1:
            del arrays[name]
    return arrays


def check_recording(recording: Any) -> None:
    if recording is not None:
        assert np.isfinite(recording.stamp).all()
        assert len(recording.stamp) == len(recording.track_id) == len(recording.keypoints_2d)


@given(st.data(), st.booleans())
def test_a_damaged_recording_is_read_or_refused_in_one_line(data: Any, compressed: bool) -> None:
    changed = data.draw(damage(npz_bytes(keypoints(), compressed)))
    check_recording(read_or_refused(load_recording, changed, RecordingError, "in.npz"))


@pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")
@given(st.data())
def test_a_recording_of_other_arrays_is_read_or_refused_in_one_line(data: Any) -> None:
    changed = npz_bytes(data.draw(changed_arrays(keypoints())), False)
    check_recording(read_or_refused(load_recording, changed, RecordingError, "in.npz"))


TRC_NAMES = ["RHip", "LHip", "RKnee", "LKnee", "RAnkle", "LAnkle", "Neck"]


def trc_text() -> str:
    """Four moments of seven markers, as OpenSim writes them."""
    rows = [
        "PathFileType\t4\t(X/Y/Z)\tclip.trc",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits",
        f"60\t60\t4\t{len(TRC_NAMES)}\tmm",
        "Frame#\tTime\t" + "\t\t\t".join(TRC_NAMES),
        "\t\t" + "\t".join(f"{axis}{i + 1}" for i in range(len(TRC_NAMES)) for axis in "XYZ"),
    ]
    for number in range(4):
        values = [100.0 * i + number for i in range(3 * len(TRC_NAMES))]
        rows.append("\t".join([str(number + 1), f"{number / 60:.4f}", *map(str, values)]))
    return "\n".join(rows) + "\n"


def truth_arrays() -> dict[str, Any]:
    points = np.arange(4.0 * len(TRC_NAMES) * 3).reshape(4, -1, 3)
    return {
        "truth": points,
        "truth_time": np.arange(4) / 60,
        "truth_joints": np.array(TRC_NAMES),
    }


def test_the_undamaged_truth_files_are_read() -> None:
    for name, data in (
        ("lab.trc", trc_text().encode()),
        ("lab.npz", npz_bytes(truth_arrays(), False)),
    ):
        truth = read_or_refused(Truth.load, data, EvaluationError, name)
        assert truth is not None and len(truth.known) == len(TRC_NAMES) - 1


@given(st.data())
def test_a_damaged_trc_file_is_read_or_refused_in_one_line(data: Any) -> None:
    changed = data.draw(damage(trc_text().encode()))
    read_or_refused(Truth.load, changed, EvaluationError, "lab.trc")


@given(st.data(), st.booleans())
def test_a_damaged_truth_archive_is_read_or_refused_in_one_line(
    data: Any, compressed: bool
) -> None:
    changed = data.draw(damage(npz_bytes(truth_arrays(), compressed)))
    read_or_refused(Truth.load, changed, EvaluationError, "lab.npz")


@given(st.data())
def test_a_truth_archive_of_other_arrays_is_read_or_refused_in_one_line(data: Any) -> None:
    changed = npz_bytes(data.draw(changed_arrays(truth_arrays())), False)
    read_or_refused(Truth.load, changed, EvaluationError, "lab.npz")


ONNX_SETTINGS = """decode: simcc
layout: coco17
input_size: [192, 256]
mean: [123.675, 116.28, 103.53]
std: [58.395, 57.12, 57.375]
boxes:
  model: detector.onnx
  decode: yolox
  input_size: [416, 416]
  detect_every: 5
"""


@given(st.data())
def test_damaged_settings_of_an_onnx_detector_are_read_or_refused_in_one_line(data: Any) -> None:
    changed = data.draw(damage(ONNX_SETTINGS.encode()))
    read_or_refused(
        lambda path: load_config(path.with_suffix(".onnx")), changed, DetectorError, "pose.yaml"
    )


def anything() -> st.SearchStrategy:
    """What JSON can hold."""
    leaf = st.none() | st.booleans() | st.integers(-3, 300) | st.text(max_size=5)
    leaf |= st.sampled_from([1e300, -0.5, 0.0, 2**70])
    return st.recursive(
        leaf,
        lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=5), x, max_size=3),
    )


@given(st.data())
def test_damaged_metadata_describe_a_lifter_or_are_refused(data: Any) -> None:
    metadata = PRESETS["lite"].metadata()
    config = json.loads(metadata["config"])
    kind = data.draw(st.sampled_from(["setting", "text", "missing"]))
    if kind == "setting":
        config[data.draw(st.sampled_from(sorted(config)))] = data.draw(anything())
        metadata["config"] = json.dumps(config)
    elif kind == "text":
        name = data.draw(st.sampled_from(sorted(metadata)))
        changed = data.draw(damage(metadata[name].encode()))
        metadata[name] = changed.decode(errors="replace")
    else:
        del metadata[data.draw(st.sampled_from(sorted(metadata)))]
    try:
        read = LifterConfig.from_metadata(metadata)
    except ValueError as refusal:
        assert str(refusal)
    else:
        assert LifterConfig.from_metadata(read.metadata()) == read
