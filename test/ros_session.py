"""This test session's side of the wire: its ROS domain, its node, and processes of real nodes."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

#: Time limit of conditions that only a broken node fails to meet, s; far above what a slow and busy
#: machine takes.
TIMEOUT_S = 150.0

#: Time after which a message is published again, s. Best effort loses what is published while the
#: other process gets no core for seconds.
REPEAT_S = 5.0


def claim_domain() -> tuple[int, Any]:
    """A domain id that no other test session on this machine holds, and the lock that says so."""
    for domain in range(1, 101):
        path = Path(tempfile.gettempdir()) / f"emf_ros_test_domain_{domain}.lock"
        try:
            lock = open(path, "a")  # noqa: SIM115 - held until the process ends
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return domain, lock
        except OSError:
            # Held by another session, or another user's file.
            continue
    raise pytest.UsageError("the ROS domain ids 1..100 are all in use by other test sessions")


def poll(condition: Callable[[], Any], timeout_s: float) -> Any:
    """The condition's first true value, or its last one when none comes in time."""
    end = time.monotonic() + timeout_s
    while not (value := condition()) and time.monotonic() < end:
        time.sleep(0.01)
    return value


def wait_for(condition: Callable[[], Any], what: str = "") -> Any:
    """The condition's first true value; fails the test when none comes in `TIMEOUT_S`."""
    value = poll(condition, TIMEOUT_S)
    if not value:
        pytest.fail(f"waited {TIMEOUT_S:g} s in vain{': ' if what else ''}{what}")
    return value


def stamp_ns(message: Any) -> int:
    """A message's header stamp, ns."""
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec


def points(messages: Any) -> np.ndarray:
    """(N, 3) of geometry_msgs/Point."""
    return np.array([(p.x, p.y, p.z) for p in messages], dtype=float).reshape(-1, 3)


class Collector:
    """Everything that arrives on a topic, in order.

    Attributes:
        topic: full name.
        messages: as they arrive.
        missed: number of messages that were replaced by newer ones or lost; 0 up to Humble.
    """

    def __init__(self, topic: str) -> None:
        from emf_ros.nodes.missed_messages import HAS_NUMBERS, MissedMessages

        self.topic = topic
        self.messages: list[Any] = []
        self.missed = 0
        self._watch = MissedMessages(self._miss)
        self.callback = self._take_numbered if HAS_NUMBERS else self.messages.append

    def _miss(self, count: int) -> None:
        self.missed += count

    def _take_numbered(self, message: Any, info: Any) -> None:
        self._watch.note(info)
        self.messages.append(message)

    def __len__(self) -> int:
        return len(self.messages)

    def of_stamp(self, nanoseconds: int) -> Any:
        """The message with this stamp, or None."""
        found = [m for m in self.messages if stamp_ns(m) == nanoseconds]
        return found[0] if found else None


class Ros:
    """This session's side of the wire: one node, spun in a thread.

    A message is lost unless its publisher has discovered the subscriber. What one side has
    discovered says nothing about the other: see `connect`.
    """

    def __init__(self) -> None:
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.signals import SignalHandlerOptions

        from emf_ros.runtime.shared_memory import use_large_shared_memory

        use_large_shared_memory()
        # Ctrl-C belongs to pytest.
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        self.node = rclpy.create_node("test_session")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        from rclpy.exceptions import InvalidHandle
        from rclpy.executors import ExternalShutdownException

        while True:
            try:
                self._executor.spin()
            except ExternalShutdownException:
                return
            except InvalidHandle:
                # A test has destroyed a publisher or subscription just while the executor collected
                # what it waits for. rclpy raises then; the next round does without the destroyed.
                continue
            return

    def close(self) -> None:
        import rclpy

        rclpy.try_shutdown()
        self._thread.join(timeout=TIMEOUT_S)
        self.node.destroy_node()

    def listen(self, kind: type, topic: str, latched: bool = False) -> Collector:
        """Collect a topic from now on, reliably."""
        from rclpy.qos import DurabilityPolicy, QoSProfile

        profile = QoSProfile(depth=1000)
        if latched:
            profile.durability = DurabilityPolicy.TRANSIENT_LOCAL
        collector = Collector(topic)
        collector.subscription = self.node.create_subscription(
            kind, topic, collector.callback, profile
        )
        return collector

    def unlisten(self, collector: Collector) -> None:
        self.node.destroy_subscription(collector.subscription)

    def publisher(self, kind: type, topic: str) -> Any:
        """A reliable publisher, which keeps a hundred messages for slow subscribers."""
        return self.node.create_publisher(kind, topic, 100)

    def call(self, kind: type, name: str, request: Any) -> Any:
        """A service's answer. The request is repeated until one comes."""
        client = self.node.create_client(kind, name)
        wait_for(client.service_is_ready, f"service {name}")
        futures: list[Any] = []

        def answered() -> Any:
            # An answer is lost where the service has not discovered the client's reader yet.
            futures.append(client.call_async(request))
            return poll(lambda: [f for f in futures if f.done()], 2.0)

        future = wait_for(answered, f"answer of {name}")[0]
        self.node.destroy_client(client)
        return future.result()

    def call_once(self, kind: type, name: str, request: Any) -> Any:
        """A service's answer to a request that must not be repeated.

        Args:
            kind, request: of the service.
            name: full name, of the form NODE/SERVICE.
        """
        client = self.node.create_client(kind, name)
        wait_for(client.service_is_ready, f"service {name}")
        # The node answers this client: it knows the one that was created before, too.
        self.connect(name.rpartition("/")[0])
        future = client.call_async(request)
        wait_for(future.done, f"answer of {name}")
        self.node.destroy_client(client)
        return future.result()

    def connect(self, node: str) -> None:
        """Wait until a node has discovered all that this session publishes and subscribes to.

        Discovery announces endpoints in the order of their creation. The node answers a client that
        is created now: it knows the client's endpoints, and so all that were created before.

        Args:
            node: full name.
        """
        from rcl_interfaces.srv import GetParameterTypes

        self.call(GetParameterTypes, f"{node}/get_parameter_types", GetParameterTypes.Request())

    def has_node(self, full_name: str) -> bool:
        names = self.node.get_node_names_and_namespaces()
        return full_name in [f"{space.rstrip('/')}/{name}" for name, space in names]


def change(ros: Any, node: str, transition: str) -> bool:
    """Ask a lifecycle node for a transition; whether it succeeded."""
    from lifecycle_msgs.msg import Transition
    from lifecycle_msgs.srv import ChangeState

    request = ChangeState.Request(transition=Transition(label=transition))
    return ros.call_once(ChangeState, f"{node}/change_state", request).success


class Summary:
    """The tasks of one node in one message: the worst level, and why.

    Attributes:
        tasks: status of each task, by its name.
        level: the worst.
        message: of the tasks that are not well; of the first task where all are.
        values: of all tasks; with several cameras as CAMERA.KEY.
        hardware: hardware_id of the first task.
    """

    def __init__(self, statuses: list[Any]) -> None:
        self.tasks = {status.name.split(": ", 1)[1]: status for status in statuses}
        self.level = max(status.level for status in statuses)
        bad = [status.message for status in statuses if status.level != b"\0"]
        self.message = "; ".join(bad) or statuses[0].message
        self.hardware = statuses[0].hardware_id
        self.values: list[Any] = []
        for name, status in self.tasks.items():
            camera = name.rpartition(" ")[0]
            for value in status.values:
                value.key = f"{camera}.{value.key}" if camera else value.key
                self.values.append(value)


class Diagnostics:
    """What one node says on /diagnostics."""

    def __init__(self, collector: Collector, node: str) -> None:
        self._collector, self._node = collector, node.lstrip("/")
        # By the id of the message, which the collector keeps.
        self._summaries: dict[int, Summary] = {}

    @property
    def all(self) -> list[Any]:
        """(message, summary) of the node, oldest first."""
        found = []
        for message in list(self._collector.messages):
            own = [s for s in message.status if s.name.startswith(f"{self._node}: ")]
            if own:
                if id(message) not in self._summaries:
                    self._summaries[id(message)] = Summary(own)
                found.append((message, self._summaries[id(message)]))
        return found

    def last(self) -> Any:
        """The newest summary, or None."""
        return self.all[-1][1] if self.all else None

    def wait_for_next(self, simulated: bool = False) -> None:
        """Wait for diagnostics that tell of all that the node had done before this call.

        Args:
            simulated: whether the node has simulated time.
        """
        asked_ns, heard = time.time_ns(), len(self.all)

        def told() -> list[Any]:
            # Where this process got no core for seconds, several are on their way.
            return [m for m, _ in self.all[heard:] if simulated or stamp_ns(m) > asked_ns]

        # What the first one tells may be older than its stamp.
        wait_for(lambda: len(told()) >= 2, "new diagnostics")

    def level(self, task: str) -> bytes | None:
        """The level of a task; None before its first status."""
        last = self.last()
        return last.tasks[task].level if last and task in last.tasks else None

    def has_error(self, task: str, words: str) -> bool:
        """Whether a task is at ERROR, and its message has these words."""
        last = self.last()
        status = last and last.tasks.get(task)
        return bool(status) and status.level == b"\2" and words in status.message

    def value(self, key: str) -> str | None:
        last = self.last()
        return {v.key: v.value for v in last.values}.get(key) if last else None

    def count(self, key: str) -> int:
        """A counter; 0 while the node does not mention it."""
        return int(self.value(key) or 0)


class NodeProcess:
    """A node started as users start it; its log is kept.

    Args:
        module: in `emf_ros.nodes`, or the path of a script.
        options: of the command line, in front of those for ROS.
        namespace: of the node.
        params_file: YAML file of parameters.
        remappings: of topics, as FROM:=TO.
        parameters: by name.

    Attributes:
        namespace, parameters: as given.
    """

    def __init__(
        self,
        module: str,
        namespace: str = "/",
        params_file: Path | None = None,
        remappings: tuple[str, ...] = (),
        options: tuple[str, ...] = (),
        **parameters: Any,
    ) -> None:
        self.namespace, self.parameters = namespace, parameters
        program = [module] if module.endswith(".py") else ["-m", f"emf_ros.nodes.{module}"]
        command = [sys.executable, *program, *options, "--ros-args", "-r", f"__ns:={namespace}"]
        for remapping in remappings:
            command += ["-r", remapping]
        if params_file:
            command += ["--params-file", str(params_file)]
        for name, value in parameters.items():
            if isinstance(value, bool):
                value = str(value).lower()
            elif isinstance(value, (str, Path)):
                # Quoted, or "0" would be a number.
                value = f"'{value}'"
            command += ["-p", f"{name}:={value}"]
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            # No GPU: what is tested must not depend on the machine having one.
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONUNBUFFERED": "1"},
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def log(self) -> str:
        return os.pread(self._log.fileno(), 1 << 20, 0).decode(errors="replace")

    def topic(self, name: str) -> str:
        return f"{self.namespace.rstrip('/')}/{name}"

    def wait(self) -> int:
        """The exit code of a process that should end by itself."""
        try:
            return self._process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the process did not end by itself; its log:\n{self.log}")

    def kill(self) -> None:
        if self.alive:
            self._process.kill()
        self._process.wait()

    def interrupt(self) -> None:
        """Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    def stop(self) -> None:
        """Ctrl-C, upon which a healthy node ends with code 0 and without a traceback."""
        assert self.alive, f"the node has died; its log:\n{self.log}"
        self.interrupt()
        code = self.wait()
        assert code == 0, f"exit code {code} after an interrupt; the log:\n{self.log}"
        assert "Traceback" not in self.log, self.log
