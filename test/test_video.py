"""Videos and folders of images: times, numbers, what is damaged, and what cannot be decoded."""

from __future__ import annotations

import subprocess
import sys
from itertools import accumulate
from pathlib import Path

import cv2
import numpy as np
import pytest
from inputs import write_clip
from matroska import jpegs, write_matroska

from emf_ros.cli.main import main
from emf_ros.io import video_file
from emf_ros.io.container import FrameIndex
from emf_ros.io.frame_source import VideoError
from emf_ros.io.recordings import load_recording
from emf_ros.io.render.video import playback_rate_hz, render_recording
from emf_ros.io.video import frames_of, losses, open_source, times_of

COUNT = 40
RATE_HZ = 20.0
SIZE = (128, 96)


def frames(count: int = COUNT, size: tuple[int, int] = SIZE) -> list[np.ndarray]:
    """Images with a texture that moves, so that every codec has something to keep."""
    noise = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    return [np.roll(smooth, 3 * i, axis=1) for i in range(count)]


def encoded(path: Path, codec: str, shown: list[np.ndarray], rate_hz: float = RATE_HZ) -> Path:
    """A file as OpenCV writes it."""
    size = (shown[0].shape[1], shown[0].shape[0])
    writer = cv2.VideoWriter(
        str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), rate_hz, size
    )
    assert writer.isOpened()
    for frame in shown:
        writer.write(frame)
    writer.release()
    return path


def packets_of(path: Path) -> list[bytes]:
    """The encoded frames of a file."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    assert capture.set(cv2.CAP_PROP_FORMAT, -1)
    out = []
    while True:
        ok, packet = capture.read()
        if not ok:
            return out
        out.append(packet.tobytes())


def damage(path: Path, begin: float, end: float) -> Path:
    """Zeros in place of this part of the file."""
    data = bytearray(path.read_bytes())
    first, last = int(begin * len(data)), int(end * len(data))
    data[first:last] = bytes(last - first)
    path.write_bytes(data)
    return path


def read(path: Path | str, rate_hz: float | None = None) -> tuple[list[int], np.ndarray]:
    """Numbers and times, s, of the frames of a source that can be read."""
    source = open_source(path, rate_hz)
    seen = [(number, time_s) for number, time_s, _ in frames_of(source)]
    source.close()
    return [number for number, _ in seen], np.array([time_s for _, time_s in seen])


STEPS_MS = {
    "a phone in the dark": [33] * 20 + [100] * 19,
    "a browser's webm": [31, 36, 16, 50, 33, 34, 117, 33] * 5,
    "under one a second": [1500, 2500, 4000] * 4,
    "high speed": [1, 2, 1, 1] * 8,
}


@pytest.mark.parametrize("steps_ms", STEPS_MS.values(), ids=STEPS_MS.keys())
def test_times_are_the_containers(tmp_path: Path, steps_ms: list[int]) -> None:
    times_ms = list(accumulate(steps_ms, initial=700))
    path = write_matroska(tmp_path / "v.mkv", jpegs(frames(len(times_ms))), times_ms)
    source = open_source(path)
    expected = (np.array(times_ms) - 700) / 1000
    numbers, times = read(path)
    assert numbers == list(range(len(times_ms)))
    assert np.allclose(times, expected, atol=1e-6)
    assert np.allclose(source.times(), expected, atol=1e-6)
    assert source.rate_hz == pytest.approx((len(times_ms) - 1) / expected[-1])
    assert source.count == len(times_ms) and not source.notice and not losses(source)
    # Again from the beginning.
    list(frames_of(source))
    assert source.rewind()
    assert np.allclose([t for _, t, _ in frames_of(source)], expected, atol=1e-6)


def test_frames_have_times_where_opencv_does_not_list_them(tmp_path: Path, monkeypatch) -> None:
    """OpenCV before 4.10 gives packets without times, and an index without times comes of it."""
    times_ms = list(accumulate([33, 100, 33, 50, 33]))
    path = write_matroska(tmp_path / "v.mkv", jpegs(frames(len(times_ms))), times_ms)
    listed = times_of(open_source(path))
    none = np.zeros(0)
    index = FrameIndex(none, none.astype(np.int64), none, len(times_ms))
    monkeypatch.setattr(video_file, "read_index", lambda path: index)
    assert open_source(path).times() is None
    assert np.allclose(times_of(open_source(path)), listed, atol=1e-6)
    assert np.allclose(times_of(open_source(path), 2), listed[:2], atol=1e-6)


@pytest.mark.parametrize("rate_hz", [0.5, 29.97, 300.0, 1000.0])
def test_a_constant_rate_is_kept_at_any_rate(tmp_path: Path, rate_hz: float) -> None:
    path = write_clip(tmp_path / "v.mp4", frames(12), rate_hz)
    numbers, times = read(path)
    assert numbers == list(range(12)) and np.allclose(times, np.arange(12) / rate_hz, rtol=1e-3)


def test_a_given_rate_scales_the_times(tmp_path: Path) -> None:
    """A slow-motion video: the steps keep their proportions."""
    path = write_matroska(tmp_path / "v.mkv", jpegs(frames(5)), [0, 100, 200, 400, 800])
    _, times = read(path, 50.0)
    assert np.allclose(times, np.array([0, 1, 2, 4, 8]) / 100)
    for rate_hz in (0.0, -3.0, float("nan")):
        with pytest.raises(VideoError, match="rate"):
            open_source(path, rate_hz)


def test_a_stream_without_times_says_so_and_takes_a_rate(tmp_path: Path) -> None:
    path = tmp_path / "v.mjpeg"
    path.write_bytes(b"".join(jpegs(frames(10))))
    assert "holds no times" in open_source(path).notice
    _, times = read(path, 8.0)
    assert np.allclose(times, np.arange(10) / 8)


def test_hidden_frames_of_vp8_are_no_frames(tmp_path: Path) -> None:
    packets = packets_of(encoded(tmp_path / "v.webm", "VP80", frames(10)))
    # The second one once more before it, with the bit that shows it cleared.
    hidden = bytes([packets[1][0] & ~0x10]) + packets[1][1:]
    times_ms = [0, 49, *range(50, 500, 50)]
    path = write_matroska(
        tmp_path / "v.mkv", [packets[0], hidden, *packets[1:]], times_ms, "V_VP8", SIZE
    )
    source = open_source(path)
    seen = list(frames_of(source))
    assert [number for number, _, _ in seen] == list(range(10)) and source.count == 10
    assert not losses(source)


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("v.mp4", "mp4v"),
        ("jpeg.mp4", "MJPG"),
        ("v.avi", "MJPG"),
        ("xvid.avi", "XVID"),
        ("v.mkv", "MJPG"),
        ("v.webm", "VP80"),
        ("v.ts", "mp4v"),
    ],
)
def test_a_damaged_stretch_shifts_nothing(tmp_path: Path, name: str, codec: str) -> None:
    path = encoded(tmp_path / name, codec, frames(size=(320, 180)))
    numbers, times = read(path)
    assert numbers == list(range(COUNT)) and np.allclose(times, np.arange(COUNT) / RATE_HZ)
    source = open_source(damage(path, 0.4, 0.55))
    seen = [(number, time_s) for number, time_s, _ in frames_of(source)]
    numbers = [number for number, _ in seen]
    lost = COUNT - len(seen)
    assert 3 <= lost <= 15
    assert numbers[0] == 0 and numbers[-1] == COUNT - 1
    assert np.allclose([time_s for _, time_s in seen], np.array(numbers) / RATE_HZ)
    assert losses(source) == [f"{lost} of {COUNT} frames could not be read"]


@pytest.mark.parametrize(("begin", "end"), [(0.02, 0.2), (0.7, 0.93)], ids=["begin", "end"])
def test_a_damaged_begin_and_end_are_counted(tmp_path: Path, begin: float, end: float) -> None:
    path = damage(encoded(tmp_path / "v.mp4", "MJPG", frames()), begin, end)
    source = open_source(path)
    seen = [(number, time_s) for number, time_s, _ in frames_of(source)]
    lost = COUNT - len(seen)
    assert lost >= 5 and source.count == COUNT and source.unreadable == lost
    assert np.allclose([t for _, t in seen], np.array([n for n, _ in seen]) / RATE_HZ)


def test_an_avi_without_its_list_header_is_not_sure_of_its_times(tmp_path: Path) -> None:
    path = encoded(tmp_path / "v.avi", "MJPG", frames())
    data = path.read_bytes()
    begin = data.find(b"movi") - 8
    path.write_bytes(data[:begin] + bytes(6000) + data[begin + 6000 :])
    source = open_source(path)
    seen = list(frames_of(source))
    lost = COUNT - len(seen)
    assert 1 <= lost <= 10 and losses(source) == [f"{lost} of {COUNT} frames could not be read"]
    assert f"too early by up to {lost / RATE_HZ:.3g} s" in source.notice


def image_folder(folder: Path, named: dict[str, np.ndarray]) -> Path:
    folder.mkdir()
    for name, frame in named.items():
        assert cv2.imwrite(str(folder / name), frame)
    return folder


def shade(value: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.full((size[1], size[0], 3), value, np.uint8)


def test_a_folder_is_in_natural_order_at_its_rate(tmp_path: Path) -> None:
    names = ["frame1.png", "frame2.png", "frame10.png", "frame010b.png", "frame100.png"]
    folder = image_folder(tmp_path / "f", {n: shade(40 * i) for i, n in enumerate(names)})
    (folder / "._frame1.png").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X        ")
    cv2.imwrite(str(folder / ".frame0.png"), shade(255))
    (folder / "notes.txt").write_text("no image")
    source = open_source(folder, 0.5)
    seen = list(frames_of(source))
    assert [int(frame[0, 0, 0]) for _, _, frame in seen] == [0, 40, 80, 120, 160]
    assert [(number, time_s) for number, time_s, _ in seen] == [(i, 2.0 * i) for i in range(5)]
    assert not losses(source)
    assert open_source(folder).rate_hz == 30.0


def test_bad_files_and_other_sizes_in_a_folder_are_counted(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "f", {f"{i}.jpg": shade(10 * i) for i in range(12)})
    (folder / "0.jpg").write_bytes(b"")
    whole = (folder / "3.jpg").read_bytes()
    (folder / "3.jpg").write_bytes(whole[: len(whole) * 2 // 3])
    for name in ("7.jpg", "8.jpg"):
        cv2.imwrite(str(folder / name), shade(0, (64, 48)))
    source = open_source(folder, 10.0)
    seen = [(number, time_s) for number, time_s, _ in frames_of(source)]
    assert seen == [(i, i / 10) for i in range(12) if i not in (0, 3, 7, 8)]
    assert losses(source) == [
        "2 of 12 frames could not be read",
        "2 of 12 frames are 64x48, not 128x96 like the first: left out",
    ]
    for path in folder.iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(VideoError, match="none of the 12 images"):
        open_source(folder)


def test_an_existing_path_wins_over_a_webcam(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image_folder(tmp_path / "0001", {"1.png": shade(7)})
    monkeypatch.chdir(tmp_path)
    assert open_source("0001").count == 1
    with pytest.raises(VideoError, match="no file or folder 1700000000000, and no such camera"):
        open_source("1700000000000")
    with pytest.raises(VideoError, match="camera 77"):
        open_source("77")


@pytest.mark.parametrize(
    "name", ["clip #1.mp4", "12:30.mp4", 'it\'s "so".mp4', " ünï 好.mp4", "take%02d.mp4", "-v.mp4"]
)
def test_a_file_name_with_special_characters_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write_clip(tmp_path / "v.mp4", frames(3)).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert len(read(name)[0]) == 3


def test_an_undecodable_video_is_named(tmp_path: Path) -> None:
    def why(path: Path) -> str:
        with pytest.raises(VideoError) as error:
            open_source(path)
        assert str(path) in str(error.value) and "\n" not in str(error.value)
        return str(error.value)

    nothing, times_ms = [b"\x12\0" + bytes(50)] * 5, range(0, 500, 100)
    no_decoder = why(write_matroska(tmp_path / "a b.mkv", nothing, times_ms, "V_AV1"))
    assert "AV01" in no_decoder or "V_AV1" in no_decoder
    assert f"ffmpeg -i '{tmp_path}/a b.mkv' -c:v libx264" in no_decoder
    assert "V_NEW/1" in why(write_matroska(tmp_path / "v.mkv", nothing, times_ms, "V_NEW/1"))
    sound = write_matroska(tmp_path / "s.mkv", nothing, times_ms, "A_PCM/INT/LIT")
    assert "sound and no frames" in why(sound)
    assert "holds no frames" in why(write_matroska(tmp_path / "n.mkv", [], []))
    (tmp_path / "empty.mp4").write_bytes(b"")
    assert "is empty" in why(tmp_path / "empty.mp4")
    clip = write_clip(tmp_path / "clip.mp4", frames(5)).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(clip[: clip.find(b"moov") - 4])
    assert "moov" in why(tmp_path / "cut.mp4")
    # Every packet is there, and none can be decoded.
    data = bytearray(clip)
    begin = data.find(b"mdat") + 4
    data[begin : data.find(b"moov")] = bytes(data.find(b"moov") - begin)
    (tmp_path / "zeros.mp4").write_bytes(data)
    assert "ffmpeg" in why(tmp_path / "zeros.mp4")


@pytest.fixture(scope="module")
def damaged_folder(tmp_path_factory: pytest.TempPathFactory, demo_frames) -> Path:
    """Two seconds of two people at 15 Hz; the frames 10 to 14 are damaged."""
    folder = tmp_path_factory.mktemp("damaged") / "0001"
    folder.mkdir()
    for index, frame in enumerate(demo_frames[:60:2]):
        path = folder / f"{index}.jpg"
        cv2.imwrite(str(path), frame)
        if 10 <= index < 15:
            path.write_bytes(path.read_bytes()[:200])
    return folder


def test_lift_and_render_keep_time_over_damage(damaged_folder: Path, tmp_path: Path) -> None:
    """The commands as a user runs them, with their stderr in a log."""
    out, look = tmp_path / "o.npz", tmp_path / "o.mp4"

    def run(*arguments: object) -> str:
        command = [sys.executable, "-m", "emf_ros.cli", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=damaged_folder.parent)
        assert done.returncode == 0, done.stderr
        assert "5 of 30 frames could not be read" in done.stderr
        # Progress in a log is a few lines.
        assert 1 <= done.stderr.count("frame/s") <= 3 and "\r" not in done.stderr
        return done.stderr

    run("lift", "0001", "--rate", 15, "--fov", 60, "--device", "cpu", "--out", out)
    recording = load_recording(out)
    assert np.allclose(recording.stamp, recording.frame / 15)
    assert recording.frame.max() == 29 and not set(recording.frame) & set(range(10, 15))
    run("render", out, "0001", "--rate", 15, "--out", look)
    _, times = read(look)
    assert np.allclose(times, np.arange(30) / 15, atol=1e-3)


def test_a_rendered_video_keeps_a_variable_rate(tmp_path: Path) -> None:
    from emf_ros.io.recording_writer import RecordingWriter
    from emf_ros.skeletons import H36M17

    shades = [20, 120, 220, 70]
    path = write_matroska(
        tmp_path / "v.mkv", jpegs([shade(s, (320, 240)) for s in shades]), [0, 100, 600, 1000]
    )
    source = open_source(path)
    rate_hz = playback_rate_hz(source)
    empty = RecordingWriter(H36M17, (320, 240)).recording()
    render_recording(empty, frames_of(source), tmp_path / "out.mp4", rate_hz, 240)
    shown = [(t, int(p[60, 160, 0])) for _, t, p in frames_of(open_source(tmp_path / "out.mp4"))]
    changes = [shown[0][0]]
    changes += [b[0] for a, b in zip(shown, shown[1:], strict=False) if abs(a[1] - b[1]) > 10]
    assert np.allclose(changes, [0, 0.1, 0.6, 1.0], atol=0.5 / rate_hz + 1e-3)


def test_a_video_that_cannot_be_decoded_ends_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write_matroska(tmp_path / "v.mkv", [bytes(60)] * 4, range(0, 400, 100), "V_AV1")
    capfd.readouterr()
    assert main(["lift", str(path), "--device", "cpu", "--out", str(tmp_path / "o.npz")]) == 1
    said = capfd.readouterr().err.splitlines()
    assert [line for line in said if "V_AV1" in line or "AV01" in line] == said[-1:]
    assert "ffmpeg -i" in said[-1] and not [line for line in said if "OBU" in line]
