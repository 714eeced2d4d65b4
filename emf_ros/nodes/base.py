"""The base of all nodes: typed parameters, counted reasons, the log, diagnostics."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Generic, TypeVar

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.parameter import Parameter

from ..io.one_line import one_line
from ..reasons import Reason
from .counted_log import CountedLog
from .diagnostics import Level, Task, diagnostics_msg
from .input_watch import NO_PUBLISHER_S, InputWatch, PublisherId
from .life_cycle import ManagedNode, NodeError
from .param_specs import NodeParams, ParamError, ParamSpec
from .qos import RELIABLE_QOS

__all__ = ["BaseNode", "NodeError"]

#: Minimum time between two warnings of one kind, s.
WARNING_PERIOD_S = 5.0

#: Maximum number of different warnings that are said once.
MAX_WARNINGS = 1000

#: Beginnings of the name that a middleware gives to the node of a publisher while it is not known.
UNKNOWN_NODES = ("_NODE_NAME_UNKNOWN_", "_CREATED_BY_BARE_DDS_APP_")

#: Number of bytes at the beginning of a publisher's id that all publishers of a process share.
PROCESS_BYTES = 12

#: What to do about a parameter that a configured node does not change.
NOT_LIVE = "set it in the params file; needs a restart (or cleanup + configure)"


def _descriptor(spec: ParamSpec) -> ParameterDescriptor:
    """The descriptor of a parameter, as `ros2 param describe` shows it."""
    when = "" if spec.live else f"not while the node is configured: {NOT_LIVE}"
    descriptor = ParameterDescriptor(
        description=spec.text,
        additional_constraints="; ".join(text for text in (spec.allowed, when) if text),
    )
    # rclpy takes one type or any; `ParamSpec.check` is stricter than any.
    descriptor.dynamic_typing = bool(spec.words or spec.whole_numbers)
    if descriptor.dynamic_typing or spec.is_list or spec.low is None or spec.high is None:
        return descriptor
    if spec.kind is int:
        whole = IntegerRange(from_value=int(spec.low), to_value=int(spec.high), step=0)
        descriptor.integer_range = [whole]
    else:
        real = FloatingPointRange(from_value=spec.low, to_value=spec.high, step=0.0)
        descriptor.floating_point_range = [real]
    return descriptor


P = TypeVar("P", bound=NodeParams)


class BaseNode(ManagedNode, CountedLog, Generic[P]):
    """A managed node with typed parameters, counters, a throttled log and diagnostics.

    Args:
        kind: dataclass of the parameters.

    Attributes:
        params: values of the parameters. Those that are not live are read by `configure`.
        counts: number of events by reason. Only grows.
        exit_code: of the process, where a node ends it.

    Raises:
        NodeError: a parameter is unknown or its value is refused; the message names it.
    """

    def __init__(self, kind: type[P], **kwargs: Any) -> None:
        CountedLog.__init__(self)
        self.exit_code = 0
        # When /clock was there, or not needed, monotonic, s.
        self._clock_s = time.monotonic()
        self._warned_at_s: dict[str, float] = {}
        self._warned: set[str] = set()
        self._specs = kind.specs()
        ManagedNode.__init__(self, kind.node, **kwargs)
        self.params = self._declare(kind)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", RELIABLE_QOS)
        self.create_timer(1.0, self._publish_diagnostics, clock=self._steady)

    # ------------------------------------------------------------------ parameters

    def _declare(self, kind: type[P]) -> P:
        """Declare the parameters, and read their values."""
        values = {}
        for name, spec in self._specs.items():
            default = list(spec.default) if spec.is_list else spec.default
            try:
                value = self.declare_parameter(name, default, _descriptor(spec)).value
            except (InvalidParameterTypeException, InvalidParameterValueException) as error:
                raise NodeError(f"parameter '{name}' is refused: {error}") from None
            try:
                values[name] = spec.check(value)
            except ParamError as error:
                raise NodeError(f"parameter '{name}' is {value!r}; {error}") from None
        # rclpy ignores parameters that no node declares; a mistyped name must not pass.
        given = getattr(self, "_parameter_overrides", {})
        try:
            kind.refuse_unknown(
                name
                for name in given
                if not self.has_parameter(name) and not name.startswith("qos_overrides.")
            )
        except ParamError as error:
            raise NodeError(str(error)) from None
        return kind(**values)

    def _on_set_parameters(self, parameters: Iterable[Parameter]) -> SetParametersResult:
        """Take or refuse parameters that are set while the node runs."""
        changed: dict[str, Any] = {}
        for parameter in parameters:
            spec = self._specs.get(parameter.name)
            if spec is None:  # one of rclpy's
                continue
            try:
                value = spec.check(parameter.value)
            except ParamError as error:
                return _refused(f"parameter '{spec.name}' is {parameter.value!r}; {error}")
            if value == getattr(self.params, spec.name):
                continue
            if self.configured and not spec.live:
                return _refused(f"parameter '{spec.name}' does not change live: {NOT_LIVE}")
            changed[spec.name] = value
        if changed:
            before, self.params = self.params, replace(self.params, **changed)
            try:
                if self.configured:
                    self.apply(changed)
            except NodeError as error:
                self.params = before
                return _refused(str(error))
        return SetParametersResult(successful=True)

    def apply(self, changed: Mapping[str, Any]) -> None:
        """Use changed values of live parameters; `params` has them already.

        Args:
            changed: values by name.

        Raises:
            NodeError: they do not fit the others; nothing has changed.
        """

    # ------------------------------------------------------------------ reasons and log

    def refuse_message(self, reason: Reason, detail: str) -> None:
        self.refuse(reason, detail)

    def refuse_qos(self, topic: str, policy: str, remedy: str) -> None:
        self.refuse(
            Reason.INCOMPATIBLE_QOS,
            f"no messages pass on {self.resolve_topic_name(topic)}: its QoS does not match "
            f"({policy}); {remedy}",
        )

    def warn_once(self, key: str, text: str) -> None:
        # Keys hold names of others, such as those of frames.
        if key not in self._warned and len(self._warned) < MAX_WARNINGS:
            self._warned.add(key)
            self.get_logger().warning(one_line(text))

    def warn_throttled(self, key: str, text: str) -> None:
        now = time.monotonic()
        if now - self._warned_at_s.get(key, -WARNING_PERIOD_S) >= WARNING_PERIOD_S:
            self._warned_at_s[key] = now
            self.get_logger().warning(one_line(text))

    @property
    def shutting_down(self) -> bool:
        """Whether ROS has been shut down. A worker's errors then mean nothing."""
        return not self.context.ok()

    # ------------------------------------------------------------------ diagnostics

    def diagnose(self) -> list[Task]:
        """The tasks of the active node, the most important first; nodes override it."""
        return []

    def watch(self, topic: str, content: str, remedy: str) -> InputWatch:
        """Watch a topic that this node needs.

        Args:
            topic: as it is subscribed to.
            content: what its messages hold, such as "images".
            remedy: what to do where it has no publisher.
        """
        full = self.resolve_topic_name(topic)

        def warn(text: str) -> None:
            self.get_logger().warning(text)

        return InputWatch(full, content, remedy, lambda: self._publishers_of(full), warn)

    def _publishers_of(self, topic: str) -> list[PublisherId]:
        return [
            PublisherId(
                ""
                if found.node_name.startswith(UNKNOWN_NODES)
                else f"{found.node_namespace.rstrip('/')}/{found.node_name}",
                bytes(found.endpoint_gid[:PROCESS_BYTES]),
            )
            for found in self.get_publishers_info_by_topic(topic)
        ]

    def _publish_diagnostics(self) -> None:
        tasks = [*(self.diagnose() if self.active else []), self._own_task()]
        now = self.get_clock().now().to_msg()
        self._diagnostics.publish(diagnostics_msg(self.get_fully_qualified_name(), tasks, now))

    def _own_task(self) -> Task:
        """The state of the life cycle, the clock, and all that is counted of no camera."""
        task = Task("node", text=self.state, values={"state": self.state}, counts=self.counts)
        if not self.configured and self.failure:
            task.worsen(Level.ERROR, f"{self.state}: {self.failure}")
        if self._lacks_clock():
            text = (
                "use_sim_time is true and nothing publishes /clock: time stands still; play the "
                "bag with --clock, start the simulator, or set use_sim_time to false"
            )
            task.worsen(Level.ERROR, text)
            if time.monotonic() - self._clock_s >= NO_PUBLISHER_S:
                self.warn_once("no clock", text)
        return task

    def _lacks_clock(self) -> bool:
        simulated = self.get_parameter("use_sim_time").value
        if not simulated or self.count_publishers("/clock"):
            self._clock_s = time.monotonic()
            return False
        return True


def _refused(reason: str) -> SetParametersResult:
    return SetParametersResult(successful=False, reason=reason)
