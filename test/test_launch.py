"""Launch and parameter files: executed where launch is installed, else read with `ast`."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from emf_ros.nodes.common import Param

ROOT = Path(__file__).resolve().parents[1]
LAUNCH_FILES = sorted((ROOT / "launch").glob("*.launch.py"))
PARAMETER_FILES = sorted((ROOT / "config").glob("*.yaml"))
HAVE_LAUNCH = all(importlib.util.find_spec(name) for name in ("launch", "launch_ros"))

with_launch = pytest.mark.skipif(not HAVE_LAUNCH, reason="launch and launch_ros are not installed")

#: Provided by every node, not by our tables.
BUILT_IN = {"use_sim_time"}


def tables() -> dict[str, dict[str, Param]]:
    """Each node's parameters by name."""
    return {
        node: {p.name: p for p in importlib.import_module(f"emf_ros.nodes.{node}").PARAMS}
        for node in ("video_source", "keypoint_detector", "skeleton_lifter")
    }


def parameters_of(executable: str) -> set[str]:
    """The names that an executable's nodes take."""
    known = tables()
    nodes = ["keypoint_detector", "skeleton_lifter"] if executable == "composed" else [executable]
    return set().union(*(known[node] for node in nodes)) | BUILT_IN


def console_scripts() -> dict[str, str]:
    """setup.py's programs: name to 'module:function'."""
    text = (ROOT / "setup.py").read_text()
    return dict(re.findall(r'"([\w-]+) = ([\w.]+:\w+)"', text))


def source(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def calls(tree: ast.AST, name: str) -> list[ast.Call]:
    """Calls of a plain name."""
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
    ]


def keyword(call: ast.Call, name: str) -> Any:
    """A keyword argument's literal value; None where it is missing or computed."""
    for given in call.keywords:
        if given.arg == name and isinstance(given.value, ast.Constant):
            return given.value.value
    return None


def ids(path: Path) -> str:
    return path.name


def test_there_are_files_to_test() -> None:
    assert [p.name for p in LAUNCH_FILES] == ["demo.launch.py", "lift.launch.py"]
    assert PARAMETER_FILES


def test_the_report_says_what_was_not_run(not_run: Callable[[str], None]) -> None:
    not_run("`ros2 launch` of launch/*.launch.py: no process was started by launch itself")
    not_run("RViz with config/emf_ros.rviz")
    if not HAVE_LAUNCH:
        not_run("building the LaunchDescriptions (launch, launch_ros missing): only read with ast")


def test_every_console_script_exists() -> None:
    scripts = console_scripts()
    assert {"video_source", "keypoint_detector", "skeleton_lifter", "composed"} <= set(scripts)
    for target in scripts.values():
        module, function = target.split(":")
        assert callable(getattr(importlib.import_module(module), function))


# --- read ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=ids)
def test_arguments_are_described_and_used(path: Path) -> None:
    tree = source(path)
    compile(tree, str(path), "exec")
    declared = {}
    for call in calls(tree, "DeclareLaunchArgument"):
        assert isinstance(call.args[0], ast.Constant)
        declared[call.args[0].value] = keyword(call, "description")
    assert declared
    assert not [name for name, text in declared.items() if not text]
    # Used: as a configuration, or by a helper that makes one of its name.
    used = {
        call.args[0].value
        for function in ("LaunchConfiguration", "typed", "text")
        for call in calls(tree, function)
        if call.args and isinstance(call.args[0], ast.Constant)
    }
    assert set(declared) <= used
    included = {"namespace", "rectified"} if path.name == "demo.launch.py" else set()
    assert used <= set(declared) | included


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=ids)
def test_executables_and_parameters_exist(path: Path) -> None:
    tree = source(path)
    nodes = calls(tree, "Node")
    ours = [keyword(call, "executable") for call in nodes if keyword(call, "package") != "rviz2"]
    assert ours and set(ours) <= set(console_scripts())
    known = set().union(*(parameters_of(name) for name in ours))
    for table in ast.walk(tree):
        if isinstance(table, ast.Dict):
            names = {k.value for k in table.keys if isinstance(k, ast.Constant)}
            other = {"ros__parameters", "of_the_detector", "of_the_lifter", "of_both"}
            other |= {"keypoint_detector", "skeleton_lifter"}
            assert names <= known | other, names - known - other


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=ids)
def test_defaults_and_choices_are_the_nodes(path: Path) -> None:
    known = {name: p for table in tables().values() for name, p in table.items()}
    # `max_people` is the detector's in the launch file.
    known["max_people"] = tables()["keypoint_detector"]["max_people"]
    for call in calls(source(path), "DeclareLaunchArgument"):
        name, default = call.args[0].value, keyword(call, "default_value")
        if name not in known or default is None or name == "loop":
            continue
        param = known[name]
        assert type(param.default)(yaml.safe_load(default) or param.default) == param.default, name
        for given in call.keywords:
            if given.arg == "choices" and isinstance(given.value, ast.List):
                assert set(ast.literal_eval(given.value)) <= set(param.choices), name


# --- executed ------------------------------------------------------------------------------------


def description(path: Path) -> Any:
    """The file's LaunchDescription."""
    spec = importlib.util.spec_from_file_location(path.name.replace(".", "_"), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate_launch_description()


@with_launch
@pytest.mark.parametrize("path", LAUNCH_FILES, ids=ids)
def test_the_description_is_built(path: Path) -> None:
    arguments = {a.name: a for a in description(path).get_launch_arguments()}
    expected = {"lift.launch.py": "image", "demo.launch.py": "video"}[path.name]
    assert expected in arguments
    # Included files' arguments count as well.
    assert "preset" in arguments and "namespace" in arguments
    for argument in arguments.values():
        assert argument.description and argument.default_value is not None


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
                if entity.condition is None or entity.condition.evaluate(context):
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


def given_parameters(command: list[str]) -> dict[str, Any]:
    """What a command line's parameter files set, the later over the earlier, whatever the node."""
    out: dict[str, Any] = {}
    for flag, value in zip(command, command[1:], strict=False):
        if flag == "--params-file":
            # launch_ros writes lists as Python's tuples; ROS's own parser does not mind.
            for node in yaml.full_load(Path(value).read_text()).values():
                out.update(node["ros__parameters"])
        elif flag == "-p":
            name, text = value.split(":=", 1)
            out[name.split(":")[-1]] = yaml.safe_load(text)
    return out


@with_launch
def test_two_processes_or_one() -> None:
    path = ROOT / "launch" / "lift.launch.py"
    apart = executed(path)
    assert set(apart) == {"keypoint_detector", "skeleton_lifter"}
    together = executed(path, composed="true", lag="5", variant="lite")
    assert set(together) == {"composed"}
    set_to = given_parameters(together["composed"])
    assert set_to["lag"] == 5 and set_to["variant"] == "lite"
    set_to = given_parameters(executed(path, lag="5", max_people="3")["skeleton_lifter"])
    assert set_to["lag"] == 5
    for executable, command in apart.items():
        given = set(given_parameters(command)) - BUILT_IN
        both = parameters_of("keypoint_detector") | parameters_of("skeleton_lifter")
        assert given <= both, executable


@with_launch
def test_several_cameras_share_a_lifter() -> None:
    path = ROOT / "launch" / "lift.launch.py"
    found = executed(path, cameras="front, rear", namespace="robot", lag="auto", image="image_raw")
    detectors = {f"robot/{name}/keypoint_detector" for name in ("front", "rear")}
    assert set(found) == {*detectors, "robot/skeleton_lifter"}
    set_to = given_parameters(found["robot/skeleton_lifter"])
    assert list(set_to["cameras"]) == ["front", "rear"] and set_to["lag"] == "auto"
    for name in detectors:
        assert "cameras" not in given_parameters(found[name])
    with pytest.raises(RuntimeError, match="composed"):
        executed(path, cameras="front", composed="true")


def executed(path: Path, **arguments: str) -> dict[str, list[str]]:
    """`commands`, or a skip where this launch_ros has other insides than those we look at."""
    try:
        return commands(path, **arguments)
    except AttributeError as error:
        pytest.skip(f"this launch_ros cannot be looked into: {error}")


# --- parameter files -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", PARAMETER_FILES, ids=ids)
def test_parameter_files_fit_the_nodes(path: Path) -> None:
    known = tables()
    for pattern, content in yaml.safe_load(path.read_text()).items():
        node = pattern.split("/")[-1]
        assert node in known, pattern
        for name, value in content["ros__parameters"].items():
            if name in BUILT_IN:
                continue
            assert name in known[node], f"{node} has no parameter {name}"
            param = known[node][name]
            assert type(value) is type(param.default) or value in param.words, f"{node}: {name}"
            if param.choices:
                assert value in param.choices
            if param.low is not None:
                assert param.low <= value <= param.high
