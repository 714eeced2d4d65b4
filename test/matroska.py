"""A Matroska writer whose images have the times that a test chooses."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np


def jpegs(pictures: Sequence[np.ndarray]) -> list[bytes]:
    """Packets for the codec V_MJPEG."""
    return [cv2.imencode(".jpg", picture)[1].tobytes() for picture in pictures]


def write_matroska(
    path: Path,
    packets: Sequence[bytes],
    times_ms: Sequence[int],
    codec: str = "V_MJPEG",
    size: tuple[int, int] = (128, 96),
) -> Path:
    """A file with one track of these packets; a codec A_... makes it a track of sound."""

    def number(key: str, value: int) -> bytes:
        return element(key, value.to_bytes(8, "big"))

    if codec.startswith("A_"):
        kind, details = 2, element("E1", number("9F", 1) + element("B5", struct.pack(">d", 8000)))
    else:
        kind, details = 1, element("E0", number("B0", size[0]) + number("BA", size[1]))
    track = number("D7", 1) + number("73C5", 1) + number("83", kind)
    track += element("86", codec.encode()) + details
    head = number("4286", 1) + number("42F7", 1) + number("42F2", 4) + number("42F3", 8)
    head += element("4282", b"matroska") + number("4287", 2) + number("4285", 2)
    # A time unit of a millisecond.
    body = element("1549A966", number("2AD7B1", 1_000_000)) + element(
        "1654AE6B", element("AE", track)
    )
    for packet, time_ms in zip(packets, times_ms, strict=True):
        block = b"\x81\0\0\x80" + packet
        body += element("1F43B675", number("E7", time_ms) + element("A3", block))
    path.write_bytes(element("1A45DFA3", head) + element("18538067", body))
    return path


def element(key: str, content: bytes) -> bytes:
    """An EBML element with a length of eight bytes."""
    return bytes.fromhex(key) + (1 << 56 | len(content)).to_bytes(8, "big") + content
