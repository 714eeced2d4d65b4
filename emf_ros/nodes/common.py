"""What all nodes share: typed parameters, counted refusals, diagnostics, running."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
)
from rclpy.callback_groups import CallbackGroup
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSProfile,
    ReliabilityPolicy,
    qos_policy_name_from_kind,
)
from rclpy.subscription import Subscription

from ..io.paths import share_folder
from ..stamps import StampFilter, StampVerdict
from .params import NodeParams, ParamError, ParamSpec

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


def _descriptor(spec: ParamSpec) -> ParameterDescriptor:
    """What `ros2 param describe` shows of a parameter."""
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
    """A node with typed parameters, which counts what it refuses.

    Args:
        kind: dataclass of the node's parameters.

    Attributes:
        params: values of the parameters, read at start.
        counts: refused input, by reason.

    Raises:
        NodeError: a parameter is unknown or its value is refused; the message names it.
    """

    def __init__(self, kind: type[P], **kwargs: Any) -> None:
        super().__init__(kind.node, **kwargs)
        self.counts: Counter[str] = Counter()
        self._logged: dict[str, float] = {}
        self._said: set[str] = set()
        self.params = self._declare(kind)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", RELIABLE_QOS)
        self._diagnostics_timer = self.create_timer(1.0, self._publish_diagnostics)

    def _declare(self, kind: type[P]) -> P:
        """Declare the parameters, and take their values."""
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
