"""Raw image bytes of ROS's common encodings to RGB pictures."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..geometry.crops import shrink

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


def _refuse_too_large(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ImageError(f"an image of {width}x{height} pixels is over {MAX_PIXELS} pixels")


def _rows(
    data: np.ndarray, width: int, height: int, step: int, row_bytes: int, rows: int
) -> np.ndarray:
    """(rows, row_bytes) of an image's bytes, without the padding. Raises ImageError."""
    if width <= 0 or height <= 0:
        raise ImageError(f"an image of {width}x{height} pixels")
    _refuse_too_large(width, height)
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


def decode_compressed(data: np.ndarray, shrink: int = 1) -> np.ndarray:
    """A JPEG or PNG of (N,) bytes to (height, width, 3) uint8, RGB.

    Args:
        data: uint8.
        shrink: 1, 2, 4 or 8: the picture is made smaller by it, which saves most of a JPEG's time.

    Raises:
        ImageError: the bytes are no such picture.
    """
    if not data.size:
        raise ImageError("a compressed image without data")
    # The camera's intrinsics are for the pixels as stored, whatever EXIF says of them.
    flags = _REDUCED[shrink] | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        picture = cv2.imdecode(data, flags)
    except cv2.error as error:
        raise ImageError(f"not decodable: {error}") from None
    if picture is None:
        raise ImageError("the compressed image cannot be decoded")
    _refuse_too_large(picture.shape[1], picture.shape[0])
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


_REDUCED = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
#: Every marker of a JPEG begins with this byte, the first one as well.
_JPEG = 0xFF
#: Markers of a JPEG's frame header, which has the size (ITU-T T.81, table B.1).
_FRAME_HEADERS = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def compressed_size(data: np.ndarray) -> tuple[int, int] | None:
    """(width, height), px, as the header of a JPEG or PNG has it; None where there is none.

    Args:
        data: (N,) uint8.
    """
    head = data[:65536].tobytes()
    if head.startswith(b"\x89PNG\r\n\x1a\n") and len(head) >= 24:
        return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    if not head.startswith(bytes((_JPEG, 0xD8))):
        return None
    at = 2
    while at + 9 <= len(head) and head[at] == _JPEG:
        if head[at + 1] in _FRAME_HEADERS:
            return int.from_bytes(head[at + 7 : at + 9], "big"), int.from_bytes(
                head[at + 5 : at + 7], "big"
            )
        # Fill bytes stand before a marker; all others up to the frame header have a length.
        at += 1 if head[at + 1] == 0xFF else 2 + int.from_bytes(head[at + 2 : at + 4], "big")
    return None


@dataclass(frozen=True)
class Excerpt:
    """The part of a picture that is looked at, shrunk.

    Attributes:
        picture: (h, w, 3) uint8 RGB.
        size: (width, height) px of the whole.
        corner: (x, y) px of the whole, the part's left upper pixel.
        shrink: of how many pixels of the whole, along each side, one is made.
    """

    picture: np.ndarray
    size: tuple[int, int]
    corner: tuple[int, int] = (0, 0)
    shrink: int = 1

    def in_whole(self, keypoints: np.ndarray) -> np.ndarray:
        """(K, 3) keypoints of the part, px, px, score, in pixels of the whole."""
        out = keypoints.copy()
        # A pixel's middle is a whole number.
        out[:, :2] = (out[:, :2] + 0.5) * self.shrink - 0.5 + self.corner
        return out


@dataclass(frozen=True)
class Excerpts:
    """What to take of pictures.

    Attributes:
        roi: x, y, width and height of the part, px of the whole, as in
            sensor_msgs/RegionOfInterest: of no width, or height, it reaches to the edge.
        max_side: px; a part with a longer side is shrunk by 2, 4 or 8, as far as is needed; 0: none
            is.
    """

    roi: tuple[int, int, int, int] = (0, 0, 0, 0)
    max_side: int = 0

    def of(self, picture: np.ndarray) -> Excerpt:
        """The part of a picture (H, W, 3) uint8.

        Raises:
            ImageError: it lies outside.
        """
        size = picture.shape[1], picture.shape[0]
        left, top, right, bottom = self._bounds(size)
        part = picture[top:bottom, left:right]
        factor = self._shrink(right - left, bottom - top)
        part = shrink(part, factor) if factor > 1 else part
        return Excerpt(part, size, (left, top), factor)

    def of_compressed(self, data: np.ndarray) -> Excerpt:
        """The part of a JPEG or PNG of (N,) bytes.

        Raises:
            ImageError: the bytes are no such picture, or the part lies outside.
        """
        size = compressed_size(data)
        if size is None:
            return self.of(decode_compressed(data))
        # Before it is decoded: a small file may hold billions of pixels.
        _refuse_too_large(*size)
        # A PNG is decoded as a whole all the same, and then shrunk less exactly than here.
        if data[0] != _JPEG:
            return self.of(decode_compressed(data))
        left, top, right, bottom = self._bounds(size)
        factor = self._shrink(right - left, bottom - top)
        picture = decode_compressed(data, factor)
        # In whole pixels of the shrunk picture.
        left, top = left // factor, top // factor
        part = picture[top : -(-bottom // factor), left : -(-right // factor)]
        return Excerpt(part, size, (left * factor, top * factor), factor)

    def _bounds(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        (width, height), (x, y, across, down) = size, self.roi
        right = min(x + across, width) if across else width
        bottom = min(y + down, height) if down else height
        if x >= right or y >= bottom:
            raise ImageError(f"the region of interest lies outside of {width}x{height} pixels")
        return x, y, right, bottom

    def _shrink(self, width: int, height: int) -> int:
        if not self.max_side:
            return 1
        return next((k for k in (1, 2, 4) if max(width, height) <= k * self.max_side), 8)
