"""The user's own models: each decoder, on small models that detect coloured markers."""

from __future__ import annotations

import re
import shutil
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from marker_models import COLORS, marker_model, picture, places
from onnx_models import EVERY_FORM, FORMS, SIZES, detector, error, make, scene, write

from emf_ros.detect.budget import DetectionBudget
from emf_ros.detect.factory import make_detector
from emf_ros.detect.onnx.config import NetworkConfig, load_config
from emf_ros.detect.onnx.decode import decode_boxes, decode_crops
from emf_ros.detect.onnx.detector import OnnxPoseDetector
from emf_ros.geometry.crops import letterbox
from emf_ros.skeletons import COCO17, HALPE26
from emf_ros.types import Pose2D

# ------------------------------------------------------------------------------------- places


@EVERY_FORM
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_keypoints_of_each_decoder_are_at_the_markers(models, form, size):
    made = detector(models / f"{form}.onnx")
    image, person = scene(*size)
    (found,) = made.detect(image, 0)
    input_size = FORMS[form][0]["size"]
    per_pixel = 1 / min(a / b for a, b in zip(input_size, size, strict=True))
    assert error(found, person) < 0.45 * max(1.0, per_pixel)
    assert found.keypoints.shape == (17, 3) and found.keypoints[:, 2].min() > 0.6
    assert 0.6 < found.score <= 1.0


@EVERY_FORM
def test_a_joint_that_is_not_there_has_a_low_score(models, form):
    image, person = scene(640, 480)
    image[(image == COLORS[9]).all(axis=-1)] = 0
    (found,) = detector(models / f"{form}.onnx").detect(image, 0)
    assert found.keypoints[9, 2] < 0.2 and np.delete(found.keypoints[:, 2], 9).min() > 0.6


@pytest.mark.parametrize(
    ("form", "dtype"),
    [("yolo_pose", "float16"), ("simcc", "float16"), ("movenet_single", "uint8")]
    + [("movenet_single", "float32")],
)
def test_models_with_other_input_types(tmp_path, form, dtype):
    """The type is read from the file, or given by the settings."""
    image, person = scene(640, 480)
    for settings in ({}, {"dtype": dtype}):
        (found,) = detector(make(tmp_path, form, settings, dtype=dtype)).detect(image, 0)
        assert error(found, person) < 3.0


def test_a_model_with_nan_outputs_gives_no_detections(models, tmp_path):
    for form in FORMS:
        made = detector(models / f"{form}.onnx", min_score=0.0)
        run = made._pose._run_once
        made._pose._run_once = lambda session, batch, run=run: {
            name: np.full_like(value, np.nan) if value.dtype.kind == "f" else value
            for name, value in run(session, batch).items()
        }
        assert made.detect(scene(640, 480)[0], 0) == []


TWO = ["rtmo", "yolo_pose", "yolo_pose_end2end", "movenet_multi"]


@pytest.mark.parametrize("form", TWO)
def test_one_stage_models_find_several_people_once_each(tmp_path, form):
    path = make(tmp_path, form, people=2)
    people = [places(17, left, 40, 540, 600) for left in (40, 700)]
    image = picture(1280, 720, people, 28)
    found = sorted(detector(path).detect(image, 0), key=lambda d: d.keypoints[0, 0])
    assert len(found) == 2
    for one, person in zip(found, people, strict=True):
        assert error(one, person) < 5.0
    # The better of them, where only one is wanted.
    image[(image == COLORS[3]).all(axis=-1) & (np.arange(1280) < 640)] = 0
    (best,) = detector(path, max_people=1).detect(image, 0)
    assert error(best, people[1]) < 5.0


# ------------------------------------------------------------------------------------- top-down


@pytest.mark.parametrize("boxes", ["yolo_boxes", "yolox_boxes", "nms_boxes"])
@pytest.mark.parametrize("form", ["simcc", "heatmap", "movenet_single"])
def test_top_down_models_crop_each_persons_box(tmp_path, form, boxes):
    marker_model(tmp_path / "finder.onnx", boxes, (320, 320), people=2)
    path = make(tmp_path, form, {"boxes": {"model": "finder.onnx", "decode": boxes}})
    people = [places(17, left, top, 150, 260) for left, top in ((60, 80), (900, 300))]
    image = picture(1280, 720, people, 9)
    made = detector(path)
    assert "boxes of finder.onnx" in made.description
    found = sorted(made.detect(image, 0), key=lambda d: d.keypoints[0, 0])
    assert len(found) == 2
    for one, person in zip(found, people, strict=True):
        # The input is about as large as the box.
        assert error(one, person) < 2.0


def test_people_are_followed_between_detections(tmp_path):
    marker_model(tmp_path / "finder.onnx", "nms_boxes", (320, 320), people=1)
    boxes = {"model": "finder.onnx", "decode": "nms_boxes", "detect_every": 4}
    made = detector(make(tmp_path, "simcc", {"boxes": boxes}))
    calls = []
    see = made._boxes.infer
    made._boxes.infer = lambda *given: (calls.append(1), see(*given))[1]

    def looked(image: np.ndarray, stamp_ns: int) -> tuple[bool, list[Pose2D]]:
        """Whether the model for boxes ran, and the people."""
        before = len(calls)
        found = made.detect(image, stamp_ns)
        return len(calls) > before, found

    for number in range(9):
        person = places(17, 100 + 12 * number, 100, 150, 260)
        image = picture(640, 480, [person], 9)
        looked_for, (found,) = looked(image, number * 33_000_000)
        assert looked_for == (number % 4 == 0) and error(found, person) < 2.0
    # Without people in the last image the model for boxes runs in every image.
    empty_image = np.zeros((480, 640, 3), np.uint8)
    for number in range(9, 13):
        assert looked(empty_image, number * 33_000_000) == (number > 9, [])
    # After a gap, or when time starts anew, empty_image is where they were.
    for stamp_ns in (10**9, 5 * 10**9, 0):
        looked_for, found = looked(image, stamp_ns)
        assert looked_for and len(found) == 1


def test_a_person_whom_the_model_for_boxes_does_not_find_any_more_is_gone(tmp_path):
    """The pose model gives a pose for any crop."""
    marker_model(tmp_path / "finder.onnx", "nms_boxes", (320, 320), people=1)
    boxes = {"model": "finder.onnx", "decode": "nms_boxes", "detect_every": 4}
    made = detector(make(tmp_path, "simcc", {"boxes": boxes}))
    image = picture(640, 480, [places(17, 100, 100, 150, 260)], 9)
    found = [len(made.detect(image, number * 33_000_000)) for number in range(2)]
    made._boxes.infer = lambda *given: (np.zeros((0, 4)), np.zeros(0))
    found += [len(made.detect(image, number * 33_000_000)) for number in range(2, 12)]
    assert found == [1] * 4 + [0] * 8


def test_boxes_of_yolo_with_nms_inside_are_taken_as_well():
    config = NetworkConfig("yolo_boxes")
    output = np.zeros((1, 300, 6), np.float32)
    output[0, :3] = [
        [10, 20, 60, 220, 0.9, 0],
        [300, 20, 380, 240, 0.7, 0],
        [5, 5, 90, 90, 0.99, 7],
    ]
    found, scores = decode_boxes({"output0": output}, config, (640, 640))
    assert found.tolist() == output[0, :2, :4].tolist()
    assert scores.tolist() == output[0, :2, 4].tolist()


def test_a_budget_limits_the_model_for_boxes_while_a_person_is_tracked(tmp_path):
    """On a machine with simulated clocks where that model takes 100 ms of an image's 133 ms."""
    marker_model(tmp_path / "finder.onnx", "nms_boxes", (320, 320), people=1)
    boxes = {"model": "finder.onnx", "decode": "nms_boxes", "detect_every": 1}
    path = make(tmp_path, "simcc", {"boxes": boxes})
    now_s = [0.0]

    def clock() -> float:
        return now_s[0]

    budget = DetectionBudget(wall=clock, cpu=clock)
    made = OnnxPoseDetector(path, 4, 0.4, device="cpu", budget=budget)
    calls = []
    see = made._boxes.infer

    def seen(*given):
        calls.append(1)
        now_s[0] += 0.1
        return see(*given)

    made._boxes.infer = seen
    image = picture(640, 480, [places(17, 100, 100, 150, 260)], 9)
    for _ in range(60):
        assert len(made.detect(image, round(now_s[0] * 1e9))) == 1
        # Everything else that is done with an image, without a pause.
        budget.work_done(True)
        now_s[0] += 0.033
    spent = 0.1 * len(calls) / now_s[0]
    assert 0.5 * budget.busy_share < spent < 2.5 * budget.busy_share
    calls.clear()
    # Nobody is tracked: each image is searched.
    empty_image = np.zeros((480, 640, 3), np.uint8)
    for _ in range(20):
        made.detect(empty_image, round(now_s[0] * 1e9))
    assert len(calls) >= 18


def test_without_boxes_one_person_is_followed(models):
    """The crop is the whole image first and after a loss, otherwise the person's box."""
    made = detector(models / "simcc.onnx", min_score=0.1)
    scales = []
    see = made._pose.infer_crops
    made._pose.infer_crops = lambda image, places: (
        scales.append(places[0].scale),
        see(image, places),
    )[1]

    def looked(image: np.ndarray, stamp_ns: int) -> tuple[bool, list[Pose2D]]:
        """Whether the crop is the whole image, and the people."""
        found = made.detect(image, stamp_ns)
        return scales[-1] == letterbox(image.shape, made._pose.size, "center").scale, found

    size = 1280, 720
    for number in range(5):
        person = places(17, 300 + 15 * number, 250, 260, 400)
        image = picture(*size, [person], 20)
        whole, (found,) = looked(image, number * 33_000_000)
        assert whole == (number == 0)
        # A pixel of the input is seven of the image's, and then two.
        assert error(found, person) < (4.0 if whole else 1.0)
    empty_image = np.zeros((720, 1280, 3), np.uint8)
    assert looked(empty_image, 5 * 33_000_000) == (False, [])
    assert looked(image, 6 * 33_000_000)[0] and not looked(image, 7 * 33_000_000)[0]
    # After a gap, and when time starts anew.
    assert looked(image, 10**9)[0] and looked(image, 0)[0]
    # A person with a few confident joints and no more is dropped.
    run, few = made._pose._run_once, (np.arange(17) < 4)[:, None]
    made._pose._run_once = lambda session, batch: {
        n: few * v for n, v in run(session, batch).items()
    }
    assert len(made.detect(image, 33_000_000)) == 1
    assert looked(image, 2 * 33_000_000)[0]


def test_a_model_with_halpe_keypoints(tmp_path):
    path = make(tmp_path, "simcc", {"layout": "halpe26"}, joints=26)
    made = detector(path)
    image, person = scene(480, 640, 26)
    (found,) = made.detect(image, 0)
    assert made.layout is HALPE26 and error(found, person) < 3.0


@pytest.mark.parametrize("refine", ["gaussian", "quarter", "none"])
def test_heat_maps_are_refined(refine):
    """A Gaussian's peak between two cells: exact, within a quarter, within the cell."""
    true = np.array([[20.3, 31.8], [11.49, 40.2], [0.0, 63.0]])
    row, column = np.indices((64, 48))
    maps = np.exp(
        -((column - true[:, 0, None, None]) ** 2 + (row - true[:, 1, None, None]) ** 2) / 8
    )
    maps = np.concatenate([maps, np.repeat(maps[:1], 14, axis=0)])[None]
    config = NetworkConfig("heatmap", COCO17, refine=refine, grid="stride")
    found = decode_crops({"maps": maps}, config, (192, 256))[0, :3, :2] / 4
    limit = {"gaussian": 0.01, "quarter": 0.26, "none": 0.5}[refine]
    assert np.abs(found - true).max() < limit


# ------------------------------------------------------------------------------------- bad images


@EVERY_FORM
def test_images_without_people_have_no_detections(models, form):
    made = detector(models / f"{form}.onnx")
    rng = np.random.default_rng(0)
    for image in (
        np.zeros((480, 640, 3), np.uint8),
        np.full((480, 640, 3), 255, np.uint8),
        np.zeros((1, 1, 3), np.uint8),
        np.full((1, 1, 3), COLORS[0], np.uint8),
        np.zeros((0, 640, 3), np.uint8),
        np.zeros((100, 2000, 3), np.uint8),
        np.zeros((2000, 3, 3), np.uint8),
        rng.integers(0, 256, (240, 320, 3), dtype=np.uint8)[:, ::-1],
    ):
        assert made.detect(image, 0) == []


@EVERY_FORM
@pytest.mark.parametrize("shape", [(2400, 120), (120, 2400)])
def test_images_of_extreme_aspect_ratios(models, form, shape):
    made = detector(models / f"{form}.onnx", min_score=0.1)
    image, person = scene(*shape)
    found = made.detect(image, 0)
    assert len(found) <= 1
    input_size = FORMS[form][0]["size"]
    per_pixel = 1 / min(a / b for a, b in zip(input_size, shape, strict=True))
    for one in found:
        # Markers are a pixel or two of the input; those that are seen are where they are.
        seen = one.keypoints[:, 2] > 0.5
        away = np.linalg.norm(one.keypoints[:, :2] - person, axis=-1)
        assert (away[seen] < 2 * per_pixel).all()


def test_boxes_in_bad_images(tmp_path):
    marker_model(tmp_path / "finder.onnx", "yolo_boxes", (320, 320), people=2)
    boxes = {"model": "finder.onnx", "decode": "yolo_boxes", "score_threshold": 0.0}
    made = detector(make(tmp_path, "simcc", {"boxes": boxes}))
    for shape in ((480, 640), (1, 1), (2000, 3), (3, 2000)):
        assert made.detect(np.zeros((*shape, 3), np.uint8), 0) == []


def test_a_crowd_is_cut_to_the_best(tmp_path):
    path = make(tmp_path, "yolo_pose", people=10)
    people = [places(17, 8 + 192 * n, 20, 176, 300) for n in range(10)]
    image = picture(1920, 340, people, 13)
    found = detector(path, max_people=4, min_score=0.0).detect(image, 0)
    assert len(found) == 4
    assert [d.score for d in found] == sorted((d.score for d in found), reverse=True)


# ------------------------------------------------------------------------------------- presets


@pytest.mark.parametrize(
    ("name", "decode", "layout", "colors"),
    [
        ("rtmpose-m_simcc-body7_pt-body7_420e-256x192-e48f03d0_20230504", "simcc", 17, "rgb"),
        ("rtmpose-s_simcc-body7_pt-body7-halpe26_700e-256x192-7f134165", "simcc", 26, "rgb"),
        ("rtmpose-t", "simcc", 17, "rgb"),
        ("rtmo-s_8xb32-600e_body7-640x640-dac2bf74_20231211", "rtmo", 17, "bgr"),
        ("yolov8n-pose", "yolo_pose", 17, "rgb"),
        ("yolo11n-pose", "yolo_pose", 17, "rgb"),
        ("yolo26s-pose", "yolo_pose", 17, "rgb"),
        ("movenet_singlepose_lightning_4", "movenet_single", 17, "rgb"),
        ("movenet_thunder", "movenet_single", 17, "rgb"),
        ("movenet_multipose_lightning_1", "movenet_multi", 17, "rgb"),
        ("vitpose-b-coco", "heatmap", 17, "rgb"),
        ("ViTPose_base_coco_256x192", "heatmap", 17, "rgb"),
        ("tinypose_256x192", "heatmap", 17, "rgb"),
    ],
)
def test_presets_follow_the_file_name(tmp_path, name, decode, layout, colors):
    config = load_config(tmp_path / f"{name}.onnx")
    assert (config.decode, len(config.layout), config.colors) == (decode, layout, colors)


@pytest.mark.parametrize(
    ("name", "decode"),
    [
        ("yolox_m_8xb8-300e_humanart-c2c7a14a", "nms_boxes"),
        ("yolox_tiny", "yolox_boxes"),
        ("rtmdet_nano_8xb32-100e_coco-obj365-person-05d8511e", "nms_boxes"),
        ("yolo11n", "yolo_boxes"),
    ],
)
def test_presets_of_person_detection_models(tmp_path, name, decode):
    write(
        tmp_path / "p.onnx",
        {"decode": "simcc", "layout": "coco17", "boxes": {"model": f"{name}.onnx"}},
    )
    config = load_config(tmp_path / "p.onnx")
    assert config.boxes.decode == decode and config.boxes.model == tmp_path / f"{name}.onnx"


def test_documented_settings_equal_the_presets(tmp_path):
    """The settings in the documentation can be read, and equal the presets."""
    page = Path(__file__).resolve().parents[1] / "docs" / "reference" / "onnx.md"
    examples = re.findall(r"^    # ([\w-]+)\.yaml.*\n((?:    .+\n)+)", page.read_text(), re.M)
    assert [name for name, _ in examples] == [
        *("rtmpose-m", "rtmo-s", "yolo11n-pose", "movenet_lightning", "vitpose-s"),
        "tinypose_256x192",
    ]
    for name, text in examples:
        path = tmp_path / f"{name}.onnx"
        preset = load_config(path)
        path.with_suffix(".yaml").write_text(textwrap.dedent(text))
        written = load_config(path)
        assert replace(written, boxes=None) == preset
        if written.boxes is not None:
            every = written.boxes.detect_every
            boxes = {"model": written.boxes.model.name, "detect_every": every}
            write(path, {"decode": "simcc", "layout": "coco17", "boxes": boxes})
            assert load_config(path).boxes == written.boxes


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("rtmpose-s_simcc-body7", "simcc"),
        ("rtmo-s_8xb32", "rtmo"),
        ("yolov8n-pose", "yolo_pose"),
        ("yolo26n-pose", "yolo_pose_end2end"),
        ("movenet_singlepose_lightning", "movenet_single"),
        ("movenet_multipose", "movenet_multi"),
        ("vitpose-s", "heatmap"),
        ("tinypose_256x192", "heatmap_stride"),
    ],
)
def test_a_well_known_file_needs_no_settings(models, tmp_path, name, form):
    path = tmp_path / f"{name}.onnx"
    shutil.copy(models / f"{form}.onnx", path)
    made = make_detector("onnx", "full", 2, 0.4, model=str(path), device="cpu")
    image, person = scene(640, 480)
    (found,) = made.detect(image, 0)
    assert error(found, person) < 5.0
    made.close()


# ------------------------------------------------------------------------------------- the node


def test_the_node_publishes_the_keypoints_of_an_onnx_model(models, ros, start_node, diagnostics):
    import time

    from inputs import image_message
    from ros_session import poll, wait_for
    from sensor_msgs.msg import Image

    from emf_ros_msgs.msg import Skeleton2DArray

    process = start_node("keypoint_detector", detector="onnx", model=models / "yolo_pose.onnx")
    keypoints = ros.listen(Skeleton2DArray, process.topic("keypoints"))
    images = ros.publisher(Image, process.topic("image"))
    image, person = scene(640, 480)
    begin = time.time_ns()

    def seen() -> list[Any]:
        images.publish(image_message(image[..., ::-1].copy(), time.time_ns()))
        return poll(lambda: [m for m in keypoints.messages if m.skeletons], 1.0)

    message = wait_for(seen, "keypoints")[0]
    assert message.layout == "coco17" and message.header.stamp.sec >= begin // 10**9
    (found,) = message.skeletons
    points = np.array([(k.x, k.y) for k in found.keypoints])
    assert np.linalg.norm(points - person, axis=-1).max() < 1.0
    said = diagnostics(process.topic("keypoint_detector"))
    text = wait_for(lambda: said.value("detector"), "diagnostics")
    assert "yolo_pose.onnx in onnxruntime" in text and "CPU threads" in text
    assert "yolo_pose.onnx in onnxruntime" in process.log


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"detector": "onnx"}, "the detector 'onnx' needs a model"),
        ({"detector": "onnx", "model": "/nowhere/a.onnx"}, "no model file /nowhere/a.onnx"),
        ({"model": "/nowhere/a.onnx"}, "'blazepose' takes no model"),
    ],
)
def test_a_wrong_model_parameter_ends_the_node(start_node, parameters, words):
    process = start_node("keypoint_detector", expect=False, **parameters)
    assert process.wait() == 1
    assert words in process.log and "Traceback" not in process.log
