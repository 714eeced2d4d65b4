"""Sets up everything the project needs in one virtual environment: this is `make env`.

What comes about:

1. a virtual environment (.venv) with the pinned Python packages;
2. a ROS 2 in it: the one that is sourced, else the wheels on PyPI;
3. our messages, built with colcon and installed into the environment itself;
4. emf_ros, editable, so that a change of its code needs no new set-up;
5. BlazePose's weights in the user's cache folder.

Each stage notes what it was made from (`emf_ros_setup.json` in the environment) once it is done.
A second run does only what has changed or was interrupted, and nothing when nothing has.

`.venv/bin/python` then finds ROS, our messages and the ament index by itself. ROS looks for these
through environment variables, and the loader reads LD_LIBRARY_PATH only when a process starts; so
a small start-up module in the environment (see `START_UP_MODULE`) sets them and starts the
interpreter once more. Nothing has to be sourced, and child processes inherit it.

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
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUPPORTED = ((3, 10), (3, 13))
LOG = ROOT / "log" / "setup_env.log"
STATE_NAME = "emf_ros_setup.json"
# Measured: the environment with a CPU build of torch takes 1.8 GB, and pip unpacks beside it.
# A CUDA build of torch brings another 5 GB, which pip reports itself if it runs out.
NEEDED_GB, NEEDED_CUDA_GB = 3.0, 9.0
# ROS's own variables: what a sourced ROS sets, and what must not leak into the wheels' world.
ROS_VARIABLES = (
    "AMENT_PREFIX_PATH",
    "CMAKE_PREFIX_PATH",
    "COLCON_PREFIX_PATH",
    "LD_LIBRARY_PATH",
    "PYTHONPATH",
)
ROS_NAMES = ("ROS_DISTRO", "ROS_VERSION", "ROS_PYTHON_VERSION")

# Handed to the commands that are run: if this process is killed, the next set-up still waits until
# the command it left behind has ended, and does not work in the same folders at the same time.
held_locks: list[int] = []

START_UP_MODULE = '''"""Lets this environment's Python find ROS 2 and our messages by itself.

Written by tools/setup_env.py; run by emf_ros_env.pth each time the interpreter starts.

The search paths below are put in front of the environment variables where they are missing. The
loader has read LD_LIBRARY_PATH before Python runs, so when it changes the interpreter is started
once more with the same arguments (execve: same process, same files). Child processes inherit the
variables and are not restarted.
"""

import os
import sys

_PATHS = @PATHS@
_NAMES = @NAMES@


def _apply():
    restart = False
    for variable, folders in _PATHS.items():
        present = [part for part in os.environ.get(variable, "").split(os.pathsep) if part]
        missing = [folder for folder in folders if folder not in present]
        if missing:
            os.environ[variable] = os.pathsep.join(missing + present)
            restart = restart or variable in ("LD_LIBRARY_PATH", "PYTHONPATH")
    for name, value in _NAMES.items():
        os.environ.setdefault(name, value)
    if not restart:
        return
    # The ROS wheels restart Python by themselves, unless another environment already did.
    os.environ.pop("_ROS_WHEELS_BOOTSTRAP_COMPLETE", None)
    if @RESTART@:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ)


if sys.executable and not sys.flags.ignore_environment:
    _apply()
'''


class SetupError(Exception):
    """Something that stops the set-up: what is missing, and what to do about it."""

    def __init__(self, problem: str, *remedies: str) -> None:
        super().__init__(problem)
        self.remedies = remedies


# ---------------------------------------------------------------------------------- small tools


class Report:
    """Prints a line per stage with its time, and keeps the full output in the log."""

    def __init__(self) -> None:
        self.live = sys.stdout.isatty()
        self.did_something = False

    @contextlib.contextmanager
    def stage(self, title: str) -> Iterator[None]:
        """Time a stage; the line is completed when it is done, also when it failed."""
        if not self.did_something:
            self.did_something = True
            print(f"emf_ros set-up (full output: {LOG})")
        print(f"  {title} ...", end="" if self.live else "\n", flush=True)
        started = time.monotonic()
        outcome = "failed after"
        try:
            yield
            outcome = "done in"
        finally:
            seconds = time.monotonic() - started
            head = "\r\033[K" if self.live else ""
            print(f"{head}  {title}: {outcome} {seconds:.1f} s", flush=True)
            self.title = title


def log_text(text: str) -> None:
    """Add a line to the log."""
    with LOG.open("a", encoding="utf-8") as log:
        log.write(text + "\n")


def run(command: list[str], env: dict[str, str], problem: str, *remedies: str) -> None:
    """Run a command with its output in the log; raise `problem` and `remedies` if it fails."""
    log_text(f"\n$ {' '.join(command)}")
    start = LOG.stat().st_size
    with LOG.open("a", encoding="utf-8") as log:
        try:
            code = subprocess.run(
                command,
                cwd=ROOT,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=held_locks,
            ).returncode
        except OSError as error:
            raise SetupError(problem, f"{command[0]}: {error.strerror}", *remedies) from error
    if code == 0:
        return
    with LOG.open("rb") as opened:
        opened.seek(start)
        output = opened.read().decode(errors="replace")
    if code < 0:
        raise SetupError(problem, f"It was ended by signal {-code} (9: most likely out of memory).")
    known = diagnose(output)
    raise SetupError(problem, *(known or remedies))


def diagnose(output: str) -> tuple[str, ...]:
    """Turn the usual causes in a command's output into advice; empty when none is recognised."""
    space = "No space left on device" in output or "Disk quota exceeded" in output
    network = re.search(
        r"NewConnectionError|ConnectTimeout|Temporary failure in name resolution|ProxyError|"
        r"Network is unreachable|Max retries exceeded|ReadTimeoutError|Connection ?(reset|refused)|"
        r"SSLError|CERTIFICATE_VERIFY_FAILED|Could not fetch URL|Failed to establish",
        output,
    )
    missing = re.findall(r"No matching distribution found for (\S+)", output)
    if space:
        return (f"The disk is full: about {NEEDED_GB:.0f} GB are needed (CPU build of torch).",)
    if network:
        return (
            "The package index could not be reached.",
            "Check the network, and the proxy or mirror that pip uses (pip config list).",
        )
    if missing and missing[-1].startswith("ros-") and os.uname().machine != "x86_64":
        return (
            "The ROS wheels on PyPI are for x86-64 alone: install ROS 2, source its setup.bash "
            "and run make env again.",
        )
    if missing and "(from versions: none)" in output:
        return (
            f"The package index offered no {missing[-1].split('=')[0]} at all: most likely it "
            "could not be reached.",
            "Check the network, and the proxy or mirror that pip uses (pip config list).",
        )
    if missing:
        return (
            f"The package index has no {missing[-1]} for Python {python_version()} "
            f"on {os.uname().machine}.",
            "If pip uses a mirror (pip config list), that may lag behind PyPI.",
        )
    if "Python.h: No such file" in output:
        return (headers_advice(),)
    return ()


def python_version() -> str:
    """Name this Python's version: 3.11."""
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def headers_advice() -> str:
    """Say how to get the headers that C extensions are compiled with."""
    name = python_version()
    return f"Python's headers are missing. Ubuntu, Debian: sudo apt install python{name}-dev"


def digest(*parts: object) -> str:
    """Hash texts and the contents of files and folders into one key."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            files = sorted(p for p in part.rglob("*") if p.is_file()) if part.is_dir() else [part]
            for file in files:
                if "__pycache__" in file.parts:
                    continue
                data = file.read_bytes() if file.exists() else b"absent"
                total.update(f"\0{file.relative_to(ROOT)}\0{len(data)}\0".encode() + data)
        else:
            total.update(f"\0{part}\0".encode())
    return total.hexdigest()


# ---------------------------------------------------------------------------------- which ROS


def without_ros(env: dict[str, str]) -> dict[str, str]:
    """Return the environment as it is with no ROS sourced and no other ROS wheels active."""
    kept = {k: v for k, v in env.items() if k not in (*ROS_VARIABLES, *ROS_NAMES)}
    for name in ("_ROS_WHEELS_BOOTSTRAP_COMPLETE", "PYTHONHOME", "__PYVENV_LAUNCHER__"):
        kept.pop(name, None)
    return kept


def find_sourced_ros(choice: str, venv: Path) -> dict[str, str] | None:
    """Return the variables of the ROS 2 that is sourced, or None when the wheels are to be used.

    The environment's own prefix is left out: when this runs under a Python of that environment, it
    is there without anything being sourced.
    """
    if choice == "wheels":
        return None
    found: dict[str, str] = {}
    for name in ROS_VARIABLES:
        parts = [p for p in os.environ.get(name, "").split(os.pathsep) if p]
        outside = [p for p in parts if venv != Path(p) and venv not in Path(p).parents]
        if outside:
            found[name] = os.pathsep.join(outside)
    for name in ROS_NAMES:
        if os.environ.get(name):
            found[name] = os.environ[name]
    sourced = "AMENT_PREFIX_PATH" in found and "ROS_DISTRO" in found
    if choice == "auto" and not sourced:
        return None
    if not sourced:
        raise SetupError(
            "ROS=sourced was asked for, but no ROS 2 is sourced in this shell.",
            "Source it first: source /opt/ros/<distro>/setup.bash",
        )
    # The test runs with the base interpreter: a package inside our own environment proves nothing.
    test = subprocess.run(
        [base_python(), "-c", "import rclpy, std_msgs.msg, ament_index_python"],
        env={**without_ros(dict(os.environ)), **found},
        capture_output=True,
        text=True,
        cwd="/",
    )
    if test.returncode == 0:
        return found
    cause = (test.stderr.strip().splitlines() or ["it failed silently"])[-1]
    theirs = found.get("ROS_PYTHON_VERSION", "3")
    raise SetupError(
        f"ROS 2 {found['ROS_DISTRO']} is sourced, but {base_python()} "
        f"(Python {python_version()}) cannot import its rclpy: {cause}",
        f"Use the Python that this ROS was built for, for example: "
        f"make env PYTHON=/usr/bin/python{theirs}",
        "Or leave the sourced ROS aside and use ROS 2 from PyPI: make env ROS=wheels",
    )


def base_python() -> str:
    """Return the interpreter behind this one, where this one belongs to a virtual environment."""
    return getattr(sys, "_base_executable", None) or sys.executable


# ---------------------------------------------------------------------------------- the set-up


class Setup:
    """The stages, in order, and what each was made from."""

    def __init__(self, venv: Path, ros: dict[str, str] | None) -> None:
        self.venv = venv
        self.ros = ros
        self.python = venv / "bin" / "python"
        self.state_file = venv / STATE_NAME
        self.report = Report()
        name = f"python{python_version()}"
        self.site = venv / "lib" / name / "site-packages"
        self.env = without_ros(dict(os.environ))
        if ros:
            self.env.update(ros)
        self.env["VIRTUAL_ENV"] = str(venv)
        self.env["PATH"] = os.pathsep.join([str(venv / "bin"), os.environ.get("PATH", "")])
        self.env["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
        self.env["PYTHONUNBUFFERED"] = "1"
        self.state: dict[str, str] = {}
        self.keys = self._keys()

    def _keys(self) -> dict[str, str]:
        """Say what each stage is made from; a stage is due when its key differs from the noted."""
        requirements = ROOT / "requirements"
        ros = json.dumps(self.ros, sort_keys=True)
        where = digest(str(self.venv), sys.version, os.path.realpath(base_python()), ros)
        packages = digest(where, requirements)
        start_up = digest(where, START_UP_MODULE)
        wheels = digest(where, requirements / "ros.txt", requirements / "colcon.txt")
        return {
            "environment": where,
            "packages": packages,
            "start-up": start_up,
            "messages": digest(wheels, ROOT / "emf_ros_msgs"),
            "emf_ros": digest(
                where,
                *(ROOT / f for f in ("setup.py", "setup.cfg", "package.xml", "resource")),
            ),
            "weights": digest(
                ROOT / "emf_ros" / "downloads", ROOT / "emf_ros" / "detect", cache_setting()
            ),
        }

    # -- bookkeeping

    def load(self) -> None:
        """Read what earlier runs finished; an unreadable note counts as none."""
        try:
            noted = json.loads(self.state_file.read_text(encoding="utf-8"))
            self.state = {str(k): str(v) for k, v in noted.items()}
        except (OSError, ValueError, AttributeError):
            self.state = {}

    def due(self, stage: str) -> bool:
        return self.state.get(stage) != self.keys[stage]

    def done(self, stage: str) -> None:
        """Note a finished stage, in one step: an interrupted write leaves the old note."""
        self.state[stage] = self.keys[stage]
        temporary = self.state_file.with_suffix(".tmp")
        temporary.write_text(json.dumps(self.state, indent=1) + "\n", encoding="utf-8")
        temporary.replace(self.state_file)

    def forget(self, *stages: str) -> None:
        """Mark stages as not done before touching what they made."""
        for stage in stages:
            self.state.pop(stage, None)
        if self.state_file.exists():
            self.state_file.write_text(json.dumps(self.state) + "\n", encoding="utf-8")

    # -- the stages

    def everything(self) -> None:
        """Bring the environment up to date."""
        self.load()
        if not self.python.exists():
            self.state = {}
        weights_missing = not self.weights_present()
        if not any(self.due(stage) for stage in self.keys) and not weights_missing:
            return
        self.check_machine()
        if self.due("environment"):
            with self.report.stage("virtual environment"):
                self.make_environment()
                self.done("environment")
        if self.due("packages"):
            with self.report.stage(f"Python packages, {self.ros_title()}"):
                self.forget("packages")
                self.install_packages()
                self.done("packages")
        if self.due("start-up"):
            self.write_start_up()
            self.done("start-up")
        if self.due("messages"):
            with self.report.stage("messages (emf_ros_msgs)"):
                self.forget("messages")
                self.build_messages()
                self.done("messages")
        if self.due("emf_ros"):
            with self.report.stage("emf_ros itself, editable"):
                self.install_ourselves()
                self.done("emf_ros")
        if self.due("weights") or weights_missing:
            with self.report.stage("BlazePose's weights"):
                self.fetch_weights()
                self.done("weights")

    def ros_title(self) -> str:
        return f"ROS 2 {self.ros['ROS_DISTRO']} as sourced" if self.ros else "ROS 2 from PyPI"

    def check_machine(self) -> None:
        """Find what is missing before minutes are spent."""
        for spot in (self.venv, ROOT):
            if re.search(r"[\s:;$\"'\\]", str(spot)):
                raise SetupError(
                    f"The path {spot!s} holds a space or one of : ; $ \" ' \\",
                    "ROS's build tools and search paths cannot deal with that: move the folder.",
                )
        if self.due("messages"):
            if not (shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")) or not (
                shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
            ):
                raise SetupError(
                    "There is no C and C++ compiler: the messages cannot be built.",
                    "Ubuntu, Debian: sudo apt install build-essential",
                )
            if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
                raise SetupError("The messages cannot be built.", headers_advice())
            if self.ros and not shutil.which("cmake"):
                raise SetupError(
                    "There is no cmake: the messages cannot be built.",
                    "Ubuntu, Debian: sudo apt install cmake",
                )
            if self.ros and not (shutil.which("make") or shutil.which("ninja")):
                raise SetupError(
                    "There is neither make nor ninja: the messages cannot be built.",
                    "Ubuntu, Debian: sudo apt install build-essential",
                )
        if self.due("environment") or self.due("packages"):
            folder = self.venv if self.venv.exists() else self.venv.parent
            free = shutil.disk_usage(folder).free / 1e9
            has_torch = (self.site / "torch").exists()
            if free < (1.0 if has_torch else NEEDED_GB):
                raise SetupError(
                    f"There is too little space in {folder}: {free:.1f} GB free.",
                    f"{NEEDED_GB:.0f} GB are needed with a CPU build of torch, "
                    f"{NEEDED_CUDA_GB:.0f} GB with a CUDA build (PyPI's on x86-64).",
                    "Free some, or put the environment elsewhere: make env VENV=/other/disk/venv",
                )
            if free < NEEDED_CUDA_GB and not has_torch:
                print(
                    f"note: {free:.1f} GB free. That serves a CPU build of torch; a CUDA build "
                    f"(PyPI's on x86-64) wants {NEEDED_CUDA_GB:.0f} GB."
                )

    def make_environment(self) -> None:
        """Make the virtual environment, anew when the one there is of another kind."""
        if self.venv.exists() and any(self.venv.iterdir()):
            if not (self.venv / "pyvenv.cfg").exists() and not self.state_file.exists():
                if set(os.listdir(self.venv)) - {"bin", "lib", "lib64", "include"}:
                    raise SetupError(
                        f"{self.venv} exists and is no virtual environment.",
                        "Move it away, or name another folder: make env VENV=.venv-emf",
                    )
            if not self.is_reusable():
                log_text(f"{self.venv} is of another Python or ROS: making it anew")
                print(" (the old one was of another Python or ROS: made anew)", end="")
                shutil.rmtree(self.venv)
        self.state = {}
        command = [base_python(), "-m", "venv", str(self.venv)]
        if self.ros:
            # ROS's Python modules are the system's: yaml, numpy and others come from there.
            command.insert(3, "--system-site-packages")
        name = python_version()
        try:
            import ensurepip  # noqa: F401
            import venv  # noqa: F401
        except ImportError as error:
            raise SetupError(
                f"This Python cannot make virtual environments ({error.name} is missing).",
                f"Ubuntu, Debian: sudo apt install python{name}-venv",
            ) from error
        run(
            command,
            self.env,
            f"The virtual environment {self.venv} could not be made.",
            f"Ubuntu, Debian: sudo apt install python{name}-venv. Else remove {self.venv} "
            "and try again.",
        )

    def is_reusable(self) -> bool:
        """Tell whether an environment is of this Python, this kind of ROS and this place."""
        try:
            text = (self.venv / "pyvenv.cfg").read_text(encoding="utf-8")
            site = re.search(r"include-system-site-packages\s*=\s*(\w+)", text)
            probe = "import sys; print(sys.version_info[:3], sys.prefix)"
            answer = subprocess.run(
                [self.python, "-I", "-c", probe], env=self.env, capture_output=True, text=True
            ).stdout.strip()
        except OSError:
            return False
        same_kind = site is not None and (site.group(1) == "true") == bool(self.ros)
        return same_kind and answer == f"{tuple(sys.version_info[:3])} {self.venv}"

    def install_packages(self) -> None:
        """Install the pinned packages in one go, so that pip sees all demands together."""
        wanted = ["core.txt", "train.txt", "mediapipe.txt", "dev.txt"]
        if not self.ros:
            wanted.append("ros.txt")
        elif subprocess.run(
            [self.python, "-c", "import colcon_core, colcon_ros, colcon_cmake"],
            env=self.env,
            capture_output=True,
        ).returncode:
            wanted.append("colcon.txt")
        command = [str(self.python), "-m", "pip", "install", "--no-input", "--progress-bar", "off"]
        for name in wanted:
            command += ["-r", str(ROOT / "requirements" / name)]
        run(
            command,
            self.env,
            "The Python packages could not be installed.",
            "Run make env again; it goes on where it stopped.",
        )
        if not self.ros:
            self.rewrite_exports()

    def rewrite_exports(self) -> None:
        """Make the ROS wheels' CMake files name this environment's headers.

        They name the Python and numpy of the machine that built the wheels, which is not here.
        """
        numpy = self.site / "numpy"
        include = next((p for p in (numpy / "_core", numpy / "core") if p.is_dir()), numpy)
        builder = rb"/opt/python/cp\d+-cp\d+"
        replacements = (
            (
                builder + rb"/lib/python3\.\d+/site-packages/numpy/\w+/include",
                str(include / "include"),
            ),
            (builder + rb"/include/python3\.\d+", sysconfig.get_path("include")),
            (builder + rb"(?=[;:\s\"/]|$)", str(self.venv)),
        )
        for folder in (self.venv / "share", self.venv / "lib" / "cmake"):
            for file in folder.rglob("*"):
                if not file.is_file() or file.is_symlink():
                    continue
                old = file.read_bytes()
                if b"/opt/python/cp" not in old:
                    continue
                new = old
                for pattern, text in replacements:
                    new = re.sub(pattern, text.encode().replace(b"\\", b"\\\\"), new)
                file.write_bytes(new)

    def write_start_up(self) -> None:
        """Write the module that lets the environment's Python find ROS without sourcing."""
        paths = {"AMENT_PREFIX_PATH": [str(self.venv)], "LD_LIBRARY_PATH": [str(self.venv / "lib")]}
        names = {}
        if self.ros:
            for variable in ("AMENT_PREFIX_PATH", "LD_LIBRARY_PATH", "PYTHONPATH"):
                ours = paths.setdefault(variable, [])
                theirs = self.ros.get(variable, "").split(os.pathsep)
                ours.extend(part for part in theirs if part and part not in ours)
            names = {name: self.ros[name] for name in ROS_NAMES if name in self.ros}
        text = START_UP_MODULE.replace("@PATHS@", repr(paths)).replace("@NAMES@", repr(names))
        text = text.replace("@RESTART@", repr(bool(self.ros)))
        (self.site / "_emf_ros_env.py").write_text(text, encoding="utf-8")
        # .pth files run in the order of their names: ours before the wheels' own (ros_wheels...).
        (self.site / "emf_ros_env.pth").write_text("import _emf_ros_env\n", encoding="utf-8")

    def build_messages(self) -> None:
        """Build emf_ros_msgs with colcon and install it into the environment's own prefix.

        There the loader, Python and the ament index find it where they find the wheels' messages.
        What an earlier build left is removed first: a message that was renamed must not linger.
        """
        name = "emf_ros_msgs"
        work = self.venv / "emf_ros_build"
        leftovers = [work, self.site / name, self.venv / "share" / name]
        leftovers += [self.venv / "include" / name, *self.site.glob(f"{name}-*.egg-info")]
        for path in leftovers:
            shutil.rmtree(path, ignore_errors=True)
        for library in (self.venv / "lib").glob(f"lib{name}__*"):
            library.unlink()
        for entry in (self.venv / "share" / "ament_index").rglob(name):
            entry.unlink()

        env = dict(self.env)
        for variable in ("AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH"):
            others = [part for part in env.get(variable, "").split(os.pathsep) if part]
            env[variable] = os.pathsep.join([str(self.venv), *others])
        command = [str(self.python), "-m", "colcon", "--log-base", str(work / "log"), "build"]
        command += ["--merge-install", "--install-base", str(self.venv)]
        command += ["--build-base", str(work), "--base-paths", str(ROOT / name)]
        command += ["--packages-select", name, "--event-handlers", "console_direct+"]
        command += ["--cmake-args", "-DBUILD_TESTING=OFF", "--no-warn-unused-cli"]
        command += [f"-DPython3_EXECUTABLE={self.python}", f"-DPYTHON_EXECUTABLE={self.python}"]
        # Debian's Python would choose dist-packages, which a virtual environment does not search.
        command += [f"-DPYTHON_INSTALL_DIR={self.site.relative_to(self.venv)}"]
        if not self.ros or shutil.which("ninja"):
            command += ["-G", "Ninja"]
        run(
            command,
            env,
            "The messages (emf_ros_msgs) could not be built.",
            "The last lines of the log say why; after a change of ROS remove the environment: "
            f"rm -r {self.venv}",
        )
        run(
            [str(self.python), "-c", "import rclpy; from emf_ros_msgs.msg import Skeleton3DArray"],
            self.env,
            "The messages were built but cannot be imported.",
            f"Remove the environment and set it up anew: rm -r {self.venv}",
        )

    def install_ourselves(self) -> None:
        """Install emf_ros editable, and let the ament index and share/ lead to this checkout."""
        command = [str(self.python), "-m", "pip", "install", "--no-deps", "--no-build-isolation"]
        command += ["--no-input", "-e", str(ROOT)]
        run(command, self.env, "emf_ros itself could not be installed.", "See the log.")
        share = self.venv / "share" / "emf_ros"
        if share.is_symlink() or share.is_file():
            share.unlink()
        shutil.rmtree(share, ignore_errors=True)
        share.mkdir(parents=True)
        for name in ("launch", "config", "models", "package.xml"):
            # A link may dangle: a folder that appears later is found without a new set-up.
            (share / name).symlink_to(ROOT / name)
        index = self.venv / "share" / "ament_index" / "resource_index" / "packages"
        index.mkdir(parents=True, exist_ok=True)
        (index / "emf_ros").touch()
        # `ros2 run` and launch files look for programs in lib/<package>.
        programs = self.venv / "lib" / "emf_ros"
        programs.mkdir(exist_ok=True)
        listing = (ROOT / "setup.py").read_text(encoding="utf-8")
        for program in re.findall(r'"([\w-]+) = emf_ros\.nodes', listing):
            link = programs / program
            link.unlink(missing_ok=True)
            link.symlink_to(self.venv / "bin" / program)

    def weights_present(self) -> bool:
        """Tell quickly whether the weights are still in the cache: their hashes are checked later,
        each time they are used."""
        noted = self.state.get("weights files")
        if not noted:
            return False
        return all(Path(name).exists() for name in json.loads(noted))

    def fetch_weights(self) -> None:
        """Let the module that knows them fetch them, under the environment's Python."""
        log_text("\n$ python -m emf_ros.downloads --demo-video")
        done = subprocess.run(
            [str(self.python), "-m", "emf_ros.downloads", "--demo-video"],
            cwd=ROOT,
            env=self.env,
            capture_output=True,
            text=True,
        )
        log_text(done.stdout + done.stderr)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if not line.startswith("fetching")]
            first, *rest = lines or ["no reason was given"]
            raise SetupError(f"BlazePose's weights could not be had: {first}", *rest[-4:])
        files = [line for line in done.stdout.splitlines() if line.startswith("/")]
        self.state["weights files"] = json.dumps(files)


def cache_setting() -> str:
    """Name what decides where the weights go, as emf_ros/io/paths.py reads it."""
    return str([os.environ.get(name) for name in ("EMF_ROS_CACHE", "XDG_CACHE_HOME", "HOME")])


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Keep a second set-up of this checkout waiting: make -j or two shells may start two."""
    with (LOG.parent / "setup_env.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("emf_ros set-up: another one is under way, waiting for it ...", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        held_locks.append(lock.fileno())
        try:
            yield
        finally:
            held_locks.clear()


def main(arguments: list[str] | None = None) -> int:
    """Set up, or say in one block why it could not be done."""
    parser = argparse.ArgumentParser(description="Set up emf_ros's environment (make env).")
    parser.add_argument("--venv", default=".venv", help="where the environment goes")
    parser.add_argument(
        "--ros",
        choices=("auto", "wheels", "sourced"),
        default="auto",
        help="use the sourced ROS 2, the wheels on PyPI, or the former if there is one (auto)",
    )
    options = parser.parse_args(arguments)
    started = time.monotonic()
    setup: Setup | None = None

    def attempt() -> None:
        nonlocal setup
        if not SUPPORTED[0] <= sys.version_info[:2] <= SUPPORTED[1]:
            raise SetupError(
                f"Python {python_version()} is not supported ({sys.executable}).",
                "Name one of 3.10, 3.11, 3.12 and 3.13: make env PYTHON=python3.12",
            )
        if not sys.platform.startswith("linux"):
            raise SetupError("Only Linux is supported: the ROS 2 packages used are built for it.")
        LOG.parent.mkdir(exist_ok=True)
        with alone():
            venv = Path(os.path.abspath(ROOT / Path(options.venv).expanduser()))
            LOG.write_text(f"emf_ros set-up, {time.ctime()}, {sys.version}\n", encoding="utf-8")
            setup = Setup(venv, find_sourced_ros(options.ros, venv))
            setup.everything()

    code = guarded(attempt)
    if code == 0 and setup is not None:
        if setup.report.did_something:
            print(f"ready in {time.monotonic() - started:.0f} s: {setup.venv}/bin/python")
        else:
            print(f"up to date: {setup.venv}")
    return code


def guarded(action: Callable[[], None]) -> int:
    """Run the action; print what stopped it as one short block."""
    try:
        action()
        return 0
    except SetupError as error:
        problem, remedies = str(error), list(error.remedies)
    except KeyboardInterrupt:
        problem, remedies = "Interrupted.", ["Run make env again; it goes on where it stopped."]
    except OSError as error:
        problem = f"{error.strerror or error}: {error.filename or ROOT}"
        full = error.errno == 28
        remedies = [f"Free {NEEDED_GB:.0f} GB." if full else "Check the permissions there."]
    if LOG.exists():
        remedies.append(f"Full output: {LOG}")
    print(f"\nemf_ros set-up stopped: {problem}", file=sys.stderr)
    for line in remedies:
        print(f"  {line}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
