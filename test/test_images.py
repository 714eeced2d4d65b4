"""Decoding of every image encoding, and of what is no image."""

import cv2
import numpy as np
import pytest

from emf_ros.images import ENCODINGS, MAX_PIXELS, ImageError, decode_compressed, decode_image

WIDTH, HEIGHT, PAD = 12, 8, 5
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
def test_a_coloured_picture_comes_back(encoding, pad):
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
def test_a_bayer_mosaic_of_one_colour_comes_back(encoding, colour):
    data, step = padded(bayer(colour, encoding))
    decoded = decode_image(data, encoding, WIDTH, HEIGHT, step)
    assert (decoded == colour).all()


def test_every_bayer_pattern_is_known():
    assert len(BAYER) == 4


def test_big_endian_mono16():
    values = np.array([[0x1234, 0xFF00], [0x00FF, 0x8000]], ">u2")
    decoded = decode_image(values.view(np.uint8).reshape(-1), "mono16", 2, 2, 4, big_endian=True)
    assert decoded[..., 0].tolist() == [[0x12, 0xFF], [0x00, 0x80]]


def test_rgb8_without_padding_is_not_copied():
    data, step = padded(picture(), 0)
    assert np.shares_memory(decode_image(data, "rgb8", WIDTH, HEIGHT, step), data)


@pytest.mark.parametrize("difference", [-1, 1, -(WIDTH * 3 + PAD)])
@pytest.mark.parametrize("encoding", ["rgb8", "nv12", "mono16", "bayer_rggb8"])
def test_data_that_is_shorter_or_longer_than_it_should_be(encoding, difference):
    rows = bayer((1, 2, 3), encoding) if encoding in BAYER else encode(picture(), encoding)
    data, step = padded(rows)
    data = np.resize(data, max(0, data.size + difference))
    with pytest.raises(ImageError, match="bytes of data"):
        decode_image(data, encoding, WIDTH, HEIGHT, step)


def test_no_data_at_all():
    with pytest.raises(ImageError, match="0 bytes"):
        decode_image(np.zeros(0, np.uint8), "rgb8", 4, 4, 12)


def test_a_step_shorter_than_a_row():
    with pytest.raises(ImageError, match="step 11 is under the 12 bytes"):
        decode_image(np.zeros(44, np.uint8), "rgb8", 4, 4, 11)


@pytest.mark.parametrize("encoding", ["", "RGB8", "32FC1", "rgb16", "h264"])
def test_an_unknown_encoding_names_those_that_are_known(encoding):
    with pytest.raises(ImageError, match="unknown encoding.*bgr8.*nv12"):
        decode_image(np.zeros(48, np.uint8), encoding, 4, 4, 12)


@pytest.mark.parametrize(("width", "height"), [(0, 4), (4, 0), (0, 0)])
def test_an_empty_size(width, height):
    with pytest.raises(ImageError, match=f"{width}x{height}"):
        decode_image(np.zeros(0, np.uint8), "rgb8", width, height, 3 * width)


def test_a_hundred_megapixels_are_a_damaged_header():
    with pytest.raises(ImageError, match=f"over {MAX_PIXELS}"):
        decode_image(np.zeros(16, np.uint8), "mono8", 10_000, 10_000, 10_000)


@pytest.mark.parametrize(
    ("encoding", "width", "height", "size"),
    [("nv12", 5, 4, 30), ("nv21", 4, 5, 28), ("yuyv", 5, 4, 40), ("uyvy", 3, 2, 12)],
)
def test_odd_sizes_of_subsampled_encodings(encoding, width, height, size):
    step = width * (2 if encoding in ("yuyv", "uyvy") else 1)
    with pytest.raises(ImageError, match="odd"):
        decode_image(np.zeros(size, np.uint8), encoding, width, height, step)


@pytest.mark.parametrize("encoding", ["rgb8", "bgra8", "mono8"])
def test_odd_sizes_of_the_others_are_fine(encoding):
    data, step = padded(encode(np.full((3, 5, 3), 90, np.uint8), encoding))
    assert (decode_image(data, encoding, 5, 3, step) == 90).all()


@pytest.mark.parametrize("kind", [".jpg", ".png"])
def test_a_compressed_picture_comes_back(kind):
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
def test_a_damaged_compressed_picture(data):
    with pytest.raises(ImageError):
        decode_compressed(data)
