"""Launch and parameters files: executed where launch is installed, and generated files."""

from __future__ import annotations

import importlib
import importlib.util
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ros_session import TIMEOUT_S

from emf_ros.nodes.launch_arguments import launch_arguments
from emf_ros.nodes.param_specs import NodeParams
from emf_ros.nodes.params import NODES, KeypointDetectorParams, SkeletonLifterParams

ROOT = Path(__file__).resolve().parents[1]
LAUNCH_FILES = sorted((ROOT / "launch").glob("*.launch.py"))
PARAMETER_FILES = sorted((ROOT / "config").glob("*.yaml"))
LIFT = ROOT / "launch" / "lift.launch.py"
DEMO = ROOT / "launch" / "demo.launch.py"
HAVE_LAUNCH = all(importlib.util.find_spec(name) for name in ("launch", "launch_ros"))

with_launch = pytest.mark.skipif(not HAVE_LAUNCH, reason="launch and launch_ros are not installed")

#: Parameters that every node has without our declaring them.
BUILT_IN = {"use_sim_time"}

PARAMS = {node.node: node for node in NODES}


def console_scripts() -> dict[str, str]:
    """The programs in setup.cfg: name to 'module:function'."""
    text = (ROOT / "setup.cfg").read_text()
    return dict(re.findall(r"^ +([\w-]+) = ([\w.]+:\w+)$", text, re.MULTILINE))


def ids(path: Path) -> str:
    return path.name


def test_there_are_files_to_test() -> None:
    assert [p.name for p in LAUNCH_FILES] == ["demo.launch.py", "lift.launch.py"]
    assert PARAMETER_FILES


def test_the_report_says_what_was_not_run(not_run: Callable[[str], None]) -> None:
    not_run("RViz with config/emf_ros.rviz")
    if not HAVE_LAUNCH:
        not_run("launch/*.launch.py: launch and launch_ros are not installed")


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=ids)
def test_launch_files_compile(path: Path) -> None:
    compile(path.read_text(), str(path), "exec")


def test_every_console_script_exists() -> None:
    scripts = console_scripts()
    assert {"video_source", "composed", "fetch_weights", *(p.node for p in NODES)} <= set(scripts)
    for target in scripts.values():
        module, function = target.split(":")
        assert callable(getattr(importlib.import_module(module), function))


# --- executed ------------------------------------------------------------------------------------


def description(path: Path) -> Any:
    """The file's LaunchDescription."""
    spec = importlib.util.spec_from_file_location(path.name.replace(".", "_"), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate_launch_description()


@with_launch
@pytest.mark.parametrize(
    ("path", "nodes"),
    [
        (LIFT, NODES),
        (DEMO, NODES),
    ],
)
def test_launch_arguments_are_the_declared_ones_and_empty_by_default(
    path: Path, nodes: tuple[type[NodeParams], ...]
) -> None:
    # Included files' arguments count as well.
    arguments = {a.name: a for a in description(path).get_launch_arguments()}
    assert all(argument.description for argument in arguments.values())
    declared = launch_arguments(nodes)
    assert set(declared) <= set(arguments)
    for name in [*declared, "use_sim_time", "namespace", "cameras"]:
        assert "".join(part.text for part in arguments[name].default_value) == "", name
    for name in set(declared) - {"loop"}:
        assert declared[name] in {a.description for a in arguments.values()}, name


def commands(path: Path, **arguments: str) -> dict[str, list[str]]:
    """What launch would start, with these arguments: command lines by [namespace/]executable."""
    from launch import LaunchContext
    from launch.actions import DeclareLaunchArgument
    from launch.utilities import perform_substitutions
    from launch_ros.actions import Node

    context = LaunchContext()
    # What Node.execute fills in; the parameters, which we look at, are not among it.
    context.extend_locals({"ros_specific_arguments": {"name": "", "ns": "", "remaps": [""] * 20}})
    context.launch_configurations.update(arguments)
    found: dict[str, list[str]] = {}

    def visit(entities: list[Any]) -> None:
        for entity in entities:
            if isinstance(entity, DeclareLaunchArgument):
                entity.visit(context)
            elif isinstance(entity, Node):
                name = entity.node_executable
                if not isinstance(name, str):
                    name = perform_substitutions(context, name)
                entity._perform_substitutions(context)
                namespace = entity.expanded_node_namespace.lstrip("/")
                if namespace:
                    name = f"{namespace}/{name}"
                assert name not in found
                found[name] = [perform_substitutions(context, part) for part in entity.cmd[1:]]
            else:
                visit(entity.visit(context) or [])

    visit(description(path).entities)
    return found


def values(command: list[str], node: str) -> dict[str, Any]:
    """What a command line's parameters files set for a node, as ROS reads them.

    Sections of one name are merged where the name first appears; later sections win.
    """
    sections: dict[str, dict[str, Any]] = {}
    for flag, value in zip(command, command[1:], strict=False):
        assert flag != "-p"
        if flag == "--params-file":
            for pattern, content in yaml.safe_load(Path(value).read_text()).items():
                section = sections.setdefault(pattern, {})
                for name, new in content["ros__parameters"].items():
                    assert type(section.get(name, new)) is type(new), f"ROS would not set {name}"
                    section[name] = new
    mine = [own for name, own in sections.items() if name.split("/")[-1] in (node, "**")]
    return {name: value for own in mine for name, value in own.items()}


@pytest.fixture
def user_file(tmp_path: Path) -> Path:
    """A user's parameters file, with other values than the defaults."""
    path = tmp_path / "mine.yaml"
    content = {
        "keypoint_detector": {"max_people": 11, "variant": "lite"},
        "skeleton_lifter": {"max_people": 12, "lag": 7, "latency_budget_ms": 90.0},
    }
    path.write_text(
        yaml.safe_dump({f"/**/{n}": {"ros__parameters": own} for n, own in content.items()})
    )
    return path


@with_launch
@pytest.mark.parametrize("composed", ["false", "true"])
def test_params_file_is_not_overridden_by_defaults(user_file: Path, composed: str) -> None:
    found = commands(LIFT, params_file=str(user_file), composed=composed)
    names = ["composed"] if composed == "true" else ["keypoint_detector", "skeleton_lifter"]
    assert sorted(found) == names
    content = yaml.safe_load(user_file.read_text())
    for node in ("keypoint_detector", "skeleton_lifter"):
        command = found["composed"] if composed == "true" else found[node]
        assert values(command, node) == content[f"/**/{node}"]["ros__parameters"]


@with_launch
@pytest.mark.parametrize("composed", ["false", "true"])
def test_given_argument_reaches_every_node_with_the_parameter(
    user_file: Path, composed: str
) -> None:
    found = commands(
        LIFT,
        params_file=str(user_file),
        composed=composed,
        max_people="3",
        device="cpu",
        lag="auto",
        use_sim_time="true",
    )
    detector = values(found.get("composed") or found["keypoint_detector"], "keypoint_detector")
    lifter = values(found.get("composed") or found["skeleton_lifter"], "skeleton_lifter")
    both = {"max_people": 3, "device": "cpu", "use_sim_time": True}
    assert detector == {**both, "variant": "lite"}
    assert lifter == {**both, "lag": "auto", "latency_budget_ms": 90.0}


@with_launch
def test_without_arguments_every_node_has_its_defaults() -> None:
    found = commands(LIFT)
    for node in ("keypoint_detector", "skeleton_lifter"):
        params = PARAMS[node]
        specs = params.specs()
        given = {n: specs[n].check(v) for n, v in values(found[node], node).items()}
        assert params(**given) == params()


@with_launch
def test_several_cameras_share_a_lifter() -> None:
    found = commands(
        LIFT,
        cameras="front, rear",
        namespace="robot",
        lag="auto",
        image="image_raw",
        max_people="4",
    )
    detectors = {f"robot/{name}/keypoint_detector" for name in ("front", "rear")}
    assert set(found) == {*detectors, "robot/skeleton_lifter"}
    set_to = values(found["robot/skeleton_lifter"], "skeleton_lifter")
    assert set_to["cameras"] == ["front", "rear"]
    assert set_to["lag"] == "auto" and set_to["max_people"] == 4
    for name in detectors:
        set_to = values(found[name], "keypoint_detector")
        assert "cameras" not in set_to and set_to["max_people"] == 4


@with_launch
def test_third_party_keypoints_start_no_detector() -> None:
    found = commands(LIFT, keypoints_type="yolo_msgs")
    assert list(found) == ["skeleton_lifter"]
    assert values(found["skeleton_lifter"], "skeleton_lifter")["keypoints_type"] == "yolo_msgs"


@with_launch
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cameras": "front", "composed": "true"}, "composed"),
        ({"keypoints_type": "yolo_msgs", "composed": "true"}, "composed"),
        ({"max_people": "300"}, r"max_people:=300 is refused by keypoint_detector.* 1\.\.20"),
        ({"preset": "huge"}, "preset:=huge .* lite"),
        ({"composed": "maybe"}, "composed:=maybe .* true or false"),
        ({"use_sim_time": "1"}, "use_sim_time:=1 .* true or false"),
        ({"source": "0", "cameras": "front"}, "source:=0 is for one camera"),
        ({"source": "0", "keypoints_type": "yolo_msgs"}, "source:=0 runs our detector"),
        ({"fov_deg": "60"}, "fov_deg:=... is for the camera of source"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        commands(LIFT, **arguments)


@with_launch
def test_a_source_is_read_in_the_process_of_detector_and_lifter() -> None:
    found = commands(LIFT, source="0", namespace="robot", rate_hz="15", rectified="true")
    assert list(found) == ["robot/composed"]
    command = found["robot/composed"]
    assert "--camera" in command
    # A webcam's number stays text.
    set_to = {"source": "0", "rate_hz": 15.0, "rectified": True}
    assert values(command, "video_source") == set_to
    assert values(command, "skeleton_lifter")["rectified"] is True
    assert "--camera" not in commands(LIFT, composed="true")["composed"]


@with_launch
def test_demo_launch_plays_a_video(user_file: Path) -> None:
    found = commands(DEMO, video="my.mp4", fov_deg="70", rectified="true", max_people="2")
    assert list(found) == ["composed"]
    assert values(found["composed"], "video_source") == {
        "source": "my.mp4",
        "fov_deg": 70.0,
        "rectified": True,
        "loop": True,
        "start_when_subscribed": True,
    }
    assert values(found["composed"], "skeleton_lifter")["rectified"] is True
    assert values(found["composed"], "keypoint_detector")["max_people"] == 2
    user_file.write_text("/**/video_source: {ros__parameters: {loop: false, rate_hz: 5.0}}")
    for rate, expected in (("", 5.0), ("20", 20.0)):
        found = commands(DEMO, video="0", params_file=str(user_file), rate_hz=rate)
        set_to = values(found["composed"], "video_source")
        assert set_to["loop"] is False and set_to["rate_hz"] == expected
        assert set_to["source"] == "0"


def parameters_of(ros: Any, node: str, names: list[str]) -> list[Any]:
    """Values of a running node's parameters."""
    from rcl_interfaces.srv import GetParameters
    from rclpy.parameter import parameter_value_to_python

    request = GetParameters.Request(names=names)
    answer = ros.call(GetParameters, f"{node}/get_parameters", request)
    return [parameter_value_to_python(value) for value in answer.values]


@with_launch
def test_launched_nodes_run_with_the_file_and_the_arguments(
    ros: Any, user_file: Path, tmp_path: Path
) -> None:
    arguments = {
        "namespace": "launched",
        "params_file": str(user_file),
        "max_people": "3",
        "device": "cpu",
        "lag": "auto",
        "coast_s": "2.0",
    }
    code = (
        "import sys\n"
        "from launch import LaunchDescription, LaunchService\n"
        "from launch.actions import IncludeLaunchDescription\n"
        f"lift = IncludeLaunchDescription({str(LIFT)!r}, "
        f"launch_arguments={list(arguments.items())!r})\n"
        "service = LaunchService()\n"
        "service.include_launch_description(LaunchDescription([lift]))\n"
        "sys.exit(service.run())\n"
    )
    log = tmp_path / "log"
    with open(log, "w") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=out, stderr=out, cwd=tmp_path
        )
    try:
        names = ["max_people", "device", "variant", "min_score"]
        detector = parameters_of(ros, "/launched/keypoint_detector", names)
        assert detector == [3, "cpu", "lite", 0.4]
        names = ["max_people", "device", "lag", "latency_budget_ms"]
        lifter = parameters_of(ros, "/launched/skeleton_lifter", names)
        assert lifter == [3, "cpu", "auto", 90.0]
    finally:
        # Launch hands the interrupt on to the nodes.
        process.send_signal(signal.SIGINT)
        code = process.wait(TIMEOUT_S)
    assert code == 0, log.read_text()
    assert "Traceback" not in log.read_text()
    # Launch itself takes any name.
    assert "coast_s is no launch argument and is ignored" in log.read_text()


# --- parameters files ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", PARAMETER_FILES, ids=ids)
def test_parameters_files_fit_the_nodes(path: Path) -> None:
    content = yaml.safe_load(path.read_text())
    assert content
    for pattern, section in content.items():
        (node,) = [n for n in PARAMS if pattern == f"/**/{n}"]
        own = section["ros__parameters"]
        assert own
        PARAMS[node].refuse_unknown(set(own) - BUILT_IN)
        specs = PARAMS[node].specs()
        for name in set(own) - BUILT_IN:
            taken = specs[name].check(own[name])
            # ROS takes no whole number for a float.
            plain = list(taken) if specs[name].is_list else taken
            assert repr(plain) == repr(own[name]), f"{node}: {name}"


def test_generated_files_are_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "tools" / "generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    assert [path.name for path in generate.generated()] == [
        "lift.yaml",
        "parameters.md",
        "counters.md",
    ]
    assert not generate.stale(), "run `make generated`"


def test_the_generated_file_has_every_parameter_at_its_default_advanced_ones_last() -> None:
    content = yaml.safe_load((ROOT / "config" / "lift.yaml").read_text())
    for node in (KeypointDetectorParams, SkeletonLifterParams):
        own = content[f"/**/{node.node}"]["ros__parameters"]
        specs = node.specs()
        assert list(own) == sorted(specs, key=lambda name: specs[name].advanced)
        assert node(**{name: specs[name].check(value) for name, value in own.items()}) == node()
