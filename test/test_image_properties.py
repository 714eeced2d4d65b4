"""Image messages of any bytes, size, step and encoding: an image of the size, or ImageError."""

from __future__ import annotations

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from emf_ros.io.images import (
    ENCODINGS,
    ImageError,
    compressed_size,
    decode_compressed,
    decode_depth,
    decode_image,
)
from emf_ros.io.roi_crops import RoiCropper

SIZES = st.integers(-1, 40) | st.sampled_from([2**16, 2**31 - 1, 2**32 - 1])
BYTES_PER_PIXEL = st.sampled_from([1, 1.5, 2, 3, 4])


@st.composite
def raw_images(draw: st.DrawFn) -> tuple[np.ndarray, int, int, int]:
    """(bytes, width, height, step), mostly of a size that fits some encoding."""
    width, height = draw(SIZES), draw(SIZES)
    step = draw(
        st.integers(0, 200)
        | SIZES
        | BYTES_PER_PIXEL.map(lambda n: int(width * n) + draw(st.integers(0, 4)))
    )
    if draw(st.integers(0, 4)) and 0 < step * height < 10_000:
        count = step * draw(st.sampled_from([height, height * 3 // 2]))
    else:
        count = draw(st.integers(0, 500))
    seed = draw(st.integers(0, 2**31))
    return np.random.default_rng(seed).integers(0, 256, count, np.uint8), width, height, step


@given(raw_images(), st.sampled_from([*ENCODINGS, "", "rgb16", "8UC4"]), st.booleans())
def test_raw_images_are_decoded_or_refused(
    image: tuple[np.ndarray, int, int, int], encoding: str, big_endian: bool
) -> None:
    data, width, height, step = image
    before = data.copy()
    try:
        decoded = decode_image(data, encoding, width, height, step, big_endian)
    except ImageError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert decoded.shape == (height, width, 3) and decoded.dtype == np.uint8
    np.testing.assert_array_equal(data, before)


@given(raw_images(), st.sampled_from(["16UC1", "32FC1", "mono16", "bgr8"]), st.booleans())
def test_depth_images_are_decoded_or_refused(
    image: tuple[np.ndarray, int, int, int], encoding: str, big_endian: bool
) -> None:
    data, width, height, step = image
    try:
        decoded = decode_depth(data, encoding, width, height, step, big_endian)
    except ImageError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert decoded.shape == (height, width) and decoded.dtype.isnative


@st.composite
def compressed_images(draw: st.DrawFn) -> bytes:
    """A small JPEG or PNG with a few changes, or any bytes."""
    if not draw(st.integers(0, 5)):
        return draw(st.binary(max_size=200))
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    picture = rng.integers(0, 256, (draw(st.integers(1, 40)), 24, 3), np.uint8)
    data = bytearray(cv2.imencode(draw(st.sampled_from([".jpg", ".png"])), picture)[1].tobytes())
    for _ in range(draw(st.integers(0, 3))):
        # Mostly in the header, which has the size.
        at = draw(st.integers(0, min(len(data), 200) - 1) | st.integers(0, len(data) - 1))
        data[at] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(1, len(data)) | st.just(len(data)))])


@given(compressed_images(), st.sampled_from([1, 2, 4, 8]))
def test_compressed_images_are_decoded_or_refused(data: bytes, shrink: int) -> None:
    array = np.frombuffer(data, np.uint8)
    size = compressed_size(array)
    # What the header claims is checked before decoding, see `RoiCropper.crop_compressed`.
    if size is None or size[0] * size[1] < 1_000_000:
        try:
            decoded = decode_compressed(array, shrink)
        except ImageError:
            pass
        else:
            assert decoded.ndim == 3 and decoded.shape[2] == 3 and decoded.dtype == np.uint8


@given(
    compressed_images(),
    st.tuples(*[st.integers(0, 60)] * 4),
    st.sampled_from([0, 1, 7, 16, 100]),
)
def test_parts_of_compressed_images_are_decoded_or_refused(
    data: bytes, roi: tuple[int, int, int, int], max_side: int
) -> None:
    array = np.frombuffer(data, np.uint8)
    size = compressed_size(array)
    if size is not None and 1_000_000 <= size[0] * size[1] <= 64_000_000:
        return
    try:
        part = RoiCropper(roi, max_side).crop_compressed(array)
    except ImageError as error:
        assert len(str(error).splitlines()) == 1
        return
    height, width = part.image.shape[:2]
    assert width > 0 and height > 0
    corners = np.array([[0.0, 0, 1], [width - 1, height - 1, 1]])
    pixels = part.in_full_image(corners)[:, :2]
    assert (pixels >= -0.5).all() and (pixels[1] < np.array(part.full_size) + part.factor).all()
