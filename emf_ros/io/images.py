"""Decoding of images: raw bytes of ROS's common encodings, depth, JPEG and PNG."""

from __future__ import annotations

import cv2
import numpy as np

#: Maximum number of pixels of an image; a larger one is taken for a damaged header.
MAX_PIXELS = 64_000_000


class ImageError(ValueError):
    """Bytes that are no image of the given size and encoding."""


#: Bytes per pixel, and OpenCV's conversion to RGB (None for none). ROS and OpenCV give Bayer
#: patterns different names: OpenCV's is of the second row's second and third pixel.
_PACKED: dict[str, tuple[int, int | None]] = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "8UC3": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
    "8UC1": (1, cv2.COLOR_GRAY2RGB),
    "bayer_rggb8": (1, cv2.COLOR_BayerBG2RGB),
    "bayer_bggr8": (1, cv2.COLOR_BayerRG2RGB),
    "bayer_gbrg8": (1, cv2.COLOR_BayerGR2RGB),
    "bayer_grbg8": (1, cv2.COLOR_BayerGB2RGB),
    "yuv422": (2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": (2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2RGB_YUY2),
    "yuyv": (2, cv2.COLOR_YUV2RGB_YUY2),
}
#: Encodings of colour and grey images.
ENCODINGS = (*_PACKED, "nv12", "nv21", "mono16")


def refuse_too_large(width: int, height: int) -> None:
    """Raise ImageError where an image has more than `MAX_PIXELS` pixels."""
    if width * height > MAX_PIXELS:
        raise ImageError(f"an image of {width}x{height} pixels is over {MAX_PIXELS} pixels")


def _rows(
    data: np.ndarray, width: int, height: int, step: int, row_bytes: int, rows: int
) -> np.ndarray:
    """(rows, row_bytes) of an image's bytes, without padding; raises ImageError."""
    if width <= 0 or height <= 0:
        raise ImageError(f"an image of {width}x{height} pixels")
    refuse_too_large(width, height)
    if step < row_bytes:
        raise ImageError(f"step {step} is under the {row_bytes} bytes of a row")
    if data.size != rows * step:
        raise ImageError(f"{data.size} bytes of data, where {rows} rows of {step} are needed")
    return data.reshape(rows, step)[:, :row_bytes]


def decode_image(
    data: np.ndarray, encoding: str, width: int, height: int, step: int, big_endian: bool = False
) -> np.ndarray:
    """Pixels of a sensor_msgs/Image.

    Args:
        data: (N,) uint8.
        encoding: one of `ENCODINGS`.
        width, height: px.
        step: bytes per row, padding included.
        big_endian: of mono16.

    Returns:
        (height, width, 3) uint8, RGB. For rgb8 without padding it is a view of `data`.

    Raises:
        ImageError: the encoding is unknown, or the data do not have the size.
    """
    rows = height
    if encoding in _PACKED:
        row_bytes = width * _PACKED[encoding][0]
        if _PACKED[encoding][0] == 2 and width % 2:
            raise ImageError(f"{encoding} of an odd width, {width}")
    elif encoding in ("nv12", "nv21"):
        if width % 2 or height % 2:
            raise ImageError(f"{encoding} of an odd size, {width}x{height}")
        row_bytes, rows = width, height * 3 // 2
    elif encoding == "mono16":
        row_bytes = 2 * width
    else:
        raise ImageError(f"unknown encoding {encoding!r}; known: {', '.join(ENCODINGS)}")
    packed = _rows(data, width, height, step, row_bytes, rows)
    if encoding in _PACKED:
        channels, code = _PACKED[encoding]
        image = packed.reshape(height, width, channels) if channels > 1 else packed
        if code is None:
            return image
        return cv2.cvtColor(np.ascontiguousarray(image), code)
    packed = np.ascontiguousarray(packed)
    if encoding == "mono16":
        values = packed.view(">u2" if big_endian else "<u2")
        return cv2.cvtColor((values >> 8).astype(np.uint8), cv2.COLOR_GRAY2RGB)
    code = cv2.COLOR_YUV2RGB_NV12 if encoding == "nv12" else cv2.COLOR_YUV2RGB_NV21
    return cv2.cvtColor(packed, code)


#: Type of the values of each encoding of depth images (REP-118).
_DEPTH = {"16UC1": "u2", "mono16": "u2", "32FC1": "f4"}


def decode_depth(
    data: np.ndarray, encoding: str, width: int, height: int, step: int, big_endian: bool = False
) -> np.ndarray:
    """Depths of a sensor_msgs/Image.

    Args:
        data, width, height, step: see `decode_image`.
        encoding: 16UC1 or mono16, mm, or 32FC1, m.
        big_endian: of the values.

    Returns:
        (height, width) uint16 mm or float32 m; a view of `data` where possible.

    Raises:
        ImageError: the encoding is unknown, or the data do not have the size.
    """
    if encoding not in _DEPTH:
        raise ImageError(f"{encoding!r} is no depth encoding; known: {', '.join(_DEPTH)}")
    kind = np.dtype((">" if big_endian else "<") + _DEPTH[encoding])
    packed = _rows(data, width, height, step, width * kind.itemsize, height)
    if step % kind.itemsize or data.ctypes.data % kind.itemsize:
        packed = np.ascontiguousarray(packed)
    return packed.view(kind).astype(kind.newbyteorder("="), copy=False)


def decode_compressed(data: np.ndarray, shrink: int = 1) -> np.ndarray:
    """Pixels of a JPEG or PNG.

    Args:
        data: (N,) uint8.
        shrink: 1, 2, 4 or 8: factor by which the image is made smaller; for a JPEG this saves most
            of the time.

    Returns:
        (height, width, 3) uint8, RGB.

    Raises:
        ImageError: the bytes are no JPEG or PNG that can be decoded.
    """
    if not data.size:
        raise ImageError("a compressed image without data")
    # The intrinsics are for the pixels as stored, without the rotation of EXIF.
    flags = _REDUCED[shrink] | cv2.IMREAD_IGNORE_ORIENTATION
    # Before decoding: a small file may hold billions of pixels. OpenCV would also take dozens of
    # other formats, whose decoders a message from the network need not reach.
    size = compressed_size(data)
    if size is None:
        raise ImageError("the compressed image is no JPEG or PNG")
    refuse_too_large(*size)
    try:
        image = cv2.imdecode(data, flags)
    except cv2.error as error:
        raise ImageError(f"not decodable: {error}") from None
    if image is None:
        raise ImageError("the compressed image cannot be decoded")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


#: OpenCV's flag for each factor.
_REDUCED = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
#: Maximum length of what precedes the image size in a JPEG, bytes: thumbnails, colour profiles.
HEAD_BYTES = 1 << 20
#: First byte of a JPEG, and of every marker in it.
JPEG_MARKER = 0xFF
#: Markers of a JPEG's frame header, which has the image size (ITU-T T.81, table B.1).
_FRAME_HEADERS = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def compressed_size(data: np.ndarray) -> tuple[int, int] | None:
    """(width, height), px, in the header of a JPEG or PNG; None where there is none.

    Args:
        data: (N,) uint8.
    """
    head = data[:HEAD_BYTES].tobytes()
    if head.startswith(b"\x89PNG\r\n\x1a\n") and len(head) >= 24:
        return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    if not head.startswith(bytes((JPEG_MARKER, 0xD8))):
        return None
    at = 2
    while at + 9 <= len(head) and head[at] == JPEG_MARKER:
        if head[at + 1] in _FRAME_HEADERS:
            return int.from_bytes(head[at + 7 : at + 9], "big"), int.from_bytes(
                head[at + 5 : at + 7], "big"
            )
        # Fill bytes may precede a marker. Every other segment before the frame header has a length.
        at += 1 if head[at + 1] == 0xFF else 2 + int.from_bytes(head[at + 2 : at + 4], "big")
    return None
