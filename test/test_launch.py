"""Launch and parameters files: executed where launch is installed, and generated files."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ros_session import TIMEOUT_S, wait_for

from emf_ros.nodes.launch_arguments import launch_arguments
from emf_ros.nodes.params import NODES, KeypointDetectorParams, SkeletonLifterParams

ROOT = Path(__file__).resolve().parents[1]
LAUNCH_FILES = sorted((ROOT / "launch").glob("*.launch.py"))
#: diagnostics.yaml is of another package's node, the aggregator.
PARAMETER_FILES = sorted(set((ROOT / "config").glob("*.yaml")) - {ROOT / "config/diagnostics.yaml"})
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
def test_every_argument_is_described_and_none_overrides_a_parameters_file() -> None:
    declared = launch_arguments(NODES)
    for path in LAUNCH_FILES:
        arguments = {a.name: a for a in description(path).get_launch_arguments()}
        assert all(argument.description for argument in arguments.values())
        for name in (declared.keys() & arguments.keys()) | {"namespace"}:
            assert "".join(part.text for part in arguments[name].default_value) == "", name
        for name in declared.keys() & arguments.keys():
            own = declared[name]
            assert arguments[name].description.startswith(own.text)
            assert arguments[name].choices == (["", *own.choices] if own.choices else None)


@with_launch
def test_every_launch_parameter_is_an_argument_of_lift() -> None:
    arguments = {a.name for a in description(LIFT).get_launch_arguments()}
    assert set(launch_arguments(NODES)) <= arguments
    issue = {"publish_tf", "synchronous", "keypoints_type", "camera_height_m", "respawn"}
    assert issue | {"log_level", "lifter_only", "cameras", "source", "rviz"} <= arguments


@with_launch
def test_the_demo_offers_only_arguments_that_work_with_a_video() -> None:
    arguments = {a.name for a in description(DEMO).get_launch_arguments()}
    assert {"video", "loop", "fov_deg", "max_people", "rviz", "namespace"} <= arguments
    topics = {"image", "camera_info", "cameras", "keypoints_type", "image_transport"}
    assert not arguments & (topics | {"lifter_only", "composed", "source", "use_sim_time"})


class Launched:
    """`ros2 launch` in a process of its own."""

    def __init__(self, path: Path, folder: Path, **arguments: str) -> None:
        code = (
            "import sys\n"
            "from launch import LaunchDescription, LaunchService\n"
            "from launch.actions import IncludeLaunchDescription\n"
            f"file = IncludeLaunchDescription({str(path)!r}, "
            f"launch_arguments={list(arguments.items())!r})\n"
            "service = LaunchService()\n"
            "service.include_launch_description(LaunchDescription([file]))\n"
            "sys.exit(service.run())\n"
        )
        self._log = folder / "log"
        with open(self._log, "w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code], stdout=out, stderr=out, cwd=folder
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def wait(self) -> int:
        return self.process.wait(TIMEOUT_S)

    def interrupt(self) -> int:
        """Launch hands the interrupt on to the nodes; the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.wait()

    def started(self, executable: str) -> list[int]:
        """The processes that were started so far."""
        pattern = rf"\[{executable}-\d+\]: process started with pid \[(\d+)\]"
        return [int(pid) for pid in re.findall(pattern, self.log)]


@pytest.fixture
def launched(tmp_path: Path) -> Any:
    """Start a launch file; what still runs after the test is ended."""
    running: list[Launched] = []

    def start(path: Path, **arguments: str) -> Launched:
        running.append(Launched(path, tmp_path, **arguments))
        return running[-1]

    yield start
    for one in running:
        if one.process.poll() is None:
            one.process.send_signal(signal.SIGINT)
            one.wait()


@with_launch
@pytest.mark.parametrize(
    ("path", "arguments", "message"),
    [
        (LIFT, {"preset": "huge"}, '"huge" is not valid'),
        (LIFT, {"cameras": "front,2nd"}, "'2nd', which cannot stand in a topic's name"),
        (LIFT, {"namespace": "robot-1"}, "namespace:=robot-1 is refused"),
        (LIFT, {"rviz": "true"}, "needs the package rviz2"),
        (LIFT, {"params_file": "none.yaml"}, "params_file none.yaml: No such file"),
        (DEMO, {"video": "none.mp4"}, "there is no file none.mp4"),
    ],
)
def test_what_cannot_start_ends_the_launch_before_the_first_process(
    launched: Any, path: Path, arguments: dict[str, str], message: str
) -> None:
    if "rviz" in arguments and importlib.util.find_spec("ament_index_python"):
        from ament_index_python.packages import get_packages_with_prefixes

        if "rviz2" in get_packages_with_prefixes():
            pytest.skip("rviz2 is installed")
    one = launched(path, **arguments)
    assert one.wait() != 0
    assert message in one.log
    assert "process started" not in one.log and "Traceback" not in one.log


@with_launch
def test_a_node_that_cannot_start_ends_the_launch_with_one_line(launched: Any) -> None:
    # A file that exists, but is no model.
    one = launched(LIFT, lifter_only="true", weights=str(ROOT / "README.md"))
    assert one.wait() != 0
    assert one.log.count("skeleton_lifter cannot start") == 1
    assert "Traceback" not in one.log
    # It is not tried again.
    assert len(one.started("skeleton_lifter")) == 1


@with_launch
def test_a_killed_node_is_started_again(ros: Any, launched: Any) -> None:
    one = launched(LIFT, namespace="killed", lifter_only="true", device="cpu")
    wait_for(lambda: ros.has_node("/killed/skeleton_lifter"), "the lifter")
    (first,) = wait_for(lambda: one.started("skeleton_lifter"), "its line in the log")
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: len(one.started("skeleton_lifter")) == 2, "another lifter")
    assert parameters_of(ros, "/killed/skeleton_lifter", ["device"]) == ["cpu"]
    assert one.interrupt() == 0


@with_launch
def test_without_respawn_a_killed_node_ends_the_launch(ros: Any, launched: Any) -> None:
    one = launched(LIFT, namespace="once", lifter_only="true", respawn="false")
    wait_for(lambda: ros.has_node("/once/skeleton_lifter"), "the lifter")
    (pid,) = wait_for(lambda: one.started("skeleton_lifter"), "its line in the log")
    os.kill(pid, signal.SIGKILL)
    assert one.wait() != 0
    assert "skeleton_lifter has failed with code -9" in one.log


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


def parameters_of(ros: Any, node: str, names: list[str]) -> list[Any]:
    """Values of a running node's parameters."""
    from rcl_interfaces.srv import GetParameters
    from rclpy.parameter import parameter_value_to_python

    request = GetParameters.Request(names=names)
    answer = ros.call(GetParameters, f"{node}/get_parameters", request)
    return [parameter_value_to_python(value) for value in answer.values]


@with_launch
def test_launched_nodes_run_with_the_file_and_the_arguments(
    ros: Any, user_file: Path, launched: Any
) -> None:
    arguments = {
        "namespace": "launched",
        "params_file": str(user_file),
        "max_people": "3",
        "device": "cpu",
        "lag": "auto",
        "coast_s": "2.0",
    }
    one = launched(LIFT, **arguments)
    names = ["max_people", "device", "variant", "min_score"]
    detector = parameters_of(ros, "/launched/keypoint_detector", names)
    assert detector == [3, "cpu", "lite", 0.4]
    names = ["max_people", "device", "lag", "latency_budget_ms"]
    lifter = parameters_of(ros, "/launched/skeleton_lifter", names)
    assert lifter == [3, "cpu", "auto", 90.0]
    assert one.interrupt() == 0, one.log
    assert "Traceback" not in one.log
    # Launch itself takes any name.
    assert "coast_s is no launch argument and is ignored" in one.log


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
        "SHA256SUMS",
    ]
    assert not generate.stale(), "run `make generated`"


def test_the_generated_file_has_every_parameter_at_its_default_advanced_ones_last() -> None:
    content = yaml.safe_load((ROOT / "config" / "lift.yaml").read_text())
    for node in (KeypointDetectorParams, SkeletonLifterParams):
        own = content[f"/**/{node.node}"]["ros__parameters"]
        specs = node.specs()
        assert list(own) == sorted(specs, key=lambda name: specs[name].advanced)
        assert node(**{name: specs[name].check(value) for name, value in own.items()}) == node()
