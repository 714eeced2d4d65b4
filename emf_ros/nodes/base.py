"""The base of all nodes: typed parameters, counted reasons, the log, diagnostics."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
)
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, qos_policy_name_from_kind
from rclpy.subscription import Subscription

from ..reasons import Reason
from ..stamps import StampFilter
from .param_specs import NodeParams, ParamError, ParamSpec
from .qos import RELIABLE_QOS, policies_text

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # its name up to Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

#: Minimum time between two warnings of one kind, s.
WARNING_PERIOD_S = 5.0


class NodeError(RuntimeError):
    """A node cannot start. The message says the cause and the remedy."""


def _descriptor(spec: ParamSpec) -> ParameterDescriptor:
    """The descriptor of a parameter, as `ros2 param describe` shows it."""
    # Nodes read their parameters at start.
    descriptor = ParameterDescriptor(
        description=spec.text, additional_constraints=spec.allowed, read_only=True
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


class BaseNode(Node, Generic[P]):
    """A node with typed parameters, counters, a throttled log and diagnostics.

    Args:
        kind: dataclass of the parameters.

    Attributes:
        params: values of the parameters, read at start.
        counts: number of events by reason. Only grows.

    Raises:
        NodeError: a parameter is unknown or its value is refused; the message names it.
    """

    def __init__(self, kind: type[P], **kwargs: Any) -> None:
        super().__init__(kind.node, **kwargs)
        self.counts: Counter[Reason] = Counter()
        self._warned_at_s: dict[str, float] = {}
        self._warned: set[str] = set()
        self.params = self._declare(kind)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", RELIABLE_QOS)
        self._diagnostics_timer = self.create_timer(1.0, self._publish_diagnostics)

    def _declare(self, kind: type[P]) -> P:
        """Declare the parameters, and read their values."""
        values = {}
        for name, spec in kind.specs().items():
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

    def publish_on(self, kind: type, topic: str, qos: QoSProfile) -> Publisher:
        """A publisher that logs and counts subscribers with an incompatible QoS."""
        return self.create_publisher(
            kind,
            topic,
            qos,
            event_callbacks=PublisherEventCallbacks(
                incompatible_qos=lambda event: self._incompatible(
                    event.last_policy_kind,
                    topic,
                    "a subscriber requests more than this node offers; subscribe with "
                    + policies_text(qos),
                )
            ),
        )

    def listen_to(
        self, kind: type, topic: str, callback: Callable[[Any], None], qos: QoSProfile, **more: Any
    ) -> Subscription:
        """A subscription that logs and counts publishers with an incompatible QoS."""
        return self.create_subscription(
            kind,
            topic,
            callback,
            qos,
            event_callbacks=SubscriptionEventCallbacks(
                incompatible_qos=lambda event: self._incompatible(
                    event.last_policy_kind,
                    topic,
                    "a publisher offers less than this node requests; publish with "
                    + policies_text(qos),
                )
            ),
            **more,
        )

    def _incompatible(self, policy: int, topic: str, remedy: str) -> None:
        name = qos_policy_name_from_kind(policy).lower()
        self.refuse(
            Reason.INCOMPATIBLE_QOS,
            f"no messages pass on {self.resolve_topic_name(topic)}: its QoS does not match "
            f"({name}); {remedy}",
        )

    def refuse(self, reason: Reason, detail: str) -> None:
        """Count a reason, and log the detail at most every few seconds."""
        self.counts[reason] += 1
        self.log_counted(reason, detail)

    def log_counted(self, reason: Reason, detail: str) -> None:
        """Log a reason that was counted, at most every few seconds."""
        self.warn_throttled(reason, f"{detail} ({reason}: {self.counts[reason]} so far)")

    def log_refused_stamp(self, reason: Reason, topic: str, stamps: StampFilter) -> None:
        """Log that a message was dropped for its stamp, and counted.

        Args:
            reason: of the refusal.
            topic: of the message.
            stamps: the filter that has refused the stamp.
        """
        if reason is Reason.STAMPS_ALL_EQUAL:
            self.warn_once(f"{reason} {topic}", f"{topic} refused: {stamps.trouble}")
        else:
            self.log_counted(reason, f"{topic}: {reason.explanation.meaning}")

    def warn_once(self, key: str, text: str) -> None:
        """Log a warning once for each key."""
        if key not in self._warned:
            self._warned.add(key)
            self.get_logger().warning(text)

    def warn_throttled(self, key: str, text: str) -> None:
        """Log a warning at most every few seconds for each key."""
        now = time.monotonic()
        if now - self._warned_at_s.get(key, -WARNING_PERIOD_S) >= WARNING_PERIOD_S:
            self._warned_at_s[key] = now
            self.get_logger().warning(text)

    @property
    def shutting_down(self) -> bool:
        """Whether ROS has been shut down. A worker's errors then mean nothing."""
        return not self.context.ok()

    def diagnose(self) -> tuple[bool, str, dict[str, str]]:
        """State for the diagnostics; nodes override it.

        Returns:
            whether all is well, one line of text, and values by key.
        """
        return True, "running", {}

    def _publish_diagnostics(self) -> None:
        well, text, values = self.diagnose()
        status = DiagnosticStatus(
            level=DiagnosticStatus.OK if well else DiagnosticStatus.WARN,
            name=f"{self.get_fully_qualified_name().lstrip('/')}",
            message=text,
            hardware_id="emf_ros",
        )
        counts = dict(self.counts)  # a copy: a worker may count meanwhile
        values |= {reason.value: str(counts[reason]) for reason in sorted(counts)}
        status.values.extend(KeyValue(key=key, value=value) for key, value in values.items())
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)
