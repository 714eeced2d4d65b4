"""The real video_source process: files, folders, ends, and what is no video."""

from __future__ import annotations

import contextlib
import gc
import shutil
import sqlite3
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from camera_in_process import Camera
from inputs import camera_yaml, write_clip, write_y4m
from matroska import jpegs, write_matroska
from ros_session import REPEAT_S, TIMEOUT_S, poll, stamp_ns, wait_for
from test_bags import K, write_bag

from emf_ros.nodes.exit_codes import FAILED

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


@pytest.fixture
def play_to_the_end(play):
    """Play a source of so many frames until each has come or was counted.

    It is played again where the machine was too busy: where images were skipped (or fewer came than
    `least`), or were lost on their way here.
    """

    def to_the_end(frames: int, least: int | None = None, **parameters: Any) -> Source:
        def played() -> Source | None:
            source = play(**parameters)
            source.wait_end()
            source.diagnostics.wait_for_next()
            left_out = ("frame_unreadable", "frame_size_changed", "late_frame_skipped")
            counts = [source.diagnostics.count(name) for name in left_out]
            complete = poll(lambda: len(source.images) + sum(counts) == frames, REPEAT_S)
            enough = counts[2] == 0 if least is None else len(source.images) >= least
            if complete and enough:
                return source
            source.process.stop()
            return None

        return wait_for(played, "each frame as an image or in the counts")

    return to_the_end


def assert_on_the_grid(messages: list[Any], rate_hz: float) -> None:
    """Stamps a whole number of periods apart (a late image may be skipped), and rising."""
    stamps = np.array([stamp_ns(m) for m in messages])
    steps = (stamps - stamps[0]) * rate_hz / 1e9
    assert np.abs(steps - np.round(steps)).max() < 1e-6
    assert (np.diff(stamps) > 0).all()


def test_a_video_file_is_published_to_its_end(play_to_the_end, clip) -> None:
    source = play_to_the_end(COUNT, least=2, source=clip, fov_deg=50.0, frame_id="left_eye")
    images, infos = source.images.messages, source.infos.messages
    assert_on_the_grid(images, RATE_HZ)
    # Of the two topics that of the images may be discovered first.
    first = stamp_ns(wait_for(lambda: infos, "camera_info")[0])
    assert first <= stamp_ns(images[1])
    stamps = {stamp for stamp in map(stamp_ns, images) if stamp >= first}
    wait_for(lambda: stamps <= set(map(stamp_ns, infos)), "camera_info of each image")
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


def test_exit_at_end_ends_the_process_after_the_video(play, clip) -> None:
    source = play(source=clip, exit_at_end=True, rate_hz=60.0)
    assert source.process.wait() == 0
    assert "Traceback" not in source.process.log


@pytest.fixture(scope="module")
def upright(tmp_path_factory, demo_frames) -> Path:
    """A short video that is higher than it is wide."""
    frames = [cv2.resize(f, SIZE)[:, :100] for f in demo_frames[:COUNT]]
    return write_clip(tmp_path_factory.mktemp("clip") / "upright.mp4", frames, RATE_HZ)


def test_the_default_field_of_view_is_across_the_longer_side(play, upright) -> None:
    source = play(source=upright, loop=True, rate_hz=60.0)
    # The clip is played anew several times; the guess is said once.
    wait_for(lambda: len(source.infos) > 3 * COUNT, "camera_info of several rounds")
    info = source.infos.messages[0]
    assert info.k[0] == info.k[4] == pytest.approx(SIZE[1] / 2 / np.tan(np.radians(30)))
    assert source.process.log.count("a guess") == 1


def test_a_given_field_of_view_stays_horizontal(play, upright) -> None:
    source = play(source=upright, fov_deg=40)
    info = wait_for(lambda: source.infos.messages, "camera_info")[0]
    assert info.k[0] == pytest.approx(50 / np.tan(np.radians(20)))
    assert "a guess" not in source.process.log


def test_camera_info_has_the_aspect_ratio_of_pixels(play, tmp_path) -> None:
    source = play(source=write_y4m(tmp_path / "wide.y4m", SIZE, "4:3"), fov_deg=50.0)
    info = wait_for(lambda: source.infos.messages, "camera_info")[0]
    assert info.k[0] == pytest.approx(SIZE[0] / 2 / np.tan(np.radians(25)))
    assert info.k[4] == pytest.approx(4 / 3 * info.k[0])


def test_rectified_images_are_published_with_p_of_the_file(play, clip, tmp_path) -> None:
    path = tmp_path / "camera.yaml"
    matrix = "projection_matrix:\n  rows: 3\n  cols: 4\n  data: "
    matrix += "[450.0, 0, 150.0, -40.0, 0, 451.0, 91.0, 0, 0, 0, 1, 0]\n"
    bent = camera_yaml(*SIZE, 500.0).replace("[0.0, 0.0, 0.0, 0.0, 0.0]", "[0.1, 0.2, 0, 0, 0]")
    path.write_text(bent + matrix)
    source = play(source=clip, camera_info_file=path, rectified=True)
    info = wait_for(lambda: source.infos.messages, "camera_info")[0]
    assert list(info.k) == [450, 0, 150, 0, 451, 91, 0, 0, 1]
    assert not any(info.d)
    assert list(info.p) == [450, 0, 150, 0, 0, 451, 91, 0, 0, 0, 1, 0]


def test_the_intrinsics_that_a_bag_brings_are_published(play, tmp_path) -> None:
    source = play(source=write_bag(tmp_path / "bag"), rectified=True, loop=True)
    info = wait_for(lambda: source.infos.messages, "camera_info")[0]
    # Those of rectified images: P, not K.
    assert info.k[0] == pytest.approx(1.5 * K[0])
    assert "a guess" not in source.process.log


def test_a_bag_with_useless_intrinsics_is_played_without_them(play, tmp_path) -> None:
    source = play(source=write_bag(tmp_path / "bag", model="omni"), loop=True)
    assert not any(wait_for(lambda: source.infos.messages, "camera_info")[0].k)
    wait_for(lambda: source.diagnostics.count("bad_camera_info"), "the counter")
    assert "'omni'" in source.process.log and "camera_info_file, fov_deg" in source.process.log


def test_the_chosen_topic_of_a_bag_is_played(play, tmp_path) -> None:
    bag = write_bag(
        tmp_path / "bag",
        topics=("/left/image", "/right/image"),
        infos={"/left/camera_info": 70.0, "/right/camera_info": 90.0},
    )
    source = play(source=bag, source_topic="/right/image", loop=True)
    assert wait_for(lambda: source.infos.messages, "camera_info")[0].k[0] == 90.0


def test_suspicious_intrinsics_are_published_with_a_warning(play, clip, tmp_path) -> None:
    path = tmp_path / "camera.yaml"
    path.write_text(camera_yaml(*SIZE, 5.0))
    source = play(source=clip, camera_info_file=path)
    assert wait_for(lambda: source.infos.messages, "camera_info")[0].k[0] == 5.0
    wait_for(lambda: "look wrong" in source.process.log, "the warning")


def test_a_loop_over_a_folder_of_images(play, tmp_path, demo_frames) -> None:
    for index in range(4):
        picture = np.full((90, 160, 3), 50 * index, np.uint8)
        cv2.imwrite(str(tmp_path / f"{index:03}.png"), picture)
    (tmp_path / "notes.txt").write_text("no image")
    source = play(source=tmp_path, loop=True, rate_hz=RATE_HZ)

    def shades() -> list[int]:
        return [int(m.data[0]) for m in source.images.messages]

    # A late image may be skipped.
    wait_for(lambda: len(shades()) >= 9 and set(shades()) == {0, 50, 100, 150}, "every image")
    images = list(source.images.messages)
    assert (np.diff([stamp_ns(m) for m in images]) > 0).all()
    shown = shades()
    assert any(after < before for before, after in zip(shown, shown[1:], strict=False))


def test_stamps_are_as_far_apart_as_the_container_says(play_to_the_end, tmp_path) -> None:
    times_ms = [0, 40, 80, 120, 500, 900, 1000, 2100]
    shades = [10 + 30 * i for i in range(len(times_ms))]
    path = write_matroska(
        tmp_path / "v.mkv",
        jpegs([np.full((96, 128, 3), shade, np.uint8) for shade in shades]),
        times_ms,
    )
    source = play_to_the_end(len(times_ms), least=3, source=path)
    # A late image may be skipped, but each that came has its own time.
    numbers = [round((int(m.data[0]) - 10) / 30) for m in source.images.messages]
    stamps_ms = np.array([stamp_ns(m) for m in source.images.messages]) / 1e6
    assert np.allclose(stamps_ms - stamps_ms[0], np.array(times_ms)[numbers] - times_ms[numbers[0]])


def test_a_rate_scales_the_containers_times(play_to_the_end, tmp_path) -> None:
    path = write_matroska(
        tmp_path / "v.mkv", jpegs([np.zeros((96, 128, 3), np.uint8)] * 4), range(4)
    )
    # Of 1000 Hz: the four images last 2 s.
    source = play_to_the_end(4, least=2, source=path, rate_hz=1.5)
    assert_on_the_grid(source.images.messages, 1.5)


def test_unreadable_images_of_a_folder_are_counted(play_to_the_end, tmp_path) -> None:
    for index in range(9):
        size = (64, 48) if index == 6 else (128, 96)
        path = tmp_path / f"{index}.jpg"
        cv2.imwrite(str(path), np.full((size[1], size[0], 3), 20 * index, np.uint8))
        if index in (3, 4):
            path.write_bytes(path.read_bytes()[:100])
    source = play_to_the_end(9, source=tmp_path, rate_hz=4.0)
    diagnostics = source.diagnostics
    assert diagnostics.count("frame_unreadable") == 2
    assert diagnostics.count("frame_size_changed") == 1
    assert len(source.images) == 6
    assert_on_the_grid(source.images.messages, 4.0)
    assert "2 of 9 frames could not be read" in source.process.log
    assert "1 of 9 frames are 64x48, not 128x96" in source.process.log


def test_a_damaged_video_is_played_to_its_end(play_to_the_end, clip, tmp_path) -> None:
    data = bytearray(clip.read_bytes())
    begin, length = len(data) * 4 // 10, len(data) // 5
    data[begin : begin + length] = bytes(length)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data)
    # Slowly, so that a busy machine skips no image.
    source = play_to_the_end(COUNT, source=path, rate_hz=4.0)
    assert source.diagnostics.count("frame_unreadable") >= 1
    images = source.images.messages
    assert_on_the_grid(images, 4.0)
    assert len(images) < COUNT
    assert f"of {COUNT} frames could not be read" in source.process.log


@pytest.mark.parametrize("name", ["clip #1.mp4", "a: b.mp4", "it''s \"ü\".mp4"])
def test_a_file_name_with_special_characters_is_played(play, clip, tmp_path, name: str) -> None:
    # In YAML's single quotes an apostrophe is written twice.
    shutil.copy(clip, tmp_path / name.replace("''", "'"))
    source = play(source=tmp_path / name)
    wait_for(lambda: source.images.messages, "images")


def test_a_number_is_a_webcam(start_node, diagnostics) -> None:
    """`source:=77` without quotes is a whole number for ROS."""
    process = start_node("video_source", source=77)
    status = diagnostics(process.topic("video_source"))
    wait_for(lambda: status.count("source_not_open"), "the count")
    assert "camera 77" in status.last().message


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
    if why == "fov 0":
        assert source.process.log.count("people have no root; give one") == 1
    else:
        wait_for(lambda: source.diagnostics.count("camera_info_size_mismatch"), "the count")


@pytest.mark.parametrize(
    ("parameters", "text", "expected"),
    [
        pytest.param({}, "image_width: [", "camera.yaml", id="no YAML"),
        pytest.param({}, "image_width: 3", "camera.yaml", id="keys missing"),
        pytest.param({}, "- 1", "camera.yaml", id="a list"),
        pytest.param({}, camera_yaml(640, 480, -5.0), "focal length", id="negative focal length"),
        pytest.param({}, None, "camera.yaml", id="no file"),
        pytest.param({"rate_hz": -1.0}, None, "rate_hz", id="negative rate"),
        pytest.param({"fov_deg": 0.5}, None, "field of view of 0.5", id="fov under 1"),
        pytest.param({"fov_deg": 171.0}, None, "fov_deg", id="fov over 170"),
        pytest.param({"fov_deg": "wide"}, None, "'auto'", id="another word"),
        pytest.param({"rectified": True}, None, "calibration file", id="rectified without a file"),
        pytest.param({"sauce": "x"}, None, "sauce", id="unknown parameter"),
        pytest.param({"source": 1.5}, None, "quote it", id="source that is no text"),
        pytest.param({"source": True}, None, "quote it", id="source that is a truth value"),
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
def test_an_unreadable_source_is_reported(play, clip, tmp_path, kind: str) -> None:
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
    assert status.level == b"\2"
    assert str(path) in status.message
    assert source.process.alive
    assert not source.images.messages


def test_a_file_that_appears_later_is_played(play, clip, tmp_path) -> None:
    path = tmp_path / "later.mp4"
    source = play(source=path)
    wait_for(lambda: source.diagnostics.count("source_not_open"), "the count")
    assert str(path) in source.diagnostics.last().message
    shutil.copy(clip, tmp_path / "part")
    (tmp_path / "part").rename(path)
    wait_for(lambda: source.images.messages, "images")


def test_exit_at_end_ends_the_process_without_a_video(start_node, tmp_path) -> None:
    process = start_node(
        "video_source", expect=False, source=tmp_path / "none.mp4", exit_at_end=True
    )
    assert process.wait() == FAILED
    assert "none.mp4" in process.log and "trying again" not in process.log
    assert "Traceback" not in process.log


@pytest.fixture(scope="module")
def damaged_bag(tmp_path_factory) -> Path:
    """A bag of five images, of which the fourth is damaged."""
    bag = write_bag(tmp_path_factory.mktemp("damaged") / "bag")
    (file,) = bag.glob("*.db3")
    with contextlib.closing(sqlite3.connect(file)) as database, database:
        image = "SELECT id FROM topics WHERE name LIKE '%/image'"
        number = f"SELECT id FROM messages WHERE topic_id = ({image}) LIMIT 1 OFFSET 3"
        changed = database.execute(f"UPDATE messages SET data = x'0001' WHERE id = ({number})")
        assert changed.rowcount == 1
    return bag


def test_a_source_that_fails_midway_ends_and_is_not_played_again(play, damaged_bag) -> None:
    source = play(source=damaged_bag)
    wait_for(lambda: "has ended" in source.process.log, "the end")
    # It does not come back, so the fault stays.
    source.diagnostics.wait_for_next()
    told = source.diagnostics.last()
    assert told.level == b"\2" and "the source failed" in told.message
    assert str(damaged_bag) in told.message and "Error(" not in told.message
    assert source.process.alive and source.diagnostics.count("source_failed") == 1


def test_exit_at_end_tells_by_the_exit_code_that_the_source_failed(play, damaged_bag) -> None:
    source = play(source=damaged_bag, exit_at_end=True, loop=True)
    assert source.process.wait() == FAILED
    assert "Traceback" not in source.process.log


def test_a_camera_that_holds_its_thread_over_a_restart_is_played_once(ros, monkeypatch) -> None:
    """An unplugged camera does so for ten seconds; the new thread must be the only one."""
    from emf_ros.nodes import video_source

    grabbing: list[threading.Thread] = []
    held, release = threading.Event(), threading.Event()

    class Holding(Camera):
        def grab(self) -> tuple[int, float] | None:
            grabbing.append(threading.current_thread())
            if grabbing[-1] is grabbing[0] and len(grabbing) > 2:
                held.set()
                assert release.wait(TIMEOUT_S)
            return super().grab()

    monkeypatch.setattr(
        video_source, "open_source", lambda *given, **options: Holding("0", None, False)
    )
    monkeypatch.setattr(video_source, "STOP_TIMEOUT_S", 0.1)
    node: Any = video_source.VideoSource()
    try:
        node.trigger_configure()
        node.trigger_activate()
        assert held.wait(TIMEOUT_S)
        node.trigger_deactivate()
        node.trigger_activate()
        wait_for(lambda: grabbing[-1] is not grabbing[0], "the new thread")
        release.set()
        wait_for(lambda: not grabbing[0].is_alive(), "the end of the old thread")
        more = len(grabbing) + 3
        wait_for(lambda: len(grabbing) > more, "more frames of the new one")
    finally:
        release.set()
        node.destroy_node()
        gc.unfreeze()
