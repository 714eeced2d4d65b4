"""The real video_source process: files, folders, ends, and what is no video."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import camera_yaml, stamp_ns, wait_for, write_clip

RATE_HZ = 10.0
SIZE = (320, 180)
COUNT = 12


@pytest.fixture(scope="module")
def clip(tmp_path_factory, demo_frames) -> Path:
    """A short, small, slow video."""
    frames = [cv2.resize(f, SIZE) for f in demo_frames[:COUNT]]
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", frames, RATE_HZ)


class Source:
    """A video_source process and what it publishes."""

    def __init__(self, ros: Any, diagnostics: Any, start_node: Any, **parameters: Any) -> None:
        from sensor_msgs.msg import CameraInfo, Image

        parameters.setdefault("start_when_subscribed", True)
        self.process = start_node("video_source", **parameters)
        self.diagnostics = diagnostics(self.process.topic("video_source"))
        self.infos = ros.listen(CameraInfo, self.process.topic("camera_info"))
        self.images = ros.listen(Image, self.process.topic("image"))

    def wait_end(self) -> None:
        wait_for(
            lambda: (last := self.diagnostics.last()) and last.message == "the video has ended",
            "the end of the video",
        )


@pytest.fixture
def play(ros, diagnostics, start_node):
    """Start a source with these parameters."""
    return lambda **parameters: Source(ros, diagnostics, start_node, **parameters)


def assert_on_the_grid(messages: list[Any], rate_hz: float) -> None:
    """Stamps a whole number of periods apart (a late image may be skipped), and rising."""
    stamps = np.array([stamp_ns(m) for m in messages])
    steps = (stamps - stamps[0]) * rate_hz / 1e9
    assert np.abs(steps - np.round(steps)).max() < 1e-6
    assert (np.diff(stamps) > 0).all()


def test_a_file_to_its_end(play, clip) -> None:
    source = play(source=clip, fov_deg=50.0, frame_id="left_eye")
    source.wait_end()
    images, infos = source.images.messages, source.infos.messages
    assert 2 <= len(images) <= COUNT
    assert_on_the_grid(images, RATE_HZ)
    assert set(map(stamp_ns, images)) <= set(map(stamp_ns, infos))
    for image in images:
        assert image.header.frame_id == "left_eye"
        assert (image.width, image.height) == SIZE
        assert image.encoding == "bgr8" and image.step == 3 * SIZE[0]
        assert len(image.data) == image.step * image.height
        assert np.std(np.frombuffer(image.data, np.uint8)) > 10
    for info in infos:
        assert info.header.frame_id == "left_eye"
        assert (info.width, info.height) == SIZE
        assert info.k[0] == pytest.approx(SIZE[0] / 2 / np.tan(np.radians(25)))
        assert info.k[2] == pytest.approx((SIZE[0] - 1) / 2)
        assert info.p[0] == info.k[0]
    # The node stays, and says why nothing comes any more.
    assert source.process.alive
    assert source.diagnostics.last().level == b"\0"


def test_it_exits_at_the_end_when_told_to(play, clip) -> None:
    source = play(source=clip, exit_at_end=True, rate_hz=60.0)
    assert source.process.wait() == 0
    assert "Traceback" not in source.process.log


def test_a_loop_over_a_folder_of_images(play, tmp_path, demo_frames) -> None:
    for index in range(4):
        picture = np.full((90, 160, 3), 50 * index, np.uint8)
        cv2.imwrite(str(tmp_path / f"{index:03}.png"), picture)
    (tmp_path / "notes.txt").write_text("no image")
    source = play(source=tmp_path, loop=True, rate_hz=RATE_HZ)
    wait_for(lambda: len(source.images) >= 9, "more images than the folder has")
    images = list(source.images.messages)
    assert (np.diff([stamp_ns(m) for m in images]) > 0).all()
    shades = [int(m.data[0]) for m in images]
    assert set(shades) == {0, 50, 100, 150}
    assert any(after < before for before, after in zip(shades, shades[1:], strict=False))


def test_intrinsics_from_a_file_are_scaled(play, clip, tmp_path) -> None:
    path = tmp_path / "camera.yaml"
    path.write_text(camera_yaml(2 * SIZE[0], 2 * SIZE[1], 500.0))
    source = play(source=clip, camera_info_file=path)
    info = wait_for(lambda: source.infos.messages, "camera_info")[0]
    assert (info.width, info.height) == SIZE
    assert info.k[0] == pytest.approx(250.0) and info.k[4] == pytest.approx(250.0)
    assert info.k[2] == pytest.approx((SIZE[0] - 1) / 2)
    assert info.distortion_model == "plumb_bob" and len(info.d) == 5


@pytest.mark.parametrize("why", ["file of another aspect ratio", "fov 0"])
def test_unknown_intrinsics_are_all_zero(play, clip, tmp_path, why: str) -> None:
    if why == "fov 0":
        source = play(source=clip, fov_deg=0.0)
    else:
        path = tmp_path / "camera.yaml"
        path.write_text(camera_yaml(640, 640, 500.0))
        source = play(source=clip, camera_info_file=path)
    info = wait_for(lambda: source.infos.messages, "camera_info")[0]
    assert list(info.k) == [0.0] * 9
    assert (info.width, info.height) == SIZE
    if why != "fov 0":
        wait_for(lambda: source.diagnostics.count("camera_info_of_another_size"), "the count")


@pytest.mark.parametrize(
    ("parameters", "text", "expected"),
    [
        pytest.param({}, "image_width: [", "camera.yaml", id="no YAML"),
        pytest.param({}, "image_width: 3", "camera.yaml", id="keys missing"),
        pytest.param({}, "- 1", "camera.yaml", id="a list"),
        pytest.param({}, camera_yaml(640, 480, -5.0), "focal length", id="negative focal length"),
        pytest.param({}, None, "camera.yaml", id="no file"),
        pytest.param({"rate_hz": -1.0}, None, "rate_hz", id="negative rate"),
        pytest.param({"sauce": "x"}, None, "sauce", id="unknown parameter"),
    ],
)
def test_bad_settings_end_the_process(
    start_node, tmp_path, parameters: dict[str, Any], text: str | None, expected: str
) -> None:
    path = tmp_path / "camera.yaml"
    if text is not None:
        path.write_text(text)
    parameters = parameters or {"camera_info_file": path}
    process = start_node("video_source", expect=False, **parameters)
    assert process.wait() == 1
    assert "Traceback" not in process.log
    said = [line for line in process.log.splitlines() if line.startswith("emf_ros: ")]
    assert len(said) == 1 and expected in said[0]


@pytest.mark.parametrize("kind", ["corrupt", "text", "empty folder", "nothing given"])
def test_what_is_no_video_is_reported(play, clip, tmp_path, kind: str) -> None:
    path: Path | str = tmp_path / "video.mp4"
    if kind == "corrupt":
        path.write_bytes(clip.read_bytes()[:600] + bytes(2000))
    elif kind == "text":
        path.write_text("this is no video\n" * 100)
    elif kind == "empty folder":
        path.mkdir()
    else:
        path = ""
    source = play(source=path)
    wait_for(lambda: source.diagnostics.count("source_not_open"), "the count")
    status = source.diagnostics.last()
    assert status.level == b"\1"
    assert str(path) in status.message
    assert source.process.alive
    assert not source.images.messages


def test_a_file_that_comes_later_is_played(play, clip, tmp_path) -> None:
    path = tmp_path / "later.mp4"
    source = play(source=path)
    wait_for(lambda: source.diagnostics.count("source_not_open"), "the count")
    assert str(path) in source.diagnostics.last().message
    shutil.copy(clip, tmp_path / "part")
    (tmp_path / "part").rename(path)
    wait_for(lambda: source.images.messages, "images")


def test_exit_at_end_ends_where_there_is_nothing(start_node, tmp_path) -> None:
    process = start_node(
        "video_source", expect=False, source=tmp_path / "none.mp4", exit_at_end=True
    )
    process.wait()
    assert "none.mp4" in process.log
    assert "Traceback" not in process.log
