"""`make env`: its errors, each with the remedy, and that a failed set-up continues."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A copy of the part of the checkout that the set-up itself needs."""
    folder = tmp_path / "checkout"
    (folder / "tools").mkdir(parents=True)
    for file in (ROOT / "tools").glob("*.py"):
        (folder / "tools" / file.name).write_bytes(file.read_bytes())
    return folder


def set_up(checkout: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(checkout / "tools" / "setup_env.py"), *options]
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(checkout), **variables}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=800)


def refused(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1 and "Traceback" not in done.stderr
    return done.stderr


def test_foreign_folder_is_not_overwritten(checkout):
    folder = checkout / ".venv"
    folder.mkdir()
    (folder / "precious.txt").write_text("kept")
    text = refused(set_up(checkout, "--ros", "wheels"))
    assert "make env did not make it" in text and "make env VENV=" in text
    assert (folder / "precious.txt").read_text() == "kept"


def test_path_with_a_space_is_refused(checkout):
    text = refused(set_up(checkout, "--ros", "wheels", "--venv", "my venv"))
    assert "has a space" in text and "move the folder" in text
    assert not (checkout / "my venv").exists()


def test_sourced_ros_that_is_not_there_is_refused(checkout):
    text = refused(set_up(checkout, "--ros", "sourced"))
    assert "no ROS 2 is sourced" in text and "setup.bash" in text


def test_sourced_ros_of_another_python_is_refused(checkout):
    variables = {"AMENT_PREFIX_PATH": "/opt/ros/none", "ROS_DISTRO": "none"}
    text = refused(set_up(checkout, **variables))
    assert "ROS 2 none is sourced" in text and "cannot import rclpy" in text
    assert "make env ROS=wheels" in text


def test_missing_compiler_is_named_with_its_package(checkout, tmp_path):
    text = refused(set_up(checkout, "--ros", "wheels", PATH=str(tmp_path)))
    assert "There is no cc" in text and "apt install build-essential" in text
    assert not (checkout / ".venv").exists()


def test_failed_command_is_quoted_with_a_remedy(checkout):
    (checkout / "requirements").mkdir()
    for name in ("lock", "mediapipe", "ros"):
        (checkout / "requirements" / f"{name}.txt").write_text("")
    (checkout / "requirements" / "lock.txt").write_text("emf-ros-no-such-package==1\n")
    text = refused(
        set_up(checkout, "--ros", "wheels", PIP_NO_INDEX="1", PIP_CONFIG_FILE="/dev/null")
    )
    assert "No matching distribution found for emf-ros-no-such-package==1" in text
    assert "Check the network" in text and "Full output:" in text
    # An interrupted or failed set-up continues: the environment is known as its own.
    again = refused(
        set_up(checkout, "--ros", "wheels", PIP_NO_INDEX="1", PIP_CONFIG_FILE="/dev/null")
    )
    assert "make env did not make it" not in again and "No matching distribution" in again


def test_a_long_command_says_what_it_is_at(checkout):
    """The command ends when its line has been printed."""
    printed = checkout / "printed.txt"
    code = "import setup_commands; setup_commands.PROGRESS_S = 0.05; "
    code += "setup_commands.LOG.parent.mkdir(); "
    wait = f"echo Downloading torch; until grep -q torch {printed}; do sleep 0.05; done"
    code += f"setup_commands.run(['timeout', '100', 'sh', '-c', {wait!r}], None, 'failed', 'none')"
    with printed.open("w") as out:
        subprocess.run([sys.executable, "-c", code], cwd=checkout / "tools", stdout=out, check=True)
    assert re.fullmatch(r"( +\d+ s  Downloading torch\n)+", printed.read_text())


def test_gpu_has_its_own_onnxruntime_until_it_is_taken_back(checkout):
    """Both builds have the same folder: the one of lock.txt is left out."""
    folder = checkout / "requirements"
    folder.mkdir()
    for name in ("mediapipe", "ros"):
        (folder / f"{name}.txt").write_text("")
    (folder / "lock.txt").write_text("onnxruntime==0.0\nonnxruntime_extensions==0.0\n")
    (folder / "gpu.txt").write_text("emf-ros-no-such-gpu-package==1\n")

    def log(*options):
        offline = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": "/dev/null"}
        refused(set_up(checkout, "--ros", "wheels", *options, **offline))
        return (checkout / "log" / "setup_env.log").read_text()

    kept = checkout / "log" / "gpu_lock.txt"
    for options in (["--gpu", "1"], []):
        assert "gpu_lock.txt" in log(*options) and "requirements/gpu.txt" in log(*options)
        assert kept.read_text() == "onnxruntime_extensions==0.0\n"
    text = log("--gpu", "0")
    assert "requirements/lock.txt" in text and "gpu.txt" not in text


@pytest.mark.parametrize("where", ["_core", "core"])
def test_headers_of_numpy_1_and_2_are_named_in_the_wheels_of_ros(tmp_path, where):
    site = tmp_path / "lib" / f"python3.{sys.version_info[1]}" / "site-packages"
    # numpy 1.26 has a folder _core, too, without headers.
    (site / "numpy" / "_core").mkdir(parents=True)
    (site / "numpy" / where / "include").mkdir(parents=True)
    (tmp_path / "share").mkdir()
    export = tmp_path / "share" / "export.cmake"
    export.write_text("/opt/python/cp311-cp311/lib/python3.11/site-packages/numpy/core/include;")
    code = "from pathlib import Path; from setup_env import Setup; "
    code += f"Setup(Path({str(tmp_path)!r}), None).rewrite_exports()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT / "tools", check=True)
    assert export.read_text() == f"{site}/numpy/{where}/include;"


def test_launch_files_are_found_as_ros2_launch_looks_for_them(tmp_path):
    """It walks through the package's folder, which does not enter links to folders."""
    code = "from pathlib import Path; from setup_env import Setup; "
    code += f"Setup(Path({str(tmp_path)!r}), None).link_share()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT / "tools", check=True)
    found = {name for _, _, names in os.walk(tmp_path / "share" / "emf_ros") for name in names}
    assert {"lift.launch.py", "demo.launch.py"} <= found
