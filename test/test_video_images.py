"""Which image of a video is shown beside which people, and which video is refused."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from ros_session import wait_for
from test_bags import IMAGES, RATE_HZ, START_NS, picture, write_bag
from test_viewer import recording_of
from viewer_client import Browser

from emf_ros.cli.main import main
from emf_ros.io.frame_source import FrameSource, VideoError
from emf_ros.io.recordings import Recording
from emf_ros.io.video import open_source
from emf_ros.viewer.playback import NO_IMAGE, Playback
from emf_ros.viewer.video_images import VideoImages
from emf_ros.viewer.viewer import Viewer

#: Stamp of the first image of a bag, s.
START_S = START_NS / 1e9


def people(stamps_s: np.ndarray, numbered: bool = True) -> Recording:
    """A person at stamps, s, of the images 0, 1, 2 and so on, or of unknown ones."""
    recording = recording_of(len(stamps_s))
    recording.stamp = np.asarray(stamps_s, dtype=float)
    if not numbered:
        recording.frame[:] = -1
    return recording


def write_folder(folder: Path, count: int = IMAGES) -> Path:
    folder.mkdir()
    for number in range(count):
        cv2.imwrite(str(folder / f"{number}.png"), picture(number))
    return folder


def shown(video: VideoImages, stamp: float, count: int = IMAGES) -> int | None:
    """Number of the image at a stamp, s; None without one."""
    image = video.at(float(stamp))
    return next(
        (k for k in range(count) if image is not None and np.array_equal(image, picture(k))), None
    )


class Opened:
    """Counts how often a bag is opened, and how many of its images are grabbed."""

    def __init__(self, bag: Path) -> None:
        self._bag, self.opened, self.grabbed = bag, 0, 0

    def __call__(self) -> FrameSource:
        source = open_source(self._bag)
        self.opened += 1
        grab = source.grab

        def counted() -> tuple[int, float] | None:
            self.grabbed += 1
            return grab()

        source.grab = counted  # type: ignore[method-assign]
        return source


# ---------------------------------------------------------------------------------- which image


def test_a_live_recording_is_shown_with_the_images_of_its_bag(tmp_path: Path) -> None:
    """As a browser records it: the stamps are those of the bag, and no row has a number."""
    bag = write_bag(tmp_path / "bag")
    video = VideoImages(lambda: open_source(bag), people(START_S + np.arange(5) / 10, False))
    assert [shown(video, START_S + (n + 0.5) / RATE_HZ) for n in (1, 3)] == [1, 3]


def test_people_are_shown_with_the_image_of_their_number(tmp_path: Path) -> None:
    """Also where the stamps of a clock are rounded."""
    folder = write_folder(tmp_path / "images")
    recording = people(1.8e9 + 0.123 + np.arange(5) / 30).rows(np.arange(1, 5))
    video = VideoImages(lambda: open_source(folder), recording)
    assert [shown(video, stamp) for stamp in recording.stamp] == [1, 2, 3, 4]


def test_the_image_before_a_gap_is_shown_until_the_next_one(tmp_path: Path) -> None:
    opened = Opened(write_bag(tmp_path / "bag", times_s=(0.0, 0.05, 0.1, 3.1, 3.15)))
    video = VideoImages(opened, people(START_S + np.arange(5) / 10, False))
    for time_s in np.arange(0.0, 3.09, 0.02):
        assert shown(video, START_S + time_s) == min(int(time_s / 0.05 + 1e-3), 2)
    assert [shown(video, START_S + at) for at in (3.101, 3.151, 4.1, 9.0)] == [3, 4, 4, None]
    # One more grab finds the end.
    assert (opened.opened, opened.grabbed) == (1, 6)
    # A step back, then a jump over images into the gap, both at once, and before the first one.
    jumps = (0.01, 2.0, 0.06, 3.2, 1.0, -0.1)
    assert [shown(video, START_S + at) for at in jumps] == [0, 2, 1, 4, 2, None]


def test_a_rate_that_differs_little_shows_each_person_with_the_right_image(tmp_path: Path) -> None:
    """29 in place of 30 Hz: by the times alone the images would be two off after 60 of them."""
    folder = write_folder(tmp_path / "images", 70)
    recording = people(np.arange(61) / 29)
    recording.frame[30:] = -1
    recording.frame[60] = 60
    video = VideoImages(lambda: open_source(folder, 30.0), recording)
    assert not video.fault
    assert np.array_equal(video.at(float(recording.stamp[60])), picture(60))
    assert np.array_equal(video.at(float(recording.stamp[20])), picture(20))


def test_the_page_says_where_the_video_has_no_image(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "images")
    viewer = Viewer("127.0.0.1", 0)
    playback = Playback(viewer, people(np.arange(60) / 10), lambda: open_source(folder, 10.0))
    browser, stop = Browser(viewer.port), threading.Event()
    player = threading.Thread(target=playback.run, args=(stop.is_set,))
    player.start()
    try:
        wait_for(lambda: "/camera/image" in browser.nodes, "the image")
        browser.set("Time, s", 4.0)
        wait_for(lambda: NO_IMAGE in browser.texts, "the sentence")
        wait_for(lambda: "/camera/image" not in browser.nodes, "no image")
    finally:
        stop.set()
        player.join()
        browser.close()
        viewer.close()


# ---------------------------------------------------------------------------------- which video


@pytest.mark.parametrize(
    ("stamps_s", "numbered", "message"),
    [
        (np.arange(60) / 30, True, "apart in the video, and .* and the same --rate"),
        (1.8e9 + np.arange(60) / 15, False, "they name no images, .* are 0.00 to 3.93 s. Give the"),
        (np.arange(60) / 15 + 4.1, False, "they name no images"),
    ],
    ids=["another rate", "of a clock", "later"],
)
def test_view_refuses_a_video_that_is_not_that_of_the_recording(
    stamps_s: np.ndarray,
    numbered: bool,
    message: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture,
) -> None:
    folder, path = write_folder(tmp_path / "images", 60), tmp_path / "a.npz"
    people(stamps_s, numbered).save(path)
    words = ["view", str(path), "--video", str(folder), "--rate", "15", "--port", "0"]
    assert main(words) == 1
    written = capfd.readouterr()
    (line,) = written.err.splitlines()
    assert re.search(message, line) and not written.out


def test_a_video_that_fails_while_it_is_viewed_is_said_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, path = write_folder(tmp_path / "images", 60), tmp_path / "a.npz"
    people(np.arange(60) / 15, True).save(path)

    def run(playback: Playback, ended: object) -> None:
        raise VideoError("the disk was taken out")

    monkeypatch.setattr(Playback, "run", run)
    words = ["view", str(path), "--video", str(folder), "--rate", "15", "--port", "0"]
    assert main(words) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert str(folder) in line and "the disk was taken out" in line


def test_a_video_without_the_images_of_the_poses_is_refused(tmp_path: Path) -> None:
    folder, recording = write_folder(tmp_path / "images"), people(np.arange(9) / 30)
    assert not VideoImages(lambda: open_source(folder), recording).fault
    other = VideoImages(lambda: open_source(folder), recording.rows(np.arange(5, 9)))
    assert "of the images 5 to 8" in other.fault and shown(other, 0.2) is None


def test_a_recording_of_another_rate_than_a_bag_is_found_while_the_bag_is_read(
    tmp_path: Path,
) -> None:
    bag = write_bag(tmp_path / "bag", times_s=np.arange(30) / 20)
    for rate_hz, fits in ((20, True), (10, False)):
        video = VideoImages(lambda: open_source(bag), people(5.0 + np.arange(30) / rate_hz))
        assert shown(video, 5.01) == 0 and not video.fault
        assert (video.at(6.0) is not None) == fits
        assert ("the same --rate" in video.fault) != fits
        assert (video.at(5.01) is not None) == fits


@pytest.mark.parametrize("late_s", [-100.0, 100.0])
def test_a_live_recording_of_another_time_than_the_bag_has_no_images(
    late_s: float, tmp_path: Path
) -> None:
    bag = write_bag(tmp_path / "bag")
    recording = people(START_S + late_s + np.arange(5) / 10, False)
    video = VideoImages(lambda: open_source(bag), recording)
    # That all poses are later is known only at the end of the bag.
    assert bool(video.fault) == (late_s < 0)
    assert shown(video, recording.stamp[0]) is None
    assert "they name no images" in video.fault
