"""The rules of the rooms in docs/architecture.md, read from the import statements."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "emf_ros"

#: Packages that only a ROS 2 has.
ROS_PACKAGES = {
    "ament_index_python",
    "builtin_interfaces",
    "diagnostic_msgs",
    "emf_ros_msgs",
    "geometry_msgs",
    "launch",
    "launch_ros",
    "rcl_interfaces",
    "rclpy",
    "sensor_msgs",
    "std_msgs",
    "tf2_msgs",
    "visualization_msgs",
}


def imports(path: Path) -> list[tuple[str, bool]]:
    """The modules that a file imports, absolute, each with whether it is imported at once.

    Imports in functions are late; those for type checkers are left out.
    """
    package = list(path.relative_to(ROOT).with_suffix("").parts[:-1])
    out: list[tuple[str, bool]] = []

    def visit(node: ast.AST, at_once: bool) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            out.extend((alias.name, at_once) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            out.append((module, at_once))
            out.extend((f"{module}.{alias.name}", at_once) for alias in node.names)
        inside = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        for child in ast.iter_child_nodes(node):
            visit(child, at_once and not inside)

    visit(ast.parse(path.read_text("utf-8")), True)
    return out


IMPORTS = {
    path.relative_to(PACKAGE).as_posix(): imports(path) for path in sorted(PACKAGE.rglob("*.py"))
}


def importers(*modules: str, late: bool = True) -> set[str]:
    """The files that import one of the modules, or something in them."""
    return {
        name
        for name, found in IMPORTS.items()
        for module, at_once in found
        if (at_once or late) and any((module + ".").startswith(m + ".") for m in modules)
    }


def outside(files: set[str], *rooms: str) -> set[str]:
    return {name for name in files if not name.startswith(rooms)}


def test_only_the_nodes_import_ros() -> None:
    files = importers(*ROS_PACKAGES)
    assert "nodes/base.py" in files
    # Late: it asks an installed ROS for the package's folder.
    assert outside(files, "nodes/") == {"io/paths.py"}
    assert outside(importers(*ROS_PACKAGES, late=False), "nodes/") == set()


@pytest.mark.parametrize("name", ["params.py", "param_specs.py", "launch_arguments.py"])
def test_the_parameters_need_no_ros(name: str) -> None:
    assert f"nodes/{name}" in IMPORTS
    assert f"nodes/{name}" not in importers(*ROS_PACKAGES)


def test_only_model_training_and_torch_engines_import_torch() -> None:
    at_once = outside(importers("torch", late=False), "model/", "train/")
    assert at_once == {"runtime/torch.py"}
    late = outside(importers("torch"), "model/", "train/")
    assert late == {"runtime/torch.py", "lift/torch_engine.py", "cli/weights.py"}


@pytest.mark.parametrize(
    "package",
    [
        "argcomplete",
        "ezc3d",
        "matplotlib",
        "mcap",
        "mediapipe",
        "onnx",
        "pyarrow",
        "ray",
        "rerun",
        "rosbags",
        "torch.utils.tensorboard",
        "viser",
    ],
)
def test_optional_packages_are_imported_where_they_are_used(package: str) -> None:
    assert importers(package)
    assert importers(package, late=False) == set()


def test_no_room_imports_the_nodes() -> None:
    assert outside(importers("emf_ros.nodes"), "nodes/") == set()


def test_only_the_command_imports_training() -> None:
    assert outside(importers("emf_ros.train"), "train/", "cli/") == set()


def test_the_core_imports_no_detector_tracker_or_lifter() -> None:
    core = ("types.py", "reasons.py", "skeletons.py", "stamps.py", "geometry/", "runtime/", "io/")
    above = [f"emf_ros.{room}" for room in ("detect", "track", "people", "lift", "session", "cli")]
    files = importers(*above)
    assert files and {name for name in files if name.startswith(core)} == set()


def test_detection_and_tracking_know_no_lifting() -> None:
    assert {
        name
        for name in importers("emf_ros.lift", "emf_ros.model", "emf_ros.session")
        if name.startswith(("detect/", "track/", "people.py"))
    } == set()


def test_the_answers_about_people_need_only_poses() -> None:
    above = ("detect", "track", "people", "lift", "model", "session", "nodes", "train", "cli")
    files = importers(*(f"emf_ros.{room}" for room in above), "torch", "cv2")
    assert {name for name in files if name.startswith("body/")} == set()
    assert any(name.startswith("body/") for name in importers("numpy"))


def test_the_viewer_takes_poses_of_any_source() -> None:
    files = importers("emf_ros.viewer")
    assert outside(files, "viewer/") == {
        "cli/view.py",
        "nodes/demo_view.py",
        "nodes/skeleton_viewer.py",
    }
    assert outside(importers("viser"), "viewer/") == set()


def test_no_file_is_over_450_lines() -> None:
    """But for tables: the joint layouts, and the texts of the reasons."""
    tables = {"skeletons.py", "reasons.py"}
    lines = {name: len((PACKAGE / name).read_text("utf-8").splitlines()) for name in IMPORTS}
    assert {name for name, count in lines.items() if count > 450} <= tables
    assert len(lines) > 100
