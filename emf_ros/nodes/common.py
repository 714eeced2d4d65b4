"""What all nodes share: parameters from a table, counted refusals, diagnostics, running."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.callback_groups import CallbackGroup
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.publisher import Publisher
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSProfile,
    ReliabilityPolicy,
    qos_policy_name_from_kind,
)
from rclpy.subscription import Subscription

from ..paths import share_folder
from ..stamps import StampFilter, StampVerdict

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # as it was called up to Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

#: For reading sensors: the newest counts, a lost one is not sent again.
SENSOR_QOS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=5, reliability=ReliabilityPolicy.BEST_EFFORT
)
#: For what we publish: readers of either kind can take it.
RELIABLE_QOS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=5, reliability=ReliabilityPolicy.RELIABLE
)
#: For what is said once and must reach those who come later.
LATCHED_QOS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)

#: For replaying in full: every message, in its order.
EVERY_QOS = QoSProfile(history=HistoryPolicy.KEEP_ALL, reliability=ReliabilityPolicy.RELIABLE)

#: For images: only the newest one, so that who has been busy does not get an old one.
IMAGE_QOS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.BEST_EFFORT
)

#: For a subscription whose publishers may well be of a kind that it can't hear.
SAY_NOTHING = SubscriptionEventCallbacks(use_default_callbacks=False)

_LOG_PERIOD_S = 5.0


class NodeError(RuntimeError):
    """A node that cannot start; the message says why and what to do."""


@dataclass(frozen=True)
class Param:
    """One parameter of a node.

    Attributes:
        name, default, description: as shown by `ros2 param describe`.
        low, high: inclusive range of a number.
        choices: the values that a string may have.
        words: that may stand in place of a number.
        whole_numbers: take a whole number in place of text too, as `source:=0` gives one.
        live: may be changed while the node runs.
    """

    name: str
    default: Any
    description: str
    low: float | None = None
    high: float | None = None
    choices: Sequence[str] = ()
    words: Sequence[str] = ()
    whole_numbers: bool = False
    live: bool = False

    def refusal(self, value: Any) -> str:
        """What is wrong with a value, for all that rclpy does not look at; empty: nothing."""
        if self.choices and value not in self.choices:
            return f"it must be one of {', '.join(self.choices)}"
        if self.whole_numbers and type(value) not in (str, int):
            return f"it must be text; quote it: {self.name}:='\"{value}\"'"
        # With words, rclpy is told to take any type.
        if self.words and value not in self.words:
            whole = isinstance(self.default, int)
            if type(value) is not int and (whole or type(value) is not float):
                kind = "a whole number" if whole else "a number"
                return f"it must be {kind} or {' or '.join(map(repr, self.words))}"
            # NaN is not in any range.
            if not (
                (self.low is None or value >= self.low)
                and (self.high is None or value <= self.high)
            ):
                return f"it must be in {self.low}..{self.high}"
        return ""

    def descriptor(self) -> ParameterDescriptor:
        described = ParameterDescriptor(description=self.description, read_only=not self.live)
        described.dynamic_typing = self.whole_numbers
        if self.words:
            described.dynamic_typing = True
            described.additional_constraints = (
                f"{self.low} to {self.high}, or one of: {', '.join(self.words)}"
            )
            return described
        if self.choices:
            described.additional_constraints = "one of: " + ", ".join(self.choices)
        if self.low is not None and self.high is not None:
            if isinstance(self.default, int):
                described.integer_range = [
                    IntegerRange(from_value=int(self.low), to_value=int(self.high), step=0)
                ]
            else:
                described.floating_point_range = [
                    FloatingPointRange(
                        from_value=float(self.low), to_value=float(self.high), step=0.0
                    )
                ]
        return described


class BaseNode(Node):
    """A node whose parameters stand in a table, and which counts what it refuses.

    Args:
        name: of the node.
        params: the table.

    Raises:
        NodeError: a parameter is unknown or its value is refused; the message names it.
    """

    def __init__(self, name: str, params: Sequence[Param], **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        self.counts: Counter[str] = Counter()
        self._logged: dict[str, float] = {}
        self._said: set[str] = set()
        self._params = {p.name: p for p in params}
        self._declare()
        self.add_on_set_parameters_callback(self._check_parameters)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", RELIABLE_QOS)
        self._diagnostics_timer = self.create_timer(1.0, self._publish_diagnostics)

    def _declare(self) -> None:
        for param in self._params.values():
            try:
                value = self.declare_parameter(param.name, param.default, param.descriptor()).value
            except (InvalidParameterTypeException, InvalidParameterValueException) as error:
                raise NodeError(f"parameter '{param.name}' is refused: {error}") from None
            refusal = param.refusal(value)
            if refusal:
                raise NodeError(f"parameter '{param.name}' is {value!r}; {refusal}")
        # rclpy drops overrides that nobody declares without a word; a mistyped name must not pass.
        given = getattr(self, "_parameter_overrides", {})
        unknown = [
            n for n in given if not self.has_parameter(n) and not n.startswith("qos_overrides.")
        ]
        if unknown:
            raise NodeError(
                f"unknown parameter '{unknown[0]}'; this node has: {', '.join(self._params)}"
            )

    def _check_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        for parameter in parameters:
            known = self._params.get(parameter.name)
            refusal = known.refusal(parameter.value) if known else ""
            if refusal:
                return SetParametersResult(
                    successful=False, reason=f"{parameter.name} is refused: {refusal}"
                )
        return SetParametersResult(successful=True)

    def value(self, name: str) -> Any:
        """A parameter's present value."""
        return self.get_parameter(name).value

    def publish_on(self, kind: type, topic: str, qos: QoSProfile) -> Publisher:
        """A publisher that says so when a subscriber asks for more than it offers."""
        return self.create_publisher(
            kind,
            topic,
            qos,
            event_callbacks=PublisherEventCallbacks(
                incompatible_qos=lambda event: self._incompatible(
                    event.last_policy_kind,
                    topic,
                    f"a subscriber asks for more than is offered; subscribe with {_spelled(qos)}",
                )
            ),
        )

    def listen_to(
        self, kind: type, topic: str, callback: Callable[[Any], None], qos: QoSProfile, **more: Any
    ) -> Subscription:
        """A subscription that says so when a publisher offers less than it asks for."""
        return self.create_subscription(
            kind,
            topic,
            callback,
            qos,
            event_callbacks=SubscriptionEventCallbacks(
                incompatible_qos=lambda event: self._incompatible(
                    event.last_policy_kind,
                    topic,
                    f"a publisher offers less than is asked for; publish with {_spelled(qos)}",
                )
            ),
            **more,
        )

    def _incompatible(self, policy: int, topic: str, remedy: str) -> None:
        name = qos_policy_name_from_kind(policy).lower()
        self.refuse(
            "incompatible_qos",
            f"no messages pass on {self.resolve_topic_name(topic)}: its QoS does not match "
            f"({name}); {remedy}",
        )

    def refuse(self, reason: str, detail: str) -> None:
        """Count something that was not used, and say so once in a while."""
        self.counts[reason] += 1
        self.say_now_and_then(reason, f"{detail} ({reason}: {self.counts[reason]} so far)")

    def refuse_stamp(self, verdict: StampVerdict, what: str, stamps: StampFilter) -> None:
        """Count something that was dropped for its stamp, and say so.

        Args:
            verdict: on the stamp; a refusal.
            what: was dropped, such as 'image', for the log.
            stamps: the filter that has judged.
        """
        self.counts[verdict.value] += 1
        self.say_of_stamp(verdict, what, stamps)

    def say_of_stamp(self, verdict: StampVerdict, what: str, stamps: StampFilter) -> None:
        """Log something that was dropped for its stamp, and counted."""
        if verdict is StampVerdict.ALL_EQUAL:
            self.say_once(f"{verdict.value} {what}", f"{what} refused: {stamps.trouble}")
        else:
            count = self.counts[verdict.value]
            self.say_now_and_then(
                verdict.value,
                f"{what} refused: {verdict.sentence} ({verdict.value}: {count} so far)",
            )

    def say_once(self, key: str, text: str) -> None:
        """A warning that is not repeated as long as the node runs."""
        if key not in self._said:
            self._said.add(key)
            self.get_logger().warning(text)

    def say_now_and_then(self, key: str, text: str) -> None:
        now = time.monotonic()
        if now - self._logged.get(key, -_LOG_PERIOD_S) >= _LOG_PERIOD_S:
            self._logged[key] = now
            self.get_logger().warning(text)

    @property
    def going_down(self) -> bool:
        """Whether ROS has been shut down: a worker's errors then mean nothing."""
        return not self.context.ok()

    def diagnose(self) -> tuple[bool, str, dict[str, str]]:
        """Whether all is well, one line, and values. Nodes override this."""
        return True, "running", {}

    def _publish_diagnostics(self) -> None:
        well, text, values = self.diagnose()
        status = DiagnosticStatus(
            level=DiagnosticStatus.OK if well else DiagnosticStatus.WARN,
            name=f"{self.get_fully_qualified_name().lstrip('/')}",
            message=text,
            hardware_id="emf_ros",
        )
        counts = dict(self.counts)  # a worker may be adding to it
        for key, value in {**values, **{k: str(v) for k, v in sorted(counts.items())}}.items():
            status.values.append(KeyValue(key=key, value=value))
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)


def _spelled(qos: QoSProfile) -> str:
    """A profile's two policies that others trip over, in the words of `ros2 topic`."""
    return (
        f"reliability {qos.reliability.name.lower()}, durability {qos.durability.name.lower()} "
        "and neither deadline nor lifespan"
    )


class WhenIdle(CallbackGroup):
    """Callbacks that are put off while a worker is busy, or no one wants what it makes.

    An image that will not be looked at is then never taken from the middleware, where a newer one
    replaces it: turning it into a Python message costs milliseconds a megapixel. The executor asks
    whenever it wakes, which a timer of `BaseNode` has it do every second.

    Args:
        wanted: whether there is anything to work for.
    """

    def __init__(self, wanted: Callable[[], bool]) -> None:
        super().__init__()
        self.wanted, self.busy = wanted, False

    def can_execute(self, entity: Any) -> bool:
        return not self.busy and self.wanted()

    def beginning_execution(self, entity: Any) -> bool:
        return self.can_execute(entity)

    def ending_execution(self, entity: Any) -> None:
        return None


class RateMeter:
    """Events a second, over the time since it was last asked."""

    def __init__(self) -> None:
        self._count, self._since = 0, time.monotonic()

    def tick(self) -> None:
        self._count += 1

    def read(self) -> float:
        now = time.monotonic()
        rate = self._count / max(now - self._since, 1e-6)
        self._count, self._since = 0, now
        return rate


def use_large_shared_memory() -> None:
    """Have Fast DDS carry whole images in shared memory; before `rclpy.init`. A profile that the
    user chose stays."""
    chosen = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
    profile = share_folder("config") / "fastdds.xml"
    if not any(os.environ.get(name) for name in chosen) and profile.is_file():
        # Its old name up to Humble, the new one since Jazzy; each knows its own.
        name = chosen[1] if os.environ.get("ROS_DISTRO") == "humble" else chosen[0]
        os.environ[name] = str(profile)


def run(build: Callable[[], Sequence[BaseNode]], args: list[str] | None = None) -> int:
    """Start rclpy, build nodes, spin them until told to stop; the process's exit code.

    Args:
        build: makes the nodes; a NodeError from it ends the process with its message.
        args: command line, as for `rclpy.init`.
    """
    use_large_shared_memory()
    rclpy.init(args=args)
    nodes: Sequence[BaseNode] = ()
    code = 0
    try:
        nodes = build()
        executor = SingleThreadedExecutor()
        for node in nodes:
            executor.add_node(node)
        executor.spin()
    except NodeError as error:
        print(f"emf_ros: {error}", file=sys.stderr, flush=True)
        code = 1
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except Exception:
        # Stopped while still starting: half a node finds its context gone, which is no fault.
        if rclpy.ok():
            raise
    finally:
        # Launch sends a second interrupt to a group it shares with us; cleaning up must not break.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for node in nodes:
            node.destroy_node()
        rclpy.try_shutdown()
    return code
