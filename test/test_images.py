"""Decoding of every image encoding, and of what is no image."""

import cv2
import numpy as np
import pytest

from emf_ros.io.images import (
    ENCODINGS,
    MAX_PIXELS,
    ImageError,
    compressed_size,
    decode_compressed,
    decode_image,
)
from emf_ros.io.roi_crops import RoiCropper

# Size of the images, px.
WIDTH = 12
HEIGHT = 8
# Number of bytes behind each row.
PAD = 5
COLOURS = {"red": (220, 30, 20), "green": (25, 200, 40), "blue": (10, 35, 230)}


def picture():
    """(8, 12, 3) RGB: three blocks of one colour each, so that subsampled chroma stays exact."""
    out = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    for column, colour in enumerate(COLOURS.values()):
        out[:, 4 * column : 4 * column + 4] = colour
    return out


def padded(rows: np.ndarray, pad: int = PAD) -> tuple[np.ndarray, int]:
    """Rows of bytes to a flat buffer with rubbish behind each row, and the step."""
    rows = rows.reshape(rows.shape[0], -1)
    out = np.full((rows.shape[0], rows.shape[1] + pad), 0xA5, np.uint8)
    out[:, : rows.shape[1]] = rows
    return out.reshape(-1), out.shape[1]


def yuv(rgb):
    """Y, U and V planes of BT.601, video range, which ROS's YUV encodings hold."""
    r, g, b = np.moveaxis(rgb.astype(float), -1, 0)
    y = 16 + (65.481 * r + 128.553 * g + 24.966 * b) / 255
    u = 128 + (-37.797 * r - 74.203 * g + 112.0 * b) / 255
    v = 128 + (112.0 * r - 93.786 * g - 18.214 * b) / 255
    return [np.rint(plane).astype(np.uint8) for plane in (y, u, v)]


def encode(rgb, encoding):
    """What a camera driver would send, as rows of bytes; written out by the encodings' own
    definitions and not with the decoder's library."""
    y, u, v = yuv(rgb)
    grey = rgb @ np.array([0.299, 0.587, 0.114])
    if encoding == "rgb8":
        return rgb
    if encoding in ("bgr8", "8UC3"):
        return rgb[..., ::-1]
    alpha = np.full((*rgb.shape[:2], 1), 77, np.uint8)
    if encoding == "rgba8":
        return np.concatenate([rgb, alpha], -1)
    if encoding == "bgra8":
        return np.concatenate([rgb[..., ::-1], alpha], -1)
    if encoding in ("mono8", "8UC1"):
        return np.rint(grey).astype(np.uint8)
    if encoding == "mono16":
        return np.rint(grey * 256 + 100).astype("<u2").view(np.uint8)
    if encoding in ("yuv422", "uyvy", "yuv422_yuy2", "yuyv"):
        pairs = [u[:, ::2], y[:, ::2], v[:, ::2], y[:, 1::2]]
        if encoding in ("yuv422_yuy2", "yuyv"):
            pairs = [y[:, ::2], u[:, ::2], y[:, 1::2], v[:, ::2]]
        return np.stack(pairs, -1)
    if encoding in ("nv12", "nv21"):
        chroma = [u[::2, ::2], v[::2, ::2]]
        chroma = np.stack(chroma if encoding == "nv12" else chroma[::-1], -1)
        return np.concatenate([y, chroma.reshape(HEIGHT // 2, WIDTH)])
    raise AssertionError(f"{encoding} is not encoded here: add it")


def bayer(colour, encoding):
    """A mosaic of one colour. The name is the first two rows' filters: rggb is R G over G B."""
    filters = ["rgb".index(letter) for letter in encoding[6:10]]
    tile = np.array([colour[f] for f in filters], np.uint8).reshape(2, 2)
    return np.tile(tile, (HEIGHT // 2, WIDTH // 2))


PLAIN = [e for e in ENCODINGS if not e.startswith("bayer")]
BAYER = [e for e in ENCODINGS if e.startswith("bayer")]


@pytest.mark.parametrize("pad", [0, PAD])
@pytest.mark.parametrize("encoding", PLAIN)
def test_images_of_each_encoding_are_decoded(encoding, pad):
    data, step = padded(encode(picture(), encoding), pad)
    decoded = decode_image(data, encoding, WIDTH, HEIGHT, step)
    assert decoded.shape == (HEIGHT, WIDTH, 3) and decoded.dtype == np.uint8
    expected = picture().astype(int)
    if encoding in ("mono8", "8UC1", "mono16"):
        expected = np.repeat(expected @ np.array([[0.299], [0.587], [0.114]]), 3, axis=-1)
    tolerance = 3 if encoding[0] in "yun" else 1 if "mono" in encoding or "C1" in encoding else 0
    assert np.abs(decoded - expected).max() <= tolerance


@pytest.mark.parametrize("colour", COLOURS.values(), ids=COLOURS)
@pytest.mark.parametrize("encoding", BAYER)
def test_a_bayer_image_of_one_colour_is_decoded(encoding, colour):
    data, step = padded(bayer(colour, encoding))
    decoded = decode_image(data, encoding, WIDTH, HEIGHT, step)
    assert (decoded == colour).all()


def test_every_bayer_pattern_is_known():
    assert len(BAYER) == 4


def test_big_endian_mono16_is_decoded():
    values = np.array([[0x1234, 0xFF00], [0x00FF, 0x8000]], ">u2")
    decoded = decode_image(values.view(np.uint8).reshape(-1), "mono16", 2, 2, 4, big_endian=True)
    assert decoded[..., 0].tolist() == [[0x12, 0xFF], [0x00, 0x80]]


def test_rgb8_without_padding_is_not_copied():
    data, step = padded(picture(), 0)
    assert np.shares_memory(decode_image(data, "rgb8", WIDTH, HEIGHT, step), data)


@pytest.mark.parametrize("difference", [-1, 1, -(WIDTH * 3 + PAD)])
@pytest.mark.parametrize("encoding", ["rgb8", "nv12", "mono16", "bayer_rggb8"])
def test_a_wrong_data_length_is_refused(encoding, difference):
    rows = bayer((1, 2, 3), encoding) if encoding in BAYER else encode(picture(), encoding)
    data, step = padded(rows)
    data = np.resize(data, max(0, data.size + difference))
    with pytest.raises(ImageError, match="bytes of data"):
        decode_image(data, encoding, WIDTH, HEIGHT, step)


def test_missing_data_is_refused():
    with pytest.raises(ImageError, match="0 bytes"):
        decode_image(np.zeros(0, np.uint8), "rgb8", 4, 4, 12)


def test_a_step_shorter_than_a_row_is_refused():
    with pytest.raises(ImageError, match="step 11 is under the 12 bytes"):
        decode_image(np.zeros(44, np.uint8), "rgb8", 4, 4, 11)


@pytest.mark.parametrize("encoding", ["", "RGB8", "32FC1", "rgb16", "h264"])
def test_an_unknown_encoding_names_those_that_are_known(encoding):
    with pytest.raises(ImageError, match="unknown encoding.*bgr8.*nv12"):
        decode_image(np.zeros(48, np.uint8), encoding, 4, 4, 12)


@pytest.mark.parametrize(("width", "height"), [(0, 4), (4, 0), (0, 0)])
def test_an_empty_image_size_is_refused(width, height):
    with pytest.raises(ImageError, match=f"{width}x{height}"):
        decode_image(np.zeros(0, np.uint8), "rgb8", width, height, 3 * width)


def test_images_over_the_pixel_limit_are_refused():
    with pytest.raises(ImageError, match=f"over {MAX_PIXELS}"):
        decode_image(np.zeros(16, np.uint8), "mono8", 10_000, 10_000, 10_000)


@pytest.mark.parametrize(
    ("encoding", "width", "height", "size"),
    [("nv12", 5, 4, 30), ("nv21", 4, 5, 28), ("yuyv", 5, 4, 40), ("uyvy", 3, 2, 12)],
)
def test_odd_sizes_of_subsampled_encodings_are_refused(encoding, width, height, size):
    step = width * (2 if encoding in ("yuyv", "uyvy") else 1)
    with pytest.raises(ImageError, match="odd"):
        decode_image(np.zeros(size, np.uint8), encoding, width, height, step)


@pytest.mark.parametrize("encoding", ["rgb8", "bgra8", "mono8"])
def test_odd_sizes_of_other_encodings_are_decoded(encoding):
    data, step = padded(encode(np.full((3, 5, 3), 90, np.uint8), encoding))
    assert (decode_image(data, encoding, 5, 3, step) == 90).all()


@pytest.mark.parametrize("kind", [".jpg", ".png"])
def test_a_compressed_image_is_decoded(kind):
    large = cv2.resize(picture(), None, fx=16, fy=16, interpolation=cv2.INTER_NEAREST)
    data = cv2.imencode(kind, large[..., ::-1])[1]
    decoded = decode_compressed(data.reshape(-1))
    assert np.abs(decoded.astype(int) - large)[8:-8, 8:56].max() <= (6 if kind == ".jpg" else 0)


def jpeg():
    return cv2.imencode(".jpg", picture())[1].reshape(-1)


@pytest.mark.parametrize(
    "data",
    [
        np.zeros(0, np.uint8),
        np.zeros(100, np.uint8),
        jpeg()[:20],
        jpeg()[20:],
        np.frombuffer(b"\x89PNG\r\n\x1a\n", np.uint8),
    ],
    ids=["empty", "zeros", "head only", "no head", "png signature only"],
)
def test_a_damaged_compressed_image_is_refused(data):
    with pytest.raises(ImageError):
        decode_compressed(data)


# ------------------------------------------------------------------------------ cropper


def dots(width: int, height: int, places: list[tuple[int, int]]) -> np.ndarray:
    """White squares of 16 px around places, on black."""
    out = np.zeros((height, width, 3), np.uint8)
    for x, y in places:
        out[y - 8 : y + 8, x - 8 : x + 8] = 255
    return out


def centres(crop) -> np.ndarray:
    """(n, 3) the middles of bright spots, in pixels of the whole, by x."""
    light = crop.image[..., 0].astype(float)
    count, labels = cv2.connectedComponents((light > 20).astype(np.uint8))
    y, x = np.indices(light.shape)
    found = [
        (np.average(x[spot], weights=light[spot]), np.average(y[spot], weights=light[spot]), 1.0)
        for spot in (labels == i for i in range(1, count))
    ]
    return crop.in_full_image(np.array(sorted(found)).reshape(-1, 3))


@pytest.mark.parametrize("kind", ["raw", ".jpg", ".png"])
@pytest.mark.parametrize("size", [(640, 480), (641, 483)])
@pytest.mark.parametrize("max_side", [0, 400, 200, 60])
@pytest.mark.parametrize(
    ("roi", "seen"),
    [
        ((0, 0, 0, 0), [(104, 208), (400, 304)]),
        ((48, 100, 160, 0), [(104, 208)]),
        ((203, 0, 9999, 400), [(400, 304)]),
        ((480, 400, 0, 0), []),
    ],
)
def test_keypoints_of_a_crop_are_in_pixels_of_the_full_image(kind, size, max_side, roi, seen):
    whole = dots(*size, [(104, 208), (400, 304)])
    cropper = RoiCropper(roi, max_side)
    if kind == "raw":
        crop = cropper.crop(whole)
    else:
        crop = cropper.crop_compressed(cv2.imencode(kind, whole)[1].reshape(-1))
    assert crop.full_size == size
    if max_side:
        assert max(crop.image.shape) <= max(max_side + 1, 81)
    found = centres(crop)
    assert len(found) == len(seen)
    # Half a pixel: the middle of 16 lies between the eighth and the ninth.
    wanted = np.array(seen).reshape(-1, 2) - 0.5
    assert np.abs(found[:, :2] - wanted).max(initial=0) < 0.7


def test_a_region_of_interest_outside_is_refused():
    with pytest.raises(ImageError, match="region of interest is outside of 640x480"):
        RoiCropper((640, 0, 0, 0)).crop(np.zeros((480, 640, 3), np.uint8))
    data = cv2.imencode(".jpg", np.zeros((480, 640, 3), np.uint8))[1].reshape(-1)
    with pytest.raises(ImageError, match="outside"):
        RoiCropper((0, 500, 10, 10)).crop_compressed(data)


@pytest.mark.parametrize("kind", [".jpg", ".png"])
@pytest.mark.parametrize("size", [(1, 1), (33, 7), (1920, 1080)])
def test_the_compressed_size_is_read_from_the_header(kind, size):
    data = cv2.imencode(kind, np.zeros((size[1], size[0], 3), np.uint8))[1].reshape(-1)
    assert compressed_size(data) == size
    # Whatever is cut off or damaged, nothing is invented and nothing raised.
    for end in range(0, min(len(data), 700), 7):
        assert compressed_size(data[:end]) in (None, size)
    noise = np.random.default_rng(0)
    for _ in range(200):
        spoiled = data.copy()
        spoiled[noise.integers(2, len(data))] = noise.integers(256)
        compressed_size(spoiled)


def test_a_progressive_jpeg_and_one_with_a_thumbnail_are_measured():
    picture = np.zeros((50, 70, 3), np.uint8)
    progressive = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].reshape(-1)
    assert compressed_size(progressive) == (70, 50)
    # An APP1 segment with another JPEG inside, as cameras write it.
    inner = cv2.imencode(".jpg", picture[:20, :30])[1].tobytes()
    segment = b"\xff\xe1" + (len(inner) + 2).to_bytes(2, "big") + inner
    with_it = progressive[:2].tobytes() + segment + progressive[2:].tobytes()
    assert compressed_size(np.frombuffer(with_it, np.uint8)) == (70, 50)


def test_a_compressed_image_over_the_pixel_limit_is_not_decoded():
    data = bytearray(cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes())
    data[16:24] = (60000).to_bytes(4, "big") * 2
    with pytest.raises(ImageError, match="60000x60000 pixels is over"):
        RoiCropper().crop_compressed(np.frombuffer(bytes(data), np.uint8))


@pytest.mark.parametrize("max_side", [0, 100])
def test_a_crop_in_the_whole_view_is_at_its_place(max_side: int) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (240, 320, 3), np.uint8)
    crop = RoiCropper((80, 40, 160, 120), max_side).crop(image)
    view, corner = crop.in_full_view()
    assert view.shape == (240 // crop.factor, 320 // crop.factor, 3)
    left, top = corner.astype(int)
    height, width = crop.image.shape[:2]
    assert (view[top : top + height, left : left + width] == crop.image).all()
    assert (left * crop.factor, top * crop.factor) == (80, 40)
    whole = RoiCropper((0, 0, 0, 0), max_side).crop(image)
    assert whole.in_full_view()[0] is whole.image
