"""The actions of ROS's launch that start a plan, and what happens when a process ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from launch import LaunchContext, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, RegisterEventHandler, Shutdown
from launch.event_handlers import OnProcessExit
from launch.events.process import ProcessExited
from launch.logging import get_logger
from launch_ros.actions import Node

from .exit_codes import CANNOT_START
from .launch_arguments import (
    NODES,
    LaunchArgument,
    demo_arguments,
    ignored_arguments,
    lift_arguments,
)
from .launch_plan import Plan, Process, plan
from .param_specs import ParamError

#: Time after which an ended process is started again, s.
RESPAWN_DELAY_S = 1.0


def declare(arguments: Mapping[str, LaunchArgument]) -> list[LaunchDescriptionEntity]:
    """The declarations of launch arguments."""
    return [
        DeclareLaunchArgument(
            name,
            default_value=argument.default,
            description=argument.text,
            # An empty text is not given.
            choices=["", *argument.choices] if argument.choices else None,
        )
        for name, argument in arguments.items()
    ]


def start_lift(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The actions of lift.launch.py.

    Raises:
        ParamError: something cannot start; no process has been started.
    """
    given = dict(context.launch_configurations)
    for sentence in ignored_arguments(NODES, given.keys() - {"cameras", "source"}):
        get_logger("emf_ros").warning(sentence)
    return actions(plan(given))


def start_demo(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The actions of demo.launch.py.

    Raises:
        ParamError: something cannot start; no process has been started.
    """
    from ..downloads.cache import DownloadError
    from ..downloads.videos import ensure_demo_video

    given = dict(context.launch_configurations)
    for name in lift_arguments().keys() - demo_arguments().keys():
        if given.pop(name, ""):
            get_logger("emf_ros").warning(f"demo.launch.py has no argument {name}: it is ignored")
    try:
        given["source"] = given.get("video") or str(ensure_demo_video())
    except DownloadError as error:
        raise ParamError(" ".join(str(error).split())) from None
    return actions(plan(given, {"loop": True, "start_when_subscribed": True}))


def actions(planned: Plan) -> list[LaunchDescriptionEntity]:
    """The actions that start a plan.

    Raises:
        ParamError: RViz is wanted and not installed.
    """
    level = ["--log-level", planned.log_level] if planned.log_level else []
    if planned.rviz is not None:
        from ament_index_python.packages import PackageNotFoundError, get_package_prefix

        try:
            get_package_prefix("rviz2")
        except PackageNotFoundError:
            raise ParamError(
                "rviz:=true needs the package rviz2, which is not installed: "
                "sudo apt install ros-$ROS_DISTRO-rviz2"
            ) from None
    found: list[LaunchDescriptionEntity] = []
    for process in planned.processes:
        node = _node(process, level)
        watch = _Watch(process)
        found.append(RegisterEventHandler(OnProcessExit(target_action=node, on_exit=watch.ended)))
        found.append(node)
    if planned.rviz is not None:
        found.append(_node(planned.rviz, []))
    return found


def _node(process: Process, ros_arguments: list[str]) -> Node:
    return Node(
        package="emf_ros",
        executable=process.executable,
        namespace=process.namespace,
        parameters=process.parameters,
        remappings=process.remappings,
        arguments=process.options,
        ros_arguments=["--enclave", process.enclave, *ros_arguments],
        respawn=process.respawn,
        respawn_delay=RESPAWN_DELAY_S,
        output="screen",
    )


class _Watch:
    """Decides what the end of a process means."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._has_run = False

    def ended(self, event: ProcessExited, context: LaunchContext) -> Any:
        """End the launch, or let it start the process again."""
        if context.is_shutdown:
            return None
        cannot_start = event.returncode == CANNOT_START and not self._has_run
        self._has_run = True
        name = self._process.executable
        if cannot_start:
            raise RuntimeError(f"{name} cannot start: its line above says why")
        if self._process.respawn:
            return None
        if event.returncode == 0:
            return [Shutdown(reason=f"{name} has ended")]
        raise RuntimeError(f"{name} has failed with code {event.returncode}")
