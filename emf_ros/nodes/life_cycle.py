"""The life cycle of a node: configured, active, inactive, cleaned up, and by whom."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Callable
from typing import Any

from lifecycle_msgs.msg import State
from rclpy.clock import Clock, ClockType
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, qos_policy_name_from_kind
from rclpy.subscription import Subscription
from std_srvs.srv import SetBool, Trigger

from ..reasons import Reason
from ..runtime.heap import give_back_freed_memory
from .missed_messages import MissedMessages
from .qos import (
    EVERY_BEST_EFFORT_QOS,
    EVERY_QOS,
    PublisherEventCallbacks,
    SubscriptionEventCallbacks,
    policies_text,
    requests_something,
)
from .taking import MAX_MESSAGE_BYTES, Taking


class NodeError(RuntimeError):
    """A node cannot start. The message says the cause and the remedy."""


class ManagedNode(LifecycleNode):
    """A lifecycle node whose work is in four hooks.

    | transition | hook |
    |---|---|
    | configure | `load`: models and publishers |
    | activate | `start`: subscriptions, timers and threads |
    | deactivate | `stop`: ends what `start` began |
    | cleanup | `unload`: frees what `load` took |

    The base removes the publishers, subscriptions and timers that a hook has made with
    `publish_on`, `listen_to` and `every`. `stop` and `unload` also follow a `start` or `load` that
    has failed. An error in a hook leads to the state unconfigured, and the log has the reason.

    Args:
        name: of the node.

    Attributes:
        active: whether the node is in the state active.
        configured: whether it is active or inactive.
        failure: reason of the last failed transition; empty before one.
    """

    def __init__(self, name: str, **kwargs: Any) -> None:
        self.active = self.configured = False
        self.failure = ""
        self._of_load: list[Publisher | Subscription] = []
        self._of_start: list[Any] = []
        self._starting = False
        # ROS time stands still while /clock is not published.
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        super().__init__(name, **kwargs)
        self._refuse_impossible_transitions()
        self.create_service(SetBool, "~/enable", self._on_enable)
        self.create_service(Trigger, "~/reset", self._on_reset)

    # ------------------------------------------------------------------ hooks

    def load(self) -> None:
        """Load what the parameters name, and create the publishers."""

    def start(self) -> None:
        """Subscribe, and begin to work."""

    def stop(self) -> None:
        """End the work. What is published here still reaches the subscribers."""

    def unload(self) -> None:
        """Free what `load` has loaded."""

    def reset(self) -> None:
        """Forget all people; only called while active."""
        self._stop()
        self._start()

    # ------------------------------------------------------------------ what hooks make

    def publish_on(self, kind: type, topic: str, qos: QoSProfile) -> Publisher:
        """A publisher that logs and counts subscribers with an incompatible QoS."""
        publisher: Publisher = self.create_publisher(
            kind,
            topic,
            qos,
            event_callbacks=PublisherEventCallbacks(
                incompatible_qos=lambda event: self.refuse_qos(
                    topic,
                    qos_policy_name_from_kind(event.last_policy_kind).lower(),
                    "a subscriber requests more than this node offers; subscribe with "
                    f"{policies_text(qos)}, and neither deadline nor lifespan",
                )
            ),
        )
        self._mine.append(publisher)
        return publisher

    def listen_to(
        self,
        kind: type,
        topic: str,
        callback: Callable[[Any], None],
        qos: QoSProfile,
        missed: MissedMessages | None = None,
        max_bytes: int | None = MAX_MESSAGE_BYTES,
        alone: bool = True,
        **more: Any,
    ) -> Subscription:
        """A subscription that hears publishers of either reliability, where it may.

        One with best effort does so by itself. With `EVERY_QOS` a second one follows when a
        publisher with best effort appears, such as a bag of a camera's images. Otherwise publishers
        with an incompatible QoS are logged and counted.

        Args:
            kind, topic, callback, qos: as of `create_subscription`.
            missed: counts the messages that the callback never gets.
            max_bytes: maximum size of a message; None of images, which have bounds of their own.
            alone: whether no other subscription hears the publishers that this one cannot hear.
            more: arguments of `create_subscription`.
        """
        heard: list[Subscription] = []

        taking = Taking(
            kind,
            topic,
            callback,
            max_bytes,
            missed,
            self.refuse_message,
            lambda: not self.context.ok(),
        )
        given = {"raw": taking.raw, **more}

        def hear_best_effort(event: Any) -> None:
            if not heard:
                heard.append(
                    self.create_subscription(
                        kind, topic, taking.callback, EVERY_BEST_EFFORT_QOS, **given
                    )
                )
                self._mine.append(heard[0])

        def refuse(event: Any) -> None:
            self.refuse_qos(
                topic,
                qos_policy_name_from_kind(event.last_policy_kind).lower(),
                "a publisher offers less than this node requests; publish with "
                + policies_text(qos),
            )

        act: Callable[[Any], None] | None = None
        if qos is EVERY_QOS:
            # Of the policies that must match, only the reliability can differ.
            act = hear_best_effort
        elif alone and requests_something(qos):
            act = refuse
        events = SubscriptionEventCallbacks(incompatible_qos=act, use_default_callbacks=False)
        subscription = self.create_subscription(
            kind, topic, taking.callback, qos, event_callbacks=events, **given
        )
        self._mine.append(subscription)
        return subscription

    def publish_for_now(self, kind: type, topic: str, qos: QoSProfile) -> Publisher:
        """A publisher that a worker's thread makes, and ends with `forget`.

        It has no events, which the executor would wait for while another thread destroys it. So an
        incompatible QoS is not logged.
        """
        events = PublisherEventCallbacks(use_default_callbacks=False)
        publisher: Publisher = self.create_publisher(kind, topic, qos, event_callbacks=events)
        self._mine.append(publisher)
        return publisher

    def forget(self, entity: Subscription | Publisher) -> None:
        """End a subscription of `listen_to`, or a publisher, before its time."""
        self._mine.remove(entity)
        self._destroy([entity])

    def every(self, period_s: float, callback: Callable[[], None]) -> Any:
        """A timer that runs while the node is active, by wall time."""
        timer = self.create_timer(period_s, callback, clock=self._steady)
        self._mine.append(timer)
        return timer

    def refuse_message(self, reason: Reason, detail: str) -> None:
        """Say and count that a message is not used."""
        raise NotImplementedError

    def refuse_qos(self, topic: str, policy: str, remedy: str) -> None:
        """Say and count that the QoS of another node does not match."""
        raise NotImplementedError

    @property
    def _mine(self) -> list[Any]:
        """What the hook at work makes, or the active node."""
        return self._of_start if self._starting or self.active else self._of_load

    def _destroy(self, entities: list[Any]) -> None:
        while entities:
            entity = entities.pop()
            if isinstance(entity, Publisher):
                self.destroy_publisher(entity)
            elif isinstance(entity, Subscription):
                self.destroy_subscription(entity)
            else:
                self.destroy_timer(entity)

    # ------------------------------------------------------------------ transitions

    @property
    def state(self) -> str:
        """The state: unconfigured, inactive, active, finalized, or one between."""
        return str(self._state_machine.current_state[1])

    def begin(self, autostart: bool) -> None:
        """Configure and activate, or wait for someone else to do so.

        Args:
            autostart: whether to begin now.

        Raises:
            NodeError: a transition has failed.
        """
        if not autostart:
            self.get_logger().info(
                "unconfigured, as autostart is false: "
                f"ros2 lifecycle set {self.get_fully_qualified_name()} configure"
            )
            return
        for transition in (self.trigger_configure, self.trigger_activate):
            if transition() != TransitionCallbackReturn.SUCCESS:
                raise NodeError(self.failure)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        if self._succeeds("configure", self._load):
            return TransitionCallbackReturn.SUCCESS
        self._succeeds("free what was loaded", self._unload)
        return TransitionCallbackReturn.FAILURE

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._result("activate", self._start)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._result("deactivate", self._rest)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._result("clean up", self._unload)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._result("shut down", self._end)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        # The failure that has led here is logged. The next one must not hide it.
        failure = self.failure
        self._succeeds("free all after an error", self._end)
        self.failure = failure
        return TransitionCallbackReturn.SUCCESS

    def _load(self) -> None:
        self.failure = ""
        self.load()
        self.configured = True
        # All that is loaded stays. The collector need not visit it again and again.
        gc.collect()
        gc.freeze()

    def _start(self) -> None:
        self._starting = True
        try:
            self.start()
            self.active = True
        finally:
            self._starting = False

    def _stop(self) -> None:
        try:
            self.stop()
        finally:
            self.active = False
            self._destroy(self._of_start)

    def _rest(self) -> None:
        """Stop for a while: others may need the memory."""
        self._stop()
        give_back_freed_memory()

    def _unload(self) -> None:
        try:
            self.unload()
        finally:
            self.configured = False
            self._destroy(self._of_load)
            if self.context.ok():
                # A model's memory is freed with its last reference, also where it is in a cycle.
                gc.unfreeze()
                gc.collect()
                give_back_freed_memory()

    def _end(self) -> None:
        """Deactivate and clean up, from any state."""
        try:
            self._stop()
        finally:
            self._unload()

    def _result(self, what: str, action: Callable[[], None]) -> TransitionCallbackReturn:
        if self._succeeds(what, action):
            return TransitionCallbackReturn.SUCCESS
        return TransitionCallbackReturn.ERROR

    def _succeeds(self, what: str, action: Callable[[], None]) -> bool:
        """Whether an action succeeds; the log says why not."""
        try:
            action()
        except Exception as error:
            self.failure = str(error) if isinstance(error, NodeError) else repr(error)
            if self.context.ok():
                self.get_logger().error(f"cannot {what}: {self.failure}")
                self.get_logger().debug(traceback.format_exc())
            return False
        return True

    def _refuse_impossible_transitions(self) -> None:
        """Answer a transition that the state does not have with a refusal.

        Up to Jazzy rclpy raises an error in the executor, which would end the process.
        """
        answer = self._service_change_state.callback

        def refuse(request: Any, response: Any) -> Any:
            try:
                return answer(request, response)
            except rclpy_implementation.RCLError as error:
                self.get_logger().error(f"no such transition now: {error}")
                response.success = False
                return response

        self._service_change_state.callback = refuse

    # ------------------------------------------------------------------ services

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        """Go to the state active, or from there to inactive."""
        state = self._state_machine.current_state[0]
        steps: dict[int, list[Callable[[], TransitionCallbackReturn]]] = {}
        if request.data:
            steps[State.PRIMARY_STATE_UNCONFIGURED] = [
                self.trigger_configure,
                self.trigger_activate,
            ]
            steps[State.PRIMARY_STATE_INACTIVE] = [self.trigger_activate]
        else:
            steps[State.PRIMARY_STATE_ACTIVE] = [self.trigger_deactivate]
        failed = any(step() != TransitionCallbackReturn.SUCCESS for step in steps.get(state, []))
        response.success = not failed and self.active == request.data
        response.message = self.failure if failed else self.state
        return response

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if not self.active:
            response.message = f"nothing to reset: the node is {self.state}"
            return response
        response.success = self._succeeds("reset", self.reset)
        response.message = "all tracks have ended" if response.success else self.failure
        return response

    def destroy_node(self) -> None:
        self._succeeds("end", self._end)
        super().destroy_node()
