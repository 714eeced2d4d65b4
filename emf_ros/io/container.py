"""The container of a video file, without decoding: times of frames, codec, damage."""

from __future__ import annotations

import re
import shlex
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np

#: Maximum difference between two readings of the same frame's time, s.
SAME_TIME_S = 1e-5
#: Maximum deviation of a step from a whole number of periods at a constant rate, in periods.
GRID_TOLERANCE = 0.1
#: Maximum rounding error of a step's two ends in a container that keeps milliseconds, s.
ROUNDING_S = 0.0011
#: Minimum number of steps at a constant rate for one that spans lost frames.
STEPS_PER_GAP = 20
#: Maximum number of boxes of an MP4, and of chunks of an AVI, that are listed.
MAX_BOXES = 100_000
#: Maximum length of the head of a file that is searched for its codec, bytes.
HEAD_BYTES = 1 << 20


@dataclass(frozen=True)
class FrameIndex:
    """The frames of a file in the order of their times, decodable or not.

    Attributes:
        position_s: (N,) s, rising; time of each listed frame, as OpenCV gives it after decoding.
            Empty where the times cannot be read without decoding.
        number: (N,) int64, the listed frames' numbers in the file, from 0.
        time_s: (N,) s since the frame with the number 0.
        count: number of frames, including damaged ones that are not listed.
        shift_s: maximum error of the times after damage at an unknown place, s.
    """

    position_s: np.ndarray
    number: np.ndarray
    time_s: np.ndarray
    count: int
    shift_s: float = 0.0


def read_index(path: Path) -> FrameIndex | None:
    """List the frames of a file by its packets; None where this OpenCV cannot.

    The whole file is read once. It is decoded only where OpenCV gives no times of packets and the
    header disagrees with them.
    """
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        # Packets in place of decoded frames.
        if not capture.isOpened() or not capture.set(cv2.CAP_PROP_FORMAT, -1):
            return None
        # OpenCV before 4.7 gives no codec of Matroska and WebM.
        vp8 = codec_of(capture) == "VP80" or _matroska_codec(_head(path, HEAD_BYTES)) == "V_VP8"
        claimed = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        rate_hz = capture.get(cv2.CAP_PROP_FPS)
        positions, packets = [], 0
        while capture.grab():
            # VP8 has packets of frames that are never shown.
            if vp8 and not _is_shown_vp8(capture.retrieve()[1]):
                continue
            packets += 1
            positions.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
    finally:
        capture.release()
    # Negative times are frames that an edit list cuts off.
    position_s = np.sort([p for p in positions if p >= -SAME_TIME_S])
    if len(position_s) > 1 and not np.ptp(position_s) > 0:
        # Elementary streams, and OpenCV before 4.10, give no times of packets.
        if claimed != packets and not is_elementary_stream(path):
            position_s = _decoded_positions(path, packets)
        if len(position_s) < 2 or not np.ptp(position_s) > 0:
            return FrameIndex(np.zeros(0), np.zeros(0, np.int64), np.zeros(0), packets)
    number = np.arange(len(position_s))
    time_s = position_s - position_s[:1]
    count = len(number)
    shift_s = 0.0
    is_avi = _head(path, 12)[8:] == b"AVI "
    avi = _avi_frames(path) if is_avi else None
    if avi is not None and avi.intact.sum() == len(position_s) > 0:
        number, count = np.flatnonzero(avi.intact), len(avi.intact)
        if count > len(number) and rate_hz > 0:
            # FFmpeg counts the time of an AVI by the chunks that it can read.
            time_s = avi.slot[number] / rate_hz
    elif is_avi and count < claimed < 2**31 and rate_hz > 0:
        shift_s = (claimed - count) / rate_hz
        count = int(claimed)
    else:
        number = _with_gaps(time_s, claimed)
        count = int(number[-1]) + 1 if len(number) else 0
    return FrameIndex(position_s, number, time_s, count, shift_s)


def _decoded_positions(path: Path, packets: int) -> np.ndarray:
    """Times (N,) s, rising, of the frames of a file that can be decoded.

    Args:
        packets: number of packets of the file.
    """
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    positions = []
    # OpenCV stops at a packet that its decoder rejects; the next call continues after it.
    for _ in range(packets):
        if capture.grab():
            positions.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
    capture.release()
    return np.sort([p for p in positions if p >= -SAME_TIME_S])


def codec_of(capture: cv2.VideoCapture) -> str:
    """The four-character code of the codec of an opened video; empty where it has none."""
    code = int(capture.get(cv2.CAP_PROP_FOURCC))
    if not 0 < code < 1 << 32:
        return ""
    text = code.to_bytes(4, "little").decode("latin-1")
    return text if text.isprintable() else ""


def is_elementary_stream(path: Path) -> bool:
    """Whether a file is a stream without container (.h264, .mjpeg, .m4v), which has no times."""
    head = _head(path, 8)
    start = head.startswith(b"\0\0\1") and head[3:4] != b"\xba"
    long_start = head.startswith(b"\0\0\0\1") and not head[4:8].isalpha()
    return start or long_start or head.startswith(b"\xff\xd8")


def why_unreadable(path: Path, codec: str = "") -> str:
    """One sentence: the reason why OpenCV reads no frame of a file, and the remedy.

    Args:
        path: an existing file.
        codec: its name, if OpenCV has opened the file; else it is searched for in the file.
    """
    if not path.stat().st_size:
        return "the file is empty"
    head = _head(path, HEAD_BYTES)
    if head[4:8] in (b"ftyp", b"mdat", b"wide", b"free", b"moov", b"skip"):
        moov = _moov(path)
        if moov is None:
            return (
                "its index (moov) is missing, as in a recording that was not ended properly; "
                "a repair tool such as untrunc may restore it"
            )
        # The handler of a track is before the description of its samples.
        codec = codec or _found(rb"stsd.{12}([ -~]{4})", _from_video_track(moov))
        sound = b"soun" in moov and b"vide" not in moov
    elif head.startswith(b"\x1a\x45\xdf\xa3"):
        codec = codec or _matroska_codec(head)
        sound = not codec and bool(_found(rb"A_[A-Z0-9/_.]+", head))
    elif head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        codec = codec or _found(rb"strh.{4}vids([ -~]{4})", head)
        sound = not codec and b"auds" in head
    else:
        sound = head.startswith((b"ID3", b"fLaC", b"OggS")) or head[8:12] == b"WAVE"
    if codec and _is_empty(path, head):
        return f"its stream ({codec}) holds no frames"
    if codec:
        name = shlex.quote(str(path))
        return (
            f"this OpenCV cannot decode its codec, {codec}, or its frames are damaged; convert "
            f"it: ffmpeg -i {name} -c:v libx264 -pix_fmt yuv420p converted.mp4"
        )
    if sound:
        return "it holds sound and no frames"
    return "it is no video in a format that this OpenCV knows, or it holds no frames"


def _is_shown_vp8(packet: np.ndarray | None) -> bool:
    # The bit `show_frame` of the frame tag, RFC 6386 section 9.1.
    return packet is None or not packet.size or bool(packet.ravel()[0] & 0x10)


def _with_gaps(time_s: np.ndarray, claimed: float) -> np.ndarray:
    """Numbers (N,) of frames at these times (N,) s.

    In damaged Matroska, WebM and MPEG-TS files whole packets are missing. A gap counts as lost
    frames where the rate is constant and the container's number of frames agrees.

    Args:
        claimed: number of frames in the container's header.
    """
    number = np.arange(len(time_s))
    step_s = np.diff(time_s)
    if len(step_s) < 2 or not np.median(step_s) > 0:
        return number
    period_s = float(np.median(step_s))
    whole = np.round(step_s / period_s)
    off_s = np.abs(step_s - whole * period_s)
    lost = int((whole - 1).sum())
    constant = (off_s <= max(GRID_TOLERANCE * period_s, ROUNDING_S)).all() and (whole > 0).all()
    rare = (whole > 1).sum() <= max(1, len(step_s) // STEPS_PER_GAP)
    # The header's number is an estimate from the duration and may be one too low.
    if lost and constant and rare and len(time_s) + lost - 1 <= claimed < 2**53:
        return np.concatenate([[0], np.cumsum(whole)]).astype(np.int64)
    return number


@dataclass(frozen=True)
class _AviFrames:
    """The frames in the index of an AVI.

    Attributes:
        slot: (N,) int64, time of each, in periods since the first.
        intact: (N,) bool, whether its chunk's header is undamaged.
    """

    slot: np.ndarray
    intact: np.ndarray


def _avi_frames(path: Path) -> _AviFrames | None:
    """The frames of an AVI; None unless it has exactly one readable index."""
    with open(path, "rb") as file:
        riff = file.read(12)
        end = min(8 + int.from_bytes(riff[4:8], "little"), path.stat().st_size)
        movi, index = 0, b""
        for name, kind, at, size in _riff_chunks(file, 12, end):
            if name == b"LIST" and kind == b"movi":
                movi = at
            elif name == b"idx1":
                file.seek(at)
                index = file.read(min(size, end - at))
        entries = [
            entry
            for entry in struct.iter_unpack("<4sIII", index[: len(index) // 16 * 16])
            if entry[0][2:] in (b"dc", b"db")
        ]
        if not movi or not entries or len({name[:2] for name, *_ in entries}) > 1:
            return None
        # Offsets count from the name of the list; in some files from the beginning of the file.
        base = 0 if entries[0][2] > movi else movi
        slots, intact = [], []
        for slot, (name, _, offset, size) in enumerate(entries):
            # An empty chunk repeats the frame before it for one period.
            if size:
                file.seek(base + offset)
                slots.append(slot)
                intact.append(file.read(8) == name + size.to_bytes(4, "little"))
    if not slots:
        return None
    return _AviFrames(np.array(slots, np.int64) - slots[0], np.array(intact))


def _riff_chunks(file: BinaryIO, at: int, end: int) -> list[tuple[bytes, bytes, int, int]]:
    """Of each chunk: name, kind of list, offset and length of the content, bytes."""
    out: list[tuple[bytes, bytes, int, int]] = []
    while at + 12 <= end and len(out) < MAX_BOXES:
        file.seek(at)
        head = file.read(12)
        if not head[:4].isalnum():
            break  # damaged
        size = int.from_bytes(head[4:8], "little")
        out.append((head[:4], head[8:12], at + 8, size))
        at += 8 + size + size % 2
    return out


def _matroska_codec(head: bytes) -> str:
    """Matroska's name of the first video codec; empty where the file is another one."""
    return _found(rb"V_[A-Z0-9/_.]+", head) if head.startswith(b"\x1a\x45\xdf\xa3") else ""


def _is_empty(path: Path, head: bytes) -> bool:
    """Whether the header of an MP4, MOV, Matroska or WebM file lists no frames."""
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return len(head) < HEAD_BYTES and b"\x1f\x43\xb6\x75" not in head  # no cluster
    moov = _moov(path) or b""
    match = re.search(rb"stsz.{8}(.{4})", _from_video_track(moov), re.DOTALL)
    return b"mvex" not in moov and match is not None and match.group(1) == bytes(4)


def _from_video_track(moov: bytes) -> bytes:
    """The description of an MP4 or MOV from the handler of its first video track on."""
    at = moov.find(b"vide")
    return moov[at:] if at >= 0 else b""


def _moov(path: Path) -> bytes | None:
    """The box that describes an MP4 or MOV; None where the file has none."""
    length = path.stat().st_size
    with open(path, "rb") as file:
        at = 0
        for _ in range(MAX_BOXES):
            if at + 8 > length:
                break
            file.seek(at)
            head = file.read(16)
            size = int.from_bytes(head[:4], "big")
            if size == 1:
                size = int.from_bytes(head[8:16], "big")
            if head[4:8] == b"moov":
                file.seek(at)
                return file.read(min(size or length, length - at))
            if size < 8:
                return None
            at += size
    return None


def _found(pattern: bytes, data: bytes) -> str:
    """The first match's last group in ASCII; empty where nothing matches."""
    match = re.search(pattern, data, re.DOTALL)
    return match.group(match.lastindex or 0).decode("ascii", "replace").strip() if match else ""


def _head(path: Path, length: int) -> bytes:
    with open(path, "rb") as file:
        return file.read(length)
