"""Messages, requests and parameters of any values: a result, or the one error that is named."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import CameraInfo, RegionOfInterest
from std_msgs.msg import Header

from emf_ros.geometry.camera import Camera, CameraError
from emf_ros.intrinsics import same_rays
from emf_ros.io.camera_info import camera_from_info, delivered_size
from emf_ros.lift.config import PipelineConfig
from emf_ros.lift.engine import make_engine
from emf_ros.lift.pipeline import LiftPipeline
from emf_ros.nodes.adapters import BodyCollector, track_number, vision_frame, yolo_frame
from emf_ros.nodes.conversions import keypoint_frame
from emf_ros.nodes.param_specs import ParamError
from emf_ros.nodes.params import NODES
from emf_ros.skeletons import COCO17, LAYOUTS
from emf_ros.types import Frame2D
from emf_ros_msgs.msg import Keypoint2D, Skeleton2D, Skeleton2DArray

#: Fewer examples of what runs the model.
FEWER = settings(max_examples=settings.default.max_examples // 8)

#: Sides of images, px, as a message can hold them.
SIDES = st.integers(0, 2000) | st.sampled_from([640, 480, 2**16, 2**31, 2**32 - 1])
NUMBERS = st.floats(-3000, 3000) | st.floats() | st.sampled_from([0.0, 1.0, 320.5, -0.0, 5e-324])
#: Numbers that fit into a float32 field.
SHORT_NUMBERS = st.floats(-100, 2000, width=32) | st.floats(width=32)
SIZES = st.sampled_from([(640, 480), (1, 1), (0, 480), (2**32 - 1, 2**32 - 1), (1920, 1080)])
MODELS = ["plumb_bob", "rational_polynomial", "equidistant", "", "none", "fisheye", "\0", "x" * 300]


@st.composite
def camera_infos(draw: st.DrawFn) -> CameraInfo:
    """Intrinsics of which most are nearly right."""
    width, height = draw(SIDES), draw(SIDES)
    focal = draw(st.floats(1, 5000))
    k = [focal, 0.0, width / 2, 0.0, focal, height / 2, 0.0, 0.0, 1.0]
    p = [*k[:3], 0.0, *k[3:6], 0.0, *k[6:], 0.0]
    for _ in range(draw(st.integers(0, 2))):
        k[draw(st.integers(0, 8))] = draw(NUMBERS)
        p[draw(st.integers(0, 11))] = draw(NUMBERS)
    return CameraInfo(
        width=width,
        height=height,
        distortion_model=draw(st.sampled_from(MODELS)),
        d=draw(st.lists(st.floats(-1, 1) | NUMBERS, max_size=15)),
        k=k,
        p=p,
        binning_x=draw(SIDES),
        binning_y=draw(st.integers(0, 4)),
        roi=RegionOfInterest(
            x_offset=draw(SIDES), y_offset=draw(SIDES), width=draw(SIDES), height=draw(SIDES)
        ),
    )


@pytest.mark.filterwarnings("error")
@given(camera_infos(), st.booleans())
def test_intrinsics_of_any_message_are_a_camera_or_refused(
    message: CameraInfo, rectified: bool
) -> None:
    assert min(delivered_size(message)) >= 0
    try:
        camera = camera_from_info(message, rectified)
    except CameraError as error:
        assert len(str(error).splitlines()) == 1
        return
    if camera is not None:
        assert np.isfinite(camera.matrix).all() and min(camera.size) > 0
        assert same_rays(camera, camera)
        # What a driver publishes next is compared with it.
        same_rays(Camera.from_fov(640, 480, 60.0), camera)


@pytest.fixture(scope="module")
def engine() -> Any:
    return make_engine("lite", None, "cpu", threads=1)


def lifted(engine: Any, frames: list[Frame2D], camera: bool) -> None:
    """Lift frames, and check that what comes out is finite or unknown."""
    pipeline = LiftPipeline(engine, PipelineConfig(max_people=3))
    if camera:
        pipeline.set_camera(Camera.from_fov(640, 480, 60.0))
    for frame in frames:
        result = pipeline.update(frame)
        if result is None:
            continue
        assert len(result.people) <= 2 * 3
        for person in result.people:
            assert not np.isinf(person.joints).any() and not np.isinf(person.root).any()
            assert np.isfinite(person.root).all() or not person.root_valid


@st.composite
def keypoint_messages(draw: st.DrawFn) -> list[Skeleton2DArray]:
    """Messages of a few images of people of any numbers, with any stamps."""
    layout = draw(st.sampled_from([*LAYOUTS, "", "coco18", "\ud7ff"]))
    count = len(LAYOUTS[layout]) if layout in LAYOUTS else 17
    size = draw(SIZES)
    messages = []
    for number in range(draw(st.integers(1, 4))):
        people = []
        for _ in range(draw(st.integers(0, 5))):
            seed = np.random.default_rng(draw(st.integers(0, 99)))
            points = np.column_stack(
                [
                    seed.uniform(0, 640, count),
                    seed.uniform(0, 480, count),
                    seed.uniform(0, 1, count),
                ]
            )
            for _ in range(draw(st.integers(0, 3))):
                points[draw(st.integers(0, count - 1)), draw(st.integers(0, 2))] = draw(NUMBERS)
            points = points[: draw(st.sampled_from([count] * 9 + [0, 1, count - 1]))]
            people.append(
                Skeleton2D(
                    track_id=draw(st.integers(0, 3) | st.just(2**32 - 1)),
                    score=draw(SHORT_NUMBERS),
                    keypoints=[Keypoint2D(x=x, y=y, score=s) for x, y, s in points.tolist()],
                )
            )
        message = Skeleton2DArray(
            header=Header(frame_id=draw(st.sampled_from(["camera"] * 5 + ["", "other"]))),
            layout=layout,
            image_width=size[0],
            image_height=size[1],
            skeletons=people,
        )
        message.header.stamp.sec = draw(st.sampled_from([7] * 8 + [0, -(2**31), 2**31 - 1]))
        message.header.stamp.nanosec = draw(
            st.just(number * 33_000_000) | st.integers(0, 2**32 - 1)
        )
        messages.append(message)
    return messages


@FEWER
@pytest.mark.filterwarnings("error")
@given(keypoint_messages(), st.booleans())
def test_keypoints_of_any_message_are_lifted_or_counted(
    engine: Any, messages: list[Skeleton2DArray], camera: bool
) -> None:
    lifted(engine, [keypoint_frame(message) for message in messages], camera)


NAMES = st.sampled_from(["", "person", "1", "7", "9" * 400, "left_wrist", "nose", "\0", "²", "٣"])


def header(number: int) -> Header:
    message = Header(frame_id="camera")
    message.stamp.sec, message.stamp.nanosec = 7, number * 33_000_000
    return message


@st.composite
def yolo_detections(draw: st.DrawFn) -> Any:
    point = st.builds(lambda x, y: SimpleNamespace(x=x, y=y), NUMBERS, NUMBERS)
    keypoint = st.builds(
        lambda number, point, score: SimpleNamespace(id=number, point=point, score=score),
        st.integers(-(2**31), 2**31 - 1) | st.integers(1, 17),
        point,
        NUMBERS,
    )
    return SimpleNamespace(
        class_name=draw(NAMES),
        id=draw(NAMES),
        score=draw(NUMBERS),
        keypoints=SimpleNamespace(data=draw(st.lists(keypoint, max_size=20))),
    )


@st.composite
def vision_detections(draw: st.DrawFn) -> Any:
    result = st.builds(
        lambda name, score: SimpleNamespace(hypothesis=SimpleNamespace(class_id=name, score=score)),
        st.sampled_from([*COCO17.joints, "person", ""]),
        NUMBERS,
    )
    place = SimpleNamespace(x=draw(NUMBERS), y=draw(NUMBERS))
    return SimpleNamespace(
        id=draw(NAMES),
        results=draw(st.lists(result, max_size=3)),
        bbox=SimpleNamespace(center=SimpleNamespace(position=place)),
    )


@FEWER
@pytest.mark.filterwarnings("error")
@given(
    st.lists(st.lists(yolo_detections(), max_size=4), max_size=3),
    st.lists(st.lists(vision_detections(), max_size=20), max_size=3),
    SIZES,
)
def test_third_party_detections_of_any_values_are_lifted_or_counted(
    engine: Any, yolo: list[Any], vision: list[Any], size: tuple[int, int]
) -> None:
    for convert, arrays in ((yolo_frame, yolo), (vision_frame, vision)):
        messages = [
            SimpleNamespace(header=header(number), detections=detections)
            for number, detections in enumerate(arrays)
        ]
        lifted(engine, [convert(message, size) for message in messages], True)


@FEWER
@pytest.mark.filterwarnings("error")
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "c"]),
            st.integers(0, 3),
            st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), max_size=20),
        ),
        max_size=8,
    ),
    SIZES,
)
def test_third_party_bodies_of_any_values_and_order_are_lifted_or_counted(
    engine: Any, bodies: list[tuple[str, int, list[Any]]], size: tuple[int, int]
) -> None:
    collector, frames = BodyCollector(), []
    collector.track({"a", "b"})
    for name, number, points in bodies:
        skeleton = [SimpleNamespace(x=x, y=y, c=c) for x, y, c in points]
        message = SimpleNamespace(header=header(number), skeleton=skeleton)
        frames += collector.add(message, name, size)
    lifted(engine, frames, True)


@given(NAMES | st.text(max_size=12))
def test_the_name_of_any_track_is_a_number_that_fits_the_message(name: str) -> None:
    assert -1 <= track_number(name) < 2**32


@given(st.integers(-(2**40), 2**40), NUMBERS)
def test_any_height_of_any_track_is_refused_while_there_is_no_track(
    engine: Any, track_id: int, height_m: float
) -> None:
    with pytest.raises(ValueError) as refusal:
        LiftPipeline(engine, PipelineConfig()).set_height(track_id, height_m)
    assert len(str(refusal.value).splitlines()) == 1


def values() -> st.SearchStrategy:
    """What ROS or YAML can give for a parameter."""
    leaf = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    leaf |= st.sampled_from([0, 1, 0.5, "auto", "lite", "none", b"x", 10**400, "2001-99-99"])
    return leaf | st.lists(leaf, max_size=4) | st.dictionaries(st.text(max_size=3), leaf)


SPECS = [spec for node in NODES for spec in node.specs().values()]


@given(st.data())
def test_any_value_of_a_parameter_is_taken_or_refused_in_one_line(data: Any) -> None:
    spec, value = data.draw(st.sampled_from(SPECS)), data.draw(values())
    try:
        taken = spec.check(value)
    except ParamError as error:
        assert len(str(error).splitlines()) == 1
        return
    for one in taken if spec.is_list else [taken]:
        assert one in spec.words or isinstance(one, spec.kind)
        assert not (isinstance(one, float) and math.isnan(one))


@given(st.data())
def test_any_text_of_a_parameter_is_taken_or_refused_in_one_line(data: Any) -> None:
    spec = data.draw(st.sampled_from(SPECS))
    words = st.text(max_size=12) | st.sampled_from(["2001-99-99", "[" * 60, "0b_", "&a [*a]"])
    try:
        spec.parse(data.draw(words))
    except ParamError as error:
        assert len(str(error).splitlines()) == 1
