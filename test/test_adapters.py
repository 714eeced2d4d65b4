"""Keypoints in other packages' messages: what they become, and the lifter on them.

The packages are not on PyPI. Where they are installed, the messages here are theirs; elsewhere
plain objects with the same fields, and the parts that need a wire are left out.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from inputs import FRAME_NS, FRAME_SIZE, camera_info_message, set_stamp
from ros_session import poll, wait_for
from test_plausibility import standing

from emf_ros.lift.engine import make_engine
from emf_ros.lift.pipeline import LiftPipeline
from emf_ros.nodes.adapters import (
    MAX_BODIES,
    BodyCollector,
    ThirdPartyKeypoints,
    hri_person,
    is_body_name,
    message_type,
    track_number,
    vision_frame,
    yolo_frame,
)
from emf_ros.nodes.base import NodeError
from emf_ros.nodes.params import KEYPOINTS_TYPES
from emf_ros.nodes.taking import MAX_MESSAGE_PEOPLE
from emf_ros.skeletons import BLAZEPOSE33, COCO17, H36M17, HRI18, convert_keypoints
from emf_ros.types import UNTRACKED

SIZE = (640, 480)
THIRD_PARTY = [name for name in KEYPOINTS_TYPES if name != "emf_ros"]


def have(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def made(kind: str, **fields: Any) -> Any:
    """A message of 'package/Name', real where the package is installed."""
    package, name = kind.split("/")
    if have(package):
        return getattr(importlib.import_module(f"{package}.msg"), name)(**fields)
    return SimpleNamespace(**fields)


def header(stamp_ns: int) -> Any:
    from std_msgs.msg import Header

    message = SimpleNamespace(header=Header(frame_id="camera"))
    set_stamp(message, stamp_ns)
    return message.header


def person(seed: int = 0) -> np.ndarray:
    """(17, 3) coco17."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.uniform(100, 300, (17, 2)), rng.uniform(0.5, 1.0, (17, 1))], axis=-1)


def yolo_detection(keypoints: np.ndarray, name: str, sure: float = 0.5, **more: Any) -> Any:
    """As its node makes it: what it is not sure of is left out, numbers begin at 1."""
    data = [
        made("yolo_msgs/KeyPoint2D", id=i + 1, point=made("yolo_msgs/Point2D", x=x, y=y), score=s)
        for i, (x, y, s) in enumerate(keypoints.tolist())
        if s >= sure
    ]
    fields = {"class_id": 0, "class_name": "person", "score": 0.9, "id": name, **more}
    return made(
        "yolo_msgs/Detection", keypoints=made("yolo_msgs/KeyPoint2DArray", data=data), **fields
    )


def yolo(stamp_ns: int, detections: list[Any]) -> Any:
    return made("yolo_msgs/DetectionArray", header=header(stamp_ns), detections=detections)


def hri(stamp_ns: int, keypoints: np.ndarray, size: tuple[int, int] = SIZE) -> Any:
    """Skeleton2D of (18, 3) px; a missing point is all zero."""
    points = [
        made("hri_msgs/NormalizedPointOfInterest2D", x=x, y=y, c=c)
        for x, y, c in [
            ((x + 0.5) / size[0], (y + 0.5) / size[1], c) if c > 0 else (0.0, 0.0, 0.0)
            for x, y, c in keypoints.tolist()
        ]
    ]
    return made("hri_msgs/Skeleton2D", header=header(stamp_ns), skeleton=points)


def vision_point(name: str, joint: str, x: float, y: float, score: float) -> Any:
    best = made("vision_msgs/ObjectHypothesis", class_id=joint, score=score)
    other = made("vision_msgs/ObjectHypothesis", class_id="nose", score=0.0)
    center = made("vision_msgs/Pose2D", position=made("vision_msgs/Point2D", x=x, y=y))
    return made(
        "vision_msgs/Detection2D",
        id=name,
        results=[made("vision_msgs/ObjectHypothesisWithPose", hypothesis=h) for h in (other, best)],
        bbox=made("vision_msgs/BoundingBox2D", center=center),
    )


def test_the_report_says_what_was_not_run(not_run):
    for package in THIRD_PARTY:
        if not have(package):
            not_run(f"keypoints of {package}: converted from plain objects with its fields")


# ------------------------------------------------------------------------------------- yolo_msgs


def test_yolo_keypoints_are_read_by_their_ids():
    points = person()
    points[[3, 9], 2] = 0.2
    frame = yolo_frame(yolo(7 * 10**9 + 5, [yolo_detection(points, "12")]), SIZE)
    assert (frame.stamp_ns, frame.frame_id, frame.layout) == (7 * 10**9 + 5, "camera", "coco17")
    assert frame.image_size == SIZE and np.isnan(frame.detect_ms)
    (found,) = frame.people
    assert found.track_id == 12 and found.score == pytest.approx(0.9)
    kept = np.setdiff1d(np.arange(17), [3, 9])
    assert found.keypoints[kept] == pytest.approx(points[kept])
    assert np.isnan(found.keypoints[[3, 9], :2]).all() and not found.keypoints[[3, 9], 2].any()


def test_scores_over_1_are_passed_on_and_counted_by_the_pipeline():
    points = person()
    points[:, 2] = 1.06
    detection = yolo_detection(points, "12")
    frame = yolo_frame(yolo(7 * 10**9, [detection]), SIZE)
    pipeline = LiftPipeline(make_engine("lite", None, "cpu", threads=1))
    assert pipeline.observe(frame)
    assert +pipeline.counts == {"score_over_1": len(points)}


def test_yolo_detections_of_other_classes_or_without_keypoints_are_ignored():
    detections = [
        yolo_detection(person(), "1", class_name="dog"),
        yolo_detection(person(), "2", sure=2.0),
        yolo_detection(np.concatenate([person(), person()]), "3"),  # numbers beyond 17
    ]
    frame = yolo_frame(yolo(0, detections), SIZE)
    assert [p.track_id for p in frame.people] == [3]
    assert frame.people[0].keypoints == pytest.approx(person())
    assert yolo_frame(yolo(0, []), SIZE).people == []


def test_keypoints_of_several_people_under_one_id_are_no_person():
    left, right = person(), person() + (300.0, 0.0, 0.0)
    detections = [
        vision_point(name, joint, *points[j].tolist())
        for name, points in (("", left), ("", right), ("7", left))
        for j, joint in enumerate(COCO17.joints)
    ]
    message = SimpleNamespace(header=yolo(0, []).header, detections=detections)
    refused: list[str] = []
    frame = vision_frame(message, SIZE, refused.append)
    assert refused == [""]
    assert [p.track_id for p in frame.people] == [7]
    assert frame.people[0].keypoints == pytest.approx(left)


def walking(step: int, x: float = 150.0) -> np.ndarray:
    """(17, 3) coco17 of a plausible person, who walks to the right."""
    return standing(COCO17, x + 4 * step, 420.0, 300.0).keypoints


def test_people_without_ids_are_tracked():
    pipeline = LiftPipeline(make_engine("lite", None, "cpu", threads=1))
    ids = []
    pipeline.watch = lambda frame: ids.append(
        {np.nanmean(p.keypoints[:, 0]) > 300: p.track_id for p in frame.people}
    )
    for step in range(12):
        people = [walking(step), walking(step, 400.0)]
        for points in people:
            # Now this, now that is not seen.
            points[step % 17, 2] = points[(step + 5) % 17, 2] = 0.1
        order = people if step % 2 else people[::-1]
        message = yolo(step * FRAME_NS, [yolo_detection(points, "") for points in order])
        assert pipeline.observe(yolo_frame(message, SIZE))
    # The first two images are too few to confirm a person.
    assert all(sorted(known.values()) == [1, 2] for known in ids[3:])
    assert all(known == ids[3] for known in ids[3:])
    assert set(pipeline.active) == {1, 2}


def test_implausible_people_without_ids_are_rejected():
    """A body with impossible bones, and one person detected twice."""
    pipeline = LiftPipeline(make_engine("lite", None, "cpu", threads=1))
    for step in range(6):
        impossible = walking(step, 450.0)
        for joint in ("left_wrist", "right_wrist", "left_ankle", "right_ankle"):
            impossible[COCO17.index(joint), :2] = (5.0, 5.0)
        twice = walking(step)
        twice[:, :2] += 2.0
        people = [yolo_detection(p, "") for p in (walking(step), twice, impossible)]
        assert pipeline.observe(yolo_frame(yolo(step * FRAME_NS, people), SIZE))
    assert pipeline.active == (1,)
    assert +pipeline.counts == {"duplicate": 6, "implausible_bones": 6}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["5", ""])
def test_non_finite_keypoints_are_refused_and_counted(bad, name):
    points = walking(0)
    points[2, 0] = points[3, 1] = bad
    pipeline, seen = LiftPipeline(make_engine("lite", None, "cpu", threads=1)), []
    pipeline.watch = lambda frame: seen.append(frame.people)
    for step in range(4):
        message = yolo(step * FRAME_NS, [yolo_detection(points, name)])
        assert pipeline.observe(yolo_frame(message, SIZE))
    (found,) = seen[-1]
    kept = np.setdiff1d(np.arange(17), [2, 3])
    assert found.keypoints[kept] == pytest.approx(points[kept])
    # What is no number stays none, is refused and counted.
    assert not np.isfinite(found.keypoints[[2, 3]]).all(axis=1).any()
    assert pipeline.counts["bad_keypoint"] > 0
    hri_person(hri(0, np.full((18, 3), bad)), "rk3ft", SIZE)


@pytest.mark.parametrize(
    ("name", "number"),
    [("", UNTRACKED), ("0", 0), ("12", 12), ("999999999", 999999999), ("007", 7)],
)
def test_decimal_ids_are_kept(name, number):
    assert track_number(name) == number


def test_text_ids_become_stable_32_bit_track_ids():
    names = ["rk3ft", "abcde", "99999999999999", "-4", "1.5", "é"]
    numbers = [track_number(name) for name in names]
    assert len(set(numbers)) == len(names)
    assert numbers == [track_number(name) for name in names]
    assert all(10**9 <= number < 2**32 for number in numbers)


# ----------------------------------------------------------------------------------- vision_msgs


def test_vision_detections_are_one_keypoint_each():
    points = person()
    message = made(
        "vision_msgs/Detection2DArray",
        header=header(3),
        detections=[
            vision_point(name, joint, x + shift, y, score)
            for name, shift in (("a", 0.0), ("b", 200.0))
            for joint, (x, y, score) in zip(COCO17.joints, points.tolist(), strict=True)
            if joint != "left_ear"
        ]
        + [vision_point("c", "person", 5.0, 5.0, 0.9)],
    )
    message.detections.append(made("vision_msgs/Detection2D", id="d", results=[]))
    frame = vision_frame(message, SIZE)
    assert [p.track_id for p in frame.people] == [track_number("a"), track_number("b")]
    kept = np.delete(np.arange(17), COCO17.index("left_ear"))
    for found, shift in zip(frame.people, (0, 200), strict=True):
        assert found.keypoints[kept] == pytest.approx(points[kept] + (shift, 0, 0))
        assert found.keypoints[COCO17.index("left_ear"), 2] == 0


# -------------------------------------------------------------------------------------- hri_msgs


def body(seed: int = 0) -> np.ndarray:
    return convert_keypoints(person(seed), COCO17, HRI18)


def test_hri_positions_are_shares_of_the_image():
    points = body()
    points[4] = (np.nan, np.nan, 0.0)
    found = hri_person(hri(0, points), "rk3ft", SIZE)
    assert found.track_id == track_number("rk3ft")
    assert found.keypoints == pytest.approx(points, abs=1e-3, nan_ok=True)
    # The same joints as the keypoints that it was made of.
    of_coco = convert_keypoints(person(), COCO17, H36M17)
    shared = [j for j, name in enumerate(H36M17.joints) if name != HRI18.joints[4]]
    assert convert_keypoints(found.keypoints, HRI18, H36M17)[shared] == pytest.approx(
        of_coco[shared], abs=1e-3
    )


def add(bodies: BodyCollector, name: str, stamp_ns: int) -> list[tuple[int, int]]:
    """(stamp, how many people) of the images that are complete."""
    return [(f.stamp_ns, len(f.people)) for f in bodies.add(hri(stamp_ns, body()), name, SIZE)]


def test_hri_bodies_are_collected_by_image():
    bodies = BodyCollector()
    bodies.track({"aa", "bb"})
    assert add(bodies, "aa", 100) == []
    assert add(bodies, "bb", 100) == [(100, 2)]
    assert add(bodies, "cc", 100) == []  # that image has been given
    assert add(bodies, "bb", 200) == []
    assert add(bodies, "bb", 300) == [(200, 1)]
    assert add(bodies, "aa", 200) == []  # late
    assert add(bodies, "aa", 300) == [(300, 2)]
    bodies.track({"aa"})
    assert add(bodies, "aa", 400) == [(400, 1)]


def add_empty(bodies: BodyCollector, stamp_ns: int, frame_id: str = "list") -> list[tuple]:
    """(stamp, how many people, frame_id) of the images that are complete."""
    given = header(stamp_ns)
    given.frame_id = frame_id
    return [(f.stamp_ns, len(f.people), f.frame_id) for f in bodies.add_empty(given, SIZE)]


def test_an_empty_list_of_bodies_is_an_image_without_people():
    bodies = BodyCollector()
    assert add_empty(bodies, 100) == [(100, 0, "list")]
    assert add(bodies, "aa", 100) == []  # that image has been given
    bodies.track({"aa", "bb"})
    assert add(bodies, "aa", 200) == []
    # The image at hand goes first. The bodies know the camera's frame better than the list does.
    assert add_empty(bodies, 300) == [(200, 1, "camera"), (300, 0, "camera")]
    assert add_empty(bodies, 250) == []  # late
    assert add_empty(bodies, 400, "") == [(400, 0, "camera")]
    # A list that contradicts the bodies of its own image.
    assert add(bodies, "aa", 500) == []
    assert add_empty(bodies, 500) == [(500, 1, "camera")]
    assert add_empty(bodies, 500) == []
    # The pipeline sees and reports lists without stamps; a bag may start again.
    assert [add_empty(bodies, 10**9)[0][0] for _ in range(3)] == 3 * [10**9]
    assert add_empty(bodies, 0) == [(0, 0, "camera")]


def test_only_names_that_fit_a_topic_are_followed():
    assert all(is_body_name(name) for name in ("aa", "a_1", "b7", "x" * 100))
    odd = ("", "7", "a__b", "_a", "a_", "ñ", "²", "a/b", "a b", "a\n", "x" * 101, "~", "{a}")
    assert not any(is_body_name(name) for name in odd)


class Hearing:
    """What the adapter needs of a node."""

    def __init__(self):
        self.heard, self.refused = [], []

    def listen_to(self, kind, topic, callback, qos, **more):
        self.heard.append(topic)
        return topic

    def forget(self, topic):
        self.heard.remove(topic)

    def resolve_topic_name(self, topic):
        return f"/{topic}"

    def refuse_message(self, reason, detail):
        self.refused.append(reason)


def test_a_crowd_of_bodies_and_of_detections_is_limited_and_counted(monkeypatch):
    monkeypatch.setattr("emf_ros.nodes.adapters.message_type", lambda *name: object)
    node, frames = Hearing(), []
    given = (str, lambda: SIZE, frames.append, lambda *refused: None)
    bodies = ThirdPartyKeypoints(node, "hri_msgs", *given)
    bodies.subscribe(None)
    bodies._follow(SimpleNamespace(ids=[f"z{n}" for n in range(10)] + ["a__b"]))
    bodies._follow(SimpleNamespace(ids=[f"a{n}" for n in range(5000)] + ["z3"]))
    # Who is followed already stays so.
    assert len(node.heard) == 1 + MAX_BODIES and "/humans/bodies/z3/skeleton2d" in node.heard
    assert node.refused == ["message_too_large"]

    detections = ThirdPartyKeypoints(node, "yolo_msgs", *given)
    for count in (MAX_MESSAGE_PEOPLE, MAX_MESSAGE_PEOPLE + 1):
        detections._take_array(yolo(0, [yolo_detection(person(), "")] * count))
    assert len(frames) == 1 and node.refused == 2 * ["message_too_large"]


def test_bodies_whose_names_fit_no_topic_are_counted_and_hinder_no_others(monkeypatch):
    monkeypatch.setattr("emf_ros.nodes.adapters.message_type", lambda *name: object)
    node, frames, refused, arrived = Hearing(), [], [], []
    bodies = ThirdPartyKeypoints(
        node,
        "hri_msgs",
        str,
        lambda: SIZE,
        frames.append,
        lambda reason, detail: refused.append((reason, detail)),
        lambda: arrived.append(0),
    )
    bodies._follow(SimpleNamespace(ids=["7", "aa"]))
    assert node.heard == ["/humans/bodies/aa/skeleton2d"]
    # Nobody can be followed, which does not mean that nobody is there.
    bodies._follow(SimpleNamespace(ids=["7"]))
    assert not frames and len(arrived) == 1
    assert [reason for reason, _ in refused] == 2 * ["bad_body_name"] and "'7'" in refused[0][1]


def test_messages_of_an_unknown_image_size_have_arrived(monkeypatch):
    """Otherwise the diagnostics would blame the camera and the network."""
    monkeypatch.setattr("emf_ros.nodes.adapters.message_type", lambda *name: object)
    node, frames, refused, arrived = Hearing(), [], [], []

    def adapter(package: str) -> ThirdPartyKeypoints:
        def refuse(reason: str, detail: str) -> None:
            refused.append(reason)

        def note() -> None:
            arrived.append(package)

        return ThirdPartyKeypoints(node, package, str, lambda: None, frames.append, refuse, note)

    detections, bodies = adapter("yolo_msgs"), adapter("hri_msgs")
    detections._take_array(yolo(0, []))
    detections._take_array(yolo(0, [yolo_detection(person(), "")] * (MAX_MESSAGE_PEOPLE + 1)))
    bodies._follow(SimpleNamespace(ids=[], header=header(0)))
    bodies._take_body(hri(0, body()), "aa")
    assert arrived == 2 * ["yolo_msgs"] + 2 * ["hri_msgs"] and not frames
    assert refused == 3 * ["image_size_unknown"] and node.refused == ["message_too_large"]


@pytest.mark.parametrize("tracked", [set(), {"aa"}])
def test_hri_bodies_without_stamps_reach_the_pipeline_and_are_reported(tracked):
    bodies = BodyCollector()
    bodies.track(tracked)
    frames = [frame for _ in range(20) for frame in add(bodies, "aa", 0)]
    assert frames == [(0, 1)] * (20 if tracked else 19)


def test_a_restart_forgets_the_bodies_of_an_image_that_is_not_complete(monkeypatch):
    monkeypatch.setattr("emf_ros.nodes.adapters.message_type", lambda *name: object)
    frames = []
    bodies = ThirdPartyKeypoints(
        Hearing(), "hri_msgs", str, lambda: SIZE, frames.append, lambda *refused: None
    )
    bodies.subscribe(None)
    bodies._follow(SimpleNamespace(ids=["aa", "bb"]))
    second = 10**9
    bodies._take_body(hri(100 * second, body()), "aa")
    bodies.restart()
    for name in ("aa", "bb"):
        bodies._take_body(hri(second, body()), name)
    assert [(frame.stamp_ns, len(frame.people)) for frame in frames] == [(second, 2)]


def test_hri_bodies_before_the_first_id_list_and_after_a_clock_jump_back():
    bodies = BodyCollector()
    second = 10**9
    assert add(bodies, "aa", 5 * second) == []
    assert add(bodies, "bb", 6 * second) == [(5 * second, 1)]
    # A bag that starts again.
    assert add(bodies, "aa", second) == [(6 * second, 1)]
    assert add(bodies, "aa", 2 * second) == [(second, 1)]


# ---------------------------------------------------------------------------------------- the node


@pytest.mark.parametrize("package", THIRD_PARTY)
def test_missing_package_is_named_with_its_repository(package, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, f"{package}.msg", None)
    with pytest.raises(
        NodeError, match=f"keypoints_type {package} needs .* the package is at http"
    ):
        message_type(package, "Skeleton2D")


def test_lifter_without_the_package_ends_with_one_line(start_node):
    missing = [package for package in THIRD_PARTY if not have(package)]
    if not missing:
        pytest.skip("all of them are installed")
    process = start_node("skeleton_lifter", expect=False, keypoints_type=missing[0])
    assert process.wait() == 1
    assert f"keypoints_type {missing[0]} needs {missing[0]}/" in process.log
    assert "Traceback" not in process.log


def test_composed_refuses_third_party_keypoints(start_node):
    # A parameter without the name of a node is for all nodes of the process.
    process = start_node("composed", expect=False, keypoints_type="yolo_msgs")
    assert process.wait() == 1
    assert "unknown parameter 'keypoints_type'" in process.log and "Traceback" not in process.log


def recorded(keypoints: list, index: int) -> list[np.ndarray]:
    """Two people's coco17, back and forth through what a real detector found."""
    count = len(keypoints)
    at = index % (2 * count)
    people = keypoints[at if at < count else 2 * count - 1 - at]
    return [convert_keypoints(points, BLAZEPOSE33, COCO17) for _, points, _ in people]


def test_an_empty_room_of_hri_is_told_from_a_silent_camera(ros, start_node, diagnostics, not_run):
    if not have("hri_msgs"):
        not_run("an empty room of hri_msgs: it is not installed: run make env")
        return
    from sensor_msgs.msg import CameraInfo

    from emf_ros_msgs.msg import Skeleton3DArray

    process = start_node("skeleton_lifter", keypoints_type="hri_msgs")
    told = diagnostics(process.topic("skeleton_lifter"))
    skeletons = ros.listen(Skeleton3DArray, process.topic("skeletons"))
    info = ros.publisher(CameraInfo, process.topic("camera_info"))
    kind = message_type("hri_msgs", "IdsList")
    tracked = ros.publisher(kind, process.topic("humans/bodies/tracked"))
    start, index = time.time_ns(), 0

    def nobody() -> None:
        nonlocal index
        index += 1
        tracked.publish(made("hri_msgs/IdsList", header=header(start + index * FRAME_NS), ids=[]))

    # Lists arrive, and are refused: the images have no size yet.
    wait_for(lambda: nobody() or told.has_error("keypoints", "were refused"), "the refusal")
    assert told.count("image_size_unknown") > 0

    def used() -> list:
        info.publish(camera_info_message())
        nobody()
        return [m for m in list(skeletons.messages) if m.images_arrive]

    (message, *_) = wait_for(used, "an image without people")
    assert message.header.frame_id == "camera" and not message.skeletons
    wait_for(lambda: used() and told.level("keypoints") == b"\0", "keypoints that are well")


@pytest.mark.parametrize("package", THIRD_PARTY)
def test_third_party_keypoints_are_lifted(package, ros, start_node, demo_keypoints):
    if not have(package):
        pytest.skip(f"{package} is not installed")
    from sensor_msgs.msg import CameraInfo

    from emf_ros_msgs.msg import Skeleton3DArray

    process = start_node("skeleton_lifter", keypoints_type=package)
    skeletons = ros.listen(Skeleton3DArray, process.topic("skeletons"))
    info = ros.publisher(CameraInfo, process.topic("camera_info"))
    names = ("abcde", "fghij")
    if package == "hri_msgs":
        tracked = ros.publisher(
            message_type(package, "IdsList"), process.topic("humans/bodies/tracked")
        )
        publishers = [
            ros.publisher(
                message_type(package, "Skeleton2D"),
                process.topic(f"humans/bodies/{name}/skeleton2d"),
            )
            for name in names
        ]
    else:
        kind = "DetectionArray" if package == "yolo_msgs" else "Detection2DArray"
        publishers = [ros.publisher(message_type(package, kind), process.topic("keypoints"))]
    start = time.time_ns()
    index = 0

    def fed() -> bool:
        nonlocal index
        index += 1
        stamp = start + index * FRAME_NS
        people = recorded(demo_keypoints, index)
        info.publish(camera_info_message())
        if package == "yolo_msgs":
            # As if there were no tracker.
            publishers[0].publish(yolo(stamp, [yolo_detection(p, "", 0.3) for p in people]))
        elif package == "hri_msgs":
            tracked.publish(made("hri_msgs/IdsList", header=header(stamp), ids=list(names)))
            for publisher, points in zip(publishers, people, strict=False):
                shown = convert_keypoints(points, COCO17, HRI18)
                publisher.publish(hri(stamp, shown, FRAME_SIZE))
        else:
            points = [
                vision_point(name, joint, *row)
                for name, of_person in zip(names, people, strict=False)
                for joint, row in zip(COCO17.joints, of_person.tolist(), strict=True)
            ]
            publishers[0].publish(
                made("vision_msgs/Detection2DArray", header=header(stamp), detections=points)
            )
        before = len(skeletons)
        poll(lambda: len(skeletons) > before, 0.1)
        # TRACKED, both, at a known distance.
        return any(
            len(m.skeletons) == 2
            and all(s.root_valid and s.tracking_state == 1 for s in m.skeletons)
            for m in copy.copy(skeletons.messages)
        )

    wait_for(fed, "two people's skeletons")
    roots = skeletons.messages[-1].skeletons
    assert all(0.5 < s.root.z < 20 for s in roots)
