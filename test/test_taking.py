"""What stands between a subscription and its callback: bounds before reading, and errors."""

from __future__ import annotations

from typing import Any

import pytest
from rclpy.serialization import serialize_message
from std_msgs.msg import String

from emf_ros.nodes.taking import Taking


def taking(callback: Any, closing: bool = False, **more: Any) -> tuple[Taking, list[Any]]:
    refused: list[Any] = []
    made = Taking(
        String,
        "names",
        callback,
        **{"max_bytes": 100, "missed": None, **more},
        refuse=lambda reason, detail: refused.append((reason, detail)),
        closing=lambda: closing,
    )
    return made, refused


def test_a_message_over_the_bound_is_refused_before_it_is_read() -> None:
    heard: list[str] = []
    made, refused = taking(lambda message: heard.append(message.data))
    assert made.raw
    for length in (20, 200):
        made.callback(serialize_message(String(data="x" * length)))
    assert heard == ["x" * 20]
    assert refused == [
        ("message_too_large", "names: a message of 209 bytes is refused; at most 100 are read")
    ]


def test_bytes_that_are_no_message_are_refused() -> None:
    made, refused = taking(lambda message: None)
    made.callback(b"\0\1\0\0\xff\xff\xff\x7fxyz")
    assert [reason for reason, _ in refused] == ["message_failed"]


def test_an_error_of_a_callback_drops_the_message_and_is_said_in_one_line() -> None:
    def fail(message: Any) -> None:
        raise ValueError("line 1\nline 2" + "x" * 5000)

    made, refused = taking(fail, max_bytes=None)
    made.callback(String())
    ((reason, text),) = refused
    assert reason == "message_failed" and "ValueError" in text
    assert len(text.splitlines()) == 1 and len(text) < 1200
    ending, _ = taking(fail, closing=True, max_bytes=None)
    with pytest.raises(ValueError):
        ending.callback(String())
