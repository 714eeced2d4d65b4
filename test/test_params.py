"""The declarations of parameters, without ROS."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest

from emf_ros.nodes.launch_arguments import given_parameters, ignored_arguments, launch_arguments
from emf_ros.nodes.param_specs import NodeParams, ParamError, ParamSpec
from emf_ros.nodes.params import (
    NODES,
    KeypointDetectorParams,
    SkeletonLifterParams,
    VideoSourceParams,
)

ALL = [(node, spec) for node in NODES for spec in node.specs().values()]
each = pytest.mark.parametrize(
    ("node", "spec"), ALL, ids=[f"{node.node}-{spec.name}" for node, spec in ALL]
)


def test_declarations_import_no_ros_and_no_torch() -> None:
    code = (
        "import sys, emf_ros.nodes.params; print({'rclpy', 'torch', 'launch'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


@each
def test_each_default_is_an_allowed_value(node: type[NodeParams], spec: ParamSpec) -> None:
    assert spec.check(spec.default) == spec.default
    assert getattr(node(), spec.name) == spec.default


@each
def test_each_description_is_one_sentence_with_unit_and_meaning_of_0(
    node: type[NodeParams], spec: ParamSpec
) -> None:
    assert spec.description[0].isupper() and spec.description.endswith(".")
    assert len(spec.description.split()) <= 20, spec.description
    assert ". " not in spec.description
    if spec.kind in (int, float):
        suffix = spec.name.rpartition("_")[2]
        units = {"s": "s", "m": "m", "ms": "ms", "hz": "Hz", "deg": "degrees"}
        assert units.get(suffix, spec.unit) == spec.unit
        if not spec.is_list and spec.low is not None and spec.low <= 0 <= spec.high:
            assert spec.zero, "0 is allowed and nothing says what it does"


@pytest.mark.parametrize("node", NODES)
def test_names_of_older_versions_are_refused_with_the_remedy(node: type[NodeParams]) -> None:
    for old, remedy in node.gone.items():
        assert old not in node.specs()
        # A remedy sets a parameter of today, or says what always holds.
        named = re.match(r"set (\w+)", remedy)
        assert named is None or named[1] in node.specs()
        with pytest.raises(ParamError, match=f"'{old}' no longer exists: {remedy}"):
            node.refuse_unknown([old])
    with pytest.raises(ParamError, match="unknown parameter 'lags'; this node has: "):
        node.refuse_unknown(["lags"])
    node.refuse_unknown(node.specs())


@pytest.mark.parametrize(
    ("node", "name", "value", "expected"),
    [
        (SkeletonLifterParams, "lag", 5, 5),
        (SkeletonLifterParams, "lag", "auto", "auto"),
        (SkeletonLifterParams, "cameras", ["front", "rear"], ("front", "rear")),
        (SkeletonLifterParams, "camera_height_m", [1, 1.5], (1.0, 1.5)),
        (VideoSourceParams, "source", 0, "0"),
        (VideoSourceParams, "fov_deg", 78, 78.0),
    ],
)
def test_values_are_converted_to_the_types_of_the_dataclass(
    node: type[NodeParams], name: str, value: Any, expected: Any
) -> None:
    taken = node.specs()[name].check(value)
    assert taken == expected and type(taken) is type(expected)


@pytest.mark.parametrize(
    ("node", "name", "value", "message"),
    [
        (SkeletonLifterParams, "lag", "most", "a whole number or 'auto'"),
        (SkeletonLifterParams, "lag", 1.5, "a whole number or 'auto'"),
        (SkeletonLifterParams, "lag", True, "a whole number or 'auto'"),
        (SkeletonLifterParams, "lag", 27, r"0\.\.26"),
        (SkeletonLifterParams, "coast_s", float("nan"), r"0\.\.5"),
        (SkeletonLifterParams, "camera_height_m", [float("nan")], "must be in"),
        (SkeletonLifterParams, "cameras", "front", "a list"),
        (SkeletonLifterParams, "preset", "huge", "one of lite"),
        (SkeletonLifterParams, "use_depth", 1, "true or false"),
        (VideoSourceParams, "source", 1.5, "quote it"),
        (VideoSourceParams, "fov_deg", "wide", "a number or 'auto'"),
        (KeypointDetectorParams, "roi", [0, -1, 5, 5], r"0\.\.32766"),
    ],
)
def test_refused_values_name_the_allowed_ones(
    node: type[NodeParams], name: str, value: Any, message: str
) -> None:
    with pytest.raises(ParamError, match=message):
        node.specs()[name].check(value)


# --- launch arguments ----------------------------------------------------------------------------


def test_launch_argument_goes_to_every_node_with_the_parameter() -> None:
    texts = {"max_people": "3", "device": "cpu", "lag": "auto", "min_score": "", "rate_hz": "30"}
    detector = given_parameters(KeypointDetectorParams, texts)
    lifter = given_parameters(SkeletonLifterParams, texts)
    assert detector == {"device": "cpu", "max_people": 3}
    assert lifter == {"device": "cpu", "max_people": 3, "lag": "auto"}
    assert given_parameters(VideoSourceParams, texts) == {"rate_hz": 30.0}


def test_launch_argument_is_described_with_range_choices_and_default() -> None:
    found = launch_arguments(NODES)
    # The narrowest range of the nodes concerned.
    people = found["max_people"]
    assert "1 to 20" in people.text and "Default: 8" in people.text and people.choices == ()
    assert found["device"].choices == ("auto", "cuda", "cpu")
    assert found["publish_tf"].choices == ("true", "false")
    assert "coast_s" not in found


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("lag", "5", 5),
        ("latency_budget_ms", "100", 100.0),
        ("rectified", "True", True),
        ("camera_height_m", "1.2", [1.2]),
        ("camera_height_m", "[1, 2.5]", [1.0, 2.5]),
        ("weights", "12", "12"),
    ],
)
def test_texts_of_launch_arguments_are_parsed(name: str, text: str, expected: Any) -> None:
    assert given_parameters(SkeletonLifterParams, {name: text}) == {name: expected}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("max_people", "300", r"max_people:=300 .* skeleton_lifter: it must be in 1\.\.256"),
        ("max_people", "many", "a whole number"),
        ("lag", "{", "a whole number or 'auto'"),
        ("preset", "huge", "one of lite"),
        ("rectified", "maybe", "true or false"),
    ],
)
def test_bad_texts_of_launch_arguments_are_refused(name: str, text: str, message: str) -> None:
    with pytest.raises(ParamError, match=message):
        given_parameters(SkeletonLifterParams, {name: text})


def test_ignored_launch_arguments_are_reported_with_the_remedy() -> None:
    nodes = (KeypointDetectorParams, SkeletonLifterParams)
    names = ["max_people", "coast_s", "require_gpu", "steady_s", "image", "rviz"]
    told = ignored_arguments(nodes, names)
    assert len(told) == 3
    assert told[0].startswith("require_gpu is no launch argument and is ignored: set device to")
    assert "coast_s is no launch argument" in told[1] and "skeleton_lifter" in told[1]
    assert told[2].endswith("set smoothing")


def test_advanced_parameters_are_no_launch_arguments() -> None:
    advanced = {spec.name for _, spec in ALL if spec.advanced}
    assert {"threads", "max_gap_s", "detection_share"} <= advanced
    assert not advanced & set(launch_arguments(NODES))
