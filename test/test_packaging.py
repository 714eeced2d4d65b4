"""What the packages declare: dependencies in package.xml and setup.py, messages, programs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from documentation import tracked

from emf_ros.downloads.manifest import PACKAGES

ROOT = Path(__file__).resolve().parents[1]
MESSAGES = ROOT / "emf_ros_msgs"

#: Names of Python modules whose packages have other names in rosdep and on PyPI.
ROSDEP_KEYS = {
    "cv2": "python3-opencv",
    "numpy": "python3-numpy",
    "onnxruntime": "python3-onnxruntime-pip",
    "tqdm": "python3-tqdm",
    "yaml": "python3-yaml",
}
PYPI_NAMES = {"cv2": "opencv-python-headless", "yaml": "PyYAML"}

#: Modules of the extras, and of ROS packages that are used where they are installed.
OPTIONAL = {
    "argcomplete",
    "ezc3d",
    "flatbuffers",
    "hri_msgs",
    "matplotlib",
    "mcap",
    "mediapipe",
    "onnx",
    "pyarrow",
    "ray",
    "rerun",
    "rosbags",
    "safetensors",
    "torch",
    "viser",
    "vision_msgs",
    "yolo_msgs",
}


def declared(package_xml: Path) -> dict[str, set[str]]:
    """The packages in package.xml, by the tag that names them."""
    found: dict[str, set[str]] = {}
    for element in ElementTree.parse(package_xml).getroot():
        found.setdefault(element.tag, set()).add((element.text or "").strip())
    return found


def at_run_time(package_xml: Path) -> set[str]:
    tags = declared(package_xml)
    return tags.get("depend", set()) | tags.get("exec_depend", set())


def imported(folder: Path) -> set[str]:
    """The modules of other projects that the code in a folder imports, at once or late."""
    names: set[str] = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {"emf_ros"}


IMPORTED = (imported(ROOT / "emf_ros") | imported(ROOT / "launch")) - OPTIONAL


def test_colcon_and_rosdep_see_one_package_that_builds_both() -> None:
    # They do not look inside a package: emf_ros must not name the package in its folder.
    tags = declared(ROOT / "package.xml")
    assert all("emf_ros_msgs" not in names for names in tags.values())
    assert "emf_ros_msgs" in (ROOT / "CMakeLists.txt").read_text()


def test_emf_ros_declares_what_its_messages_need() -> None:
    whole, messages = declared(ROOT / "package.xml"), declared(MESSAGES / "package.xml")
    for tag in ("buildtool_depend", "depend", "exec_depend", "member_of_group"):
        assert messages[tag]
        assert messages[tag] <= whole[tag] | (whole["depend"] if tag == "exec_depend" else set())


def test_package_xml_names_every_package_that_the_code_imports() -> None:
    needed = {ROSDEP_KEYS.get(name, name) for name in IMPORTED} - {"emf_ros_msgs"}
    assert {"rclpy", "python3-opencv", "launch_ros"} <= needed
    assert needed <= at_run_time(ROOT / "package.xml") | {"ament_index_python"}
    assert "ament_index_python" in at_run_time(ROOT / "package.xml")


def test_setup_py_names_every_pip_package_with_a_range() -> None:
    text = (ROOT / "setup.py").read_text()
    required = re.search(r"install_requires=\[(.*?)\]", text, re.DOTALL)
    assert required
    entries = re.findall(r'"([\w-]+)(.*?)"', required[1])
    wanted = {PYPI_NAMES.get(name, name) for name in IMPORTED if name in ROSDEP_KEYS}
    assert {name for name, _ in entries} == wanted
    # The system's numpy and OpenCV are enough: no upper limit, no pin.
    assert all(re.fullmatch(r">=[\d.]+", limits) for _, limits in entries)


def test_every_message_is_built() -> None:
    built = re.findall(r'"(msg/\w+\.msg)"', (MESSAGES / "CMakeLists.txt").read_text())
    assert sorted(built) == sorted(f"msg/{p.name}" for p in (MESSAGES / "msg").iterdir())


@pytest.mark.parametrize("name", ["lock.txt", "mediapipe.txt", "ros.txt", "colcon.txt"])
def test_lock_files_pin_every_version(name: str) -> None:
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    entries = [line for line in lines if line and line[0] not in "#-"]
    assert entries
    assert all(re.match(r"[\w.-]+==[\w.]+", line) for line in entries)


def test_nodes_start_without_torch_onnx_and_mediapipe() -> None:
    code = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {sorted(OPTIONAL)!r}:\n"
        "            raise ImportError('absent: ' + name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from emf_ros.lift.engine import make_engine\n"
        "from emf_ros.people import PeopleTracker\n"
        "from emf_ros.nodes import composed, video_source\n"
        "print(make_engine('lite', None, 'cpu').description)\n"
        "PeopleTracker.make(max_people=1, device='cpu').close()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_licences_of_all_downloads_and_packages_are_stated() -> None:
    page = (ROOT / "THIRD_PARTY.md").read_text("utf-8")
    rows = [row for row in page.splitlines() if row.startswith("| `")]
    stated = {name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])}
    text = (ROOT / "setup.py").read_text("utf-8")
    packages = set(re.findall(r'"([\w-]+)[><]=', text))
    assert {"torch", "tqdm", "viser"} < packages
    assert stated == packages | {package.requirement for package in PACKAGES}


def test_bloom_reads_the_manifests_and_the_changelog() -> None:
    from catkin_pkg.changelog import Changelog, populate_changelog_from_rst
    from catkin_pkg.package import parse_package

    for folder in (ROOT, MESSAGES):
        warnings: list[str] = []
        parse_package(str(folder), warnings=warnings).validate(warnings=warnings)
        assert warnings == []
    # A release gives the entries under "Forthcoming" its version and date: CONTRIBUTING.md.
    text = (ROOT / "CHANGELOG.rst").read_text("utf-8")
    released = text.replace(
        "Forthcoming\n-----------\n", "0.1.0 (2026-12-01)\n------------------\n"
    )
    changes = Changelog("emf_ros")
    populate_changelog_from_rst(changes, released)
    ((version, _, content),) = changes.foreach_version()
    assert version == "0.1.0" and content and released != text


def test_the_sdist_has_all_of_the_repository_but_the_state_of_the_training(tmp_path: Path) -> None:
    """Others build the package, its documentation and its tests from it."""
    command = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=600)
    packed = set((tmp_path / "emf_ros.egg-info" / "SOURCES.txt").read_text("utf-8").splitlines())
    left_out = [
        name
        for name in (str(path.relative_to(ROOT)) for path in tracked("*"))
        if name not in packed
    ]
    outside = re.compile(r"training/lite\.|\.ci/|\.git|\.dockerignore")
    assert [name for name in left_out if not outside.match(name)] == []


def test_the_citation_names_this_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    version = ElementTree.parse(ROOT / "package.xml").findtext("version")
    assert (cited["version"], cited["license"]) == (version, "Apache-2.0")
