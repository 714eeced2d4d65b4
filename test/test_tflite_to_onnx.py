"""BlazePose's networks from TFLite to ONNX: equal to TFLite, cached, damage refused."""

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter

from emf_ros.detect.tflite_graph import ConversionError, to_dense
from emf_ros.detect.tflite_to_onnx import convert
from emf_ros.detect.weights import available_variants, ensure_onnx, ensure_tflite
from emf_ros.downloads.cache import DownloadError
from emf_ros.io.paths import cache_folder


def test_converter_expands_sparse_tensors():
    # Rows are dense, columns compressed: 1 at (0, 1), 2 at (2, 0), 3 at (2, 3).
    segments, columns = np.array([0, 1, 1, 3]), np.array([1, 0, 3])
    values = np.array([1.0, 2.0, 3.0])
    dense = to_dense(values, (3, 4), [0, 1], [], [3, (segments, columns)])
    assert dense.tolist() == [[0, 1, 0, 0], [0, 0, 0, 0], [2, 0, 0, 3]]


def test_converter_expands_block_sparse_tensors_in_any_dimension_order():
    # Columns first, then rows; each place is a block of two rows: columns 0 and 1 of the lower one.
    values = np.array([1.0, 2.0, 3.0, 4.0])
    levels = [2, (np.array([0, 1, 2]), np.array([1, 1])), 2]
    dense = to_dense(values, (4, 2), [1, 0, 2], [0], levels)
    assert dense.tolist() == [[0, 0], [0, 0], [1, 3], [2, 4]]


def test_converter_rejects_inconsistent_sparse_tensors():
    with pytest.raises(ConversionError, match="3 places and 2 values"):
        to_dense(np.ones(2), (3,), [0], [], [3])
    with pytest.raises(ConversionError, match="do not fit"):
        to_dense(np.ones(2), (3,), [0], [], [(np.array([0, 3]), np.array([1, 2]))])


@pytest.mark.parametrize("network", [b"", b"\0" * 100, b"no network at all" * 20])
def test_converter_rejects_bytes_that_are_not_a_tflite_network(network):
    with pytest.raises(ConversionError):
        convert(network, {0: "out"}, "test", (0.0, 1.0))


@pytest.mark.parametrize("variant", [None, "lite", "full", "heavy"])
def test_converted_networks_match_tflite(variant, demo_frames):
    if variant is not None and variant not in available_variants():
        pytest.skip(f"the weights of {variant} come with npm, which is not installed")
    name = "pose_detection" if variant is None else f"pose_landmark_{variant}"
    image = cv2.cvtColor(demo_frames[30], cv2.COLOR_BGR2RGB)
    tones = cv2.resize(image, (224, 224) if variant is None else (256, 256))[None]
    given = tones.astype(np.float32) / 255
    given = given if variant is not None else 2 * given - 1
    outputs = ("boxes", "scores")
    if variant is not None:
        outputs = ("landmarks", "presence", None, "heatmap", "world")

    reference = Interpreter(str(ensure_tflite(f"{name}.tflite")))
    reference.allocate_tensors()
    reference.set_tensor(reference.get_input_details()[0]["index"], given)
    reference.invoke()
    session = onnxruntime.InferenceSession(
        str(ensure_onnx(variant)), providers=["CPUExecutionProvider"]
    )
    for output, details in zip(outputs, reference.get_output_details(), strict=True):
        if output is None:
            continue
        wanted = reference.get_tensor(details["index"])
        (value,) = session.run([output], {"image": tones})
        if value.ndim == 4:
            value = value.transpose(0, 2, 3, 1)
        assert value.shape == wanted.shape
        # Of values that reach into the hundreds.
        assert np.abs(value - wanted).max() <= 1e-3 * max(1.0, np.abs(wanted).max())


def test_tones_go_into_a_cast_alone_also_after_the_optimisation(tmp_path):
    """TensorRT takes uint8 as input of a network only, and only into a Cast."""
    options, path = onnxruntime.SessionOptions(), str(tmp_path / "optimised.onnx")
    options.optimized_model_filepath = path
    # What onnxruntime does before it asks TensorRT which nodes it takes.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    # Converted here: a kept file may be of another converter.
    network = ensure_tflite("pose_detection.tflite").read_bytes()
    made = convert(network, {0: "boxes", 1: "scores"}, "test", (-1.0, 1.0))
    onnxruntime.InferenceSession(made, options, providers=["CPUExecutionProvider"])
    graph = onnx.load(path).graph
    (image,) = graph.input
    assert image.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    users = [node for node in graph.node if image.name in node.input]
    assert [node.op_type for node in users] == ["Cast"]
    others = [n for n in graph.node if n.op_type == "Cast" and n not in users]
    assert not [n for n in others if n.attribute[0].i == onnx.TensorProto.UINT8]


@pytest.mark.parametrize("variant", [None, "full"])
def test_no_pointwise_convolution_follows_a_resizing(variant):
    nodes = onnx.load(ensure_onnx(variant)).graph.node
    resized = {name for node in nodes if node.op_type == "Resize" for name in node.output}
    assert resized
    assert not [n for n in nodes if n.op_type == "Conv" and n.input[0] in resized]


def test_converted_network_is_cached_and_rebuilt_when_damaged(tmp_path, monkeypatch):
    source = ensure_tflite("pose_detection.tflite")
    monkeypatch.setenv("EMF_ROS_CACHE", str(tmp_path))
    (cache_folder() / "blazepose").mkdir(parents=True)
    (cache_folder() / "blazepose" / source.name).write_bytes(source.read_bytes())
    made = ensure_onnx()
    whole, time = made.read_bytes(), made.stat().st_mtime_ns
    assert ensure_onnx() == made and made.stat().st_mtime_ns == time
    made.write_bytes(whole[:-1])
    assert ensure_onnx().read_bytes() == whole
    with pytest.raises(DownloadError, match="no variant 'huge'"):
        ensure_onnx("huge")
