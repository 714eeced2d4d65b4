"""Raw image bytes of ROS's common encodings to RGB pictures."""

from __future__ import annotations

import cv2
import numpy as np

#: Larger pictures than this are taken for damaged headers.
MAX_PIXELS = 64_000_000


class ImageError(ValueError):
    """Bytes that are no picture of the size and encoding that they claim."""


# Bytes per pixel, and OpenCV's conversion to RGB (None for none). REP-118's and OpenCV's names of
# Bayer patterns differ: OpenCV names the second row's second and third pixel.
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
ENCODINGS = (*_PACKED, "nv12", "nv21", "mono16")


def _rows(
    data: np.ndarray, width: int, height: int, step: int, row_bytes: int, rows: int
) -> np.ndarray:
    """(rows, row_bytes) of an image's bytes, without the padding. Raises ImageError."""
    if width <= 0 or height <= 0:
        raise ImageError(f"an image of {width}x{height} pixels")
    if width * height > MAX_PIXELS:
        raise ImageError(f"an image of {width}x{height} pixels is over {MAX_PIXELS} pixels")
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
        ImageError: says what does not fit.
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
        picture = packed.reshape(height, width, channels) if channels > 1 else packed
        if code is None:
            return picture
        return cv2.cvtColor(np.ascontiguousarray(picture), code)
    packed = np.ascontiguousarray(packed)
    if encoding == "mono16":
        values = packed.view(">u2" if big_endian else "<u2")
        return cv2.cvtColor((values >> 8).astype(np.uint8), cv2.COLOR_GRAY2RGB)
    code = cv2.COLOR_YUV2RGB_NV12 if encoding == "nv12" else cv2.COLOR_YUV2RGB_NV21
    return cv2.cvtColor(packed, code)


#: Encodings of depth images (REP-118), and their arrays' types.
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
        (height, width) uint16 mm or float32 m; a view of `data` where it can be one.

    Raises:
        ImageError: says what does not fit.
    """
    if encoding not in _DEPTH:
        raise ImageError(f"{encoding!r} is no depth encoding; known: {', '.join(_DEPTH)}")
    kind = np.dtype((">" if big_endian else "<") + _DEPTH[encoding])
    packed = _rows(data, width, height, step, width * kind.itemsize, height)
    if step % kind.itemsize or data.ctypes.data % kind.itemsize:
        packed = np.ascontiguousarray(packed)
    return packed.view(kind).astype(kind.newbyteorder("="), copy=False)


def decode_compressed(data: np.ndarray) -> np.ndarray:
    """A JPEG or PNG of (N,) bytes to (height, width, 3) uint8, RGB.

    Raises:
        ImageError: the bytes are no such picture.
    """
    if not data.size:
        raise ImageError("a compressed image without data")
    try:
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ImageError(f"not decodable: {error}") from None
    if picture is None:
        raise ImageError("the compressed image cannot be decoded")
    if picture.shape[0] * picture.shape[1] > MAX_PIXELS:
        raise ImageError(f"an image of {picture.shape[1]}x{picture.shape[0]} pixels is too large")
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
