"""Checks of the ROS 2 environment, and of other ROS processes on this machine."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .result import Result, error, ok, warning

#: Largest domain id that every operating system allows.
MAX_SAFE_DOMAIN = 101

#: Largest domain id whose ports exist.
MAX_DOMAIN = 232


#: Implementations of the middleware, as RMW_IMPLEMENTATION names them.
MIDDLEWARES = (
    "rmw_connextdds",
    "rmw_cyclonedds_cpp",
    "rmw_fastrtps_cpp",
    "rmw_fastrtps_dynamic_cpp",
    "rmw_zenoh_cpp",
)


def environment(variables: Mapping[str, str] = os.environ) -> list[Result]:
    """The sourced ROS 2, and what its variables say.

    Args:
        variables: of the process.
    """
    return [*_sourced(variables), *_domain(variables), *_discovery(variables)]


def _sourced(variables: Mapping[str, str]) -> list[Result]:
    prefixes = variables.get("AMENT_PREFIX_PATH", "")
    distributions = sorted(set(re.findall(r"/opt/ros/(\w+)", prefixes)))
    named = variables.get("ROS_DISTRO", "")
    if len(distributions) > 1:
        return [
            error(
                "ROS 2",
                f"several distributions are sourced: {', '.join(distributions)}",
                "open a new terminal and source only one setup.bash",
            )
        ]
    if importlib.util.find_spec("rclpy") is None:
        if named or prefixes:
            return [
                error(
                    "ROS 2",
                    f"{named or prefixes} is sourced, but this Python does not find rclpy",
                    "run emf-ros with the Python of ROS, or make the virtual environment with "
                    "--system-site-packages",
                )
            ]
        return [ok("ROS 2", "not sourced: the tools and the Python API work, the nodes do not")]
    if importlib.util.find_spec("emf_ros_msgs") is None:
        return [
            error(
                "ROS 2",
                "the messages of emf_ros are not found",
                "run colcon build, then source install/setup.bash",
            )
        ]
    return [ok("ROS 2", named or "found (ROS_DISTRO is not set)")]


def _domain(variables: Mapping[str, str]) -> list[Result]:
    text = variables.get("ROS_DOMAIN_ID", "").strip() or "0"
    if not text.isdecimal() or int(text) > MAX_DOMAIN:
        return [
            error(
                "domain",
                f"ROS_DOMAIN_ID is {text!r}",
                f"export ROS_DOMAIN_ID=N, a whole number from 0 to {MAX_SAFE_DOMAIN}",
            )
        ]
    if int(text) > MAX_SAFE_DOMAIN:
        return [
            warning(
                "domain",
                f"ROS_DOMAIN_ID is {text}: its ports are those of outgoing connections",
                f"use one of 0 to {MAX_SAFE_DOMAIN}",
            )
        ]
    return [ok("domain", text)]


def _discovery(variables: Mapping[str, str]) -> list[Result]:
    reach = variables.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "").upper()
    results = []
    if reach == "OFF" and not variables.get("ROS_STATIC_PEERS"):
        results.append(
            error(
                "discovery",
                "ROS_AUTOMATIC_DISCOVERY_RANGE is OFF: no process hears another",
                "unset ROS_AUTOMATIC_DISCOVERY_RANGE, or set ROS_STATIC_PEERS",
            )
        )
    elif reach == "LOCALHOST" or variables.get("ROS_LOCALHOST_ONLY") == "1":
        results.append(ok("discovery", "this machine only; other machines are not heard"))
    if reach and variables.get("ROS_LOCALHOST_ONLY") == "1":
        results.append(
            warning(
                "discovery",
                "ROS_LOCALHOST_ONLY overrides ROS_AUTOMATIC_DISCOVERY_RANGE",
                "unset ROS_LOCALHOST_ONLY, which is deprecated",
            )
        )
    return results


@dataclass(frozen=True)
class RosProcess:
    """A process that has loaded a middleware of ROS 2.

    Attributes:
        pid: its number.
        name: of its program.
        rmw: the loaded implementation, such as rmw_fastrtps_cpp.
        domain: ROS_DOMAIN_ID at its start; "0" where it was not set.
    """

    pid: int
    name: str
    rmw: str
    domain: str


def ros_processes(folder: Path = Path("/proc")) -> Iterator[RosProcess]:
    """This user's other ROS processes; nothing on systems without such a folder.

    Args:
        folder: of the processes.
    """
    for process in folder.glob("[0-9]*"):
        if int(process.name) == os.getpid():
            continue
        try:
            # The process has loaded it: the variable alone says less.
            libraries = set(re.findall(r"lib(rmw_\w+)\.so", (process / "maps").read_text()))
            loaded = libraries & set(MIDDLEWARES)
            if len(loaded) != 1:
                continue
            name = (process / "comm").read_text().strip()
            set_at_start = (process / "environ").read_bytes().decode(errors="replace")
        except (OSError, UnicodeDecodeError):
            continue  # of another user, or it has ended
        domain = re.search(r"(?:^|\0)ROS_DOMAIN_ID=(\d*)", set_at_start)
        yield RosProcess(
            int(process.name), name, loaded.pop(), (domain[1] if domain else "") or "0"
        )


def other_processes(
    rmw: str, variables: Mapping[str, str] = os.environ, folder: Path = Path("/proc")
) -> list[Result]:
    """Other ROS processes on this machine that this shell's nodes would not hear.

    Args:
        rmw: middleware of this shell; empty where it is unknown.
        variables: of this shell.
        folder: of the processes.
    """
    domain = variables.get("ROS_DOMAIN_ID", "").strip() or "0"
    found = list(ros_processes(folder))
    results = []
    for other in sorted({p.domain for p in found if p.domain != domain}, key=int):
        names = _names([p for p in found if p.domain == other])
        results.append(
            warning(
                "domain",
                f"{names} run in domain {other}, this shell has {domain}: they hear nothing of "
                "each other",
                f"if they belong together: export ROS_DOMAIN_ID={other}",
            )
        )
    here = [p for p in found if p.domain == domain and rmw and p.rmw != rmw]
    for other in sorted({p.rmw for p in here}):
        names = _names([p for p in here if p.rmw == other])
        results.append(
            warning(
                "middleware",
                f"{names} use {other}, this shell has {rmw}: topics may not arrive, services fail",
                f"use one for all: export RMW_IMPLEMENTATION={other}",
            )
        )
    return results


def _names(processes: list[RosProcess]) -> str:
    shown = [f"{p.name} ({p.pid})" for p in processes[:3]]
    return ", ".join(shown) + (f" and {len(processes) - 3} others" if len(processes) > 3 else "")
