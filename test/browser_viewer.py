"""The web viewer in a real browser: pixels are where they should be, and controls work.

`make test-browser` runs it. It needs Chromium, and is no part of `make test`, which tests the same
server over a websocket.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from chromium import Page
from ros_session import wait_for
from test_viewer import CAMERA, frame, person

from emf_ros.io.recordings import load_recording
from emf_ros.io.render.palette import color_of
from emf_ros.skeletons import H36M17
from emf_ros.viewer.viewer import Viewer

SIZE = (900, 640)

#: Number of pixels by which a drawing may be off.
NEAR_PX = 6.0


@pytest.fixture(scope="module")
def viewer() -> Iterator[Viewer]:
    made = Viewer("127.0.0.1", 0)
    made.set_camera(CAMERA)
    yield made
    made.close()


@pytest.fixture(scope="module")
def page(viewer: Viewer) -> Iterator[Page]:
    made = Page(viewer.address, SIZE)
    wait_for(lambda: viewer.watchers == 1, "the browser")
    wait_for(lambda: "Pause" in made.text(), "the panel")
    yield made
    made.close()


def projected(viewer: Viewer, point: np.ndarray) -> np.ndarray:
    """(2,) px, where the browser's view has a point, by the view that it tells."""
    camera = next(iter(viewer._server.get_clients().values())).camera
    w, x, y, z = camera.wxyz
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turn = np.eye(3) + 2 * w * cross + 2 * cross @ cross
    seen = turn.T @ (point - camera.position)
    focal = SIZE[1] / 2 / np.tan(camera.fov / 2)
    return np.array(SIZE) / 2 + focal * seen[:2] / seen[2]


def colored(picture: np.ndarray, track_id: int) -> np.ndarray:
    """(N, 2) px, the pixels in the hue of a person, without the panel."""
    hue = cv2.cvtColor(np.array([[color_of(track_id)]], np.uint8), cv2.COLOR_BGR2HSV)[0, 0, 0]
    hsv = cv2.cvtColor(picture, cv2.COLOR_BGR2HSV).astype(int)
    away = np.abs((hsv[..., 0] - hue + 90) % 180 - 90)
    shown = (away < 12) & (hsv[..., 1] > 90) & (hsv[..., 2] > 60)
    shown[:, SIZE[0] - 340 :] = False
    return np.argwhere(shown)[:, ::-1]


def distance(picture: np.ndarray, track_id: int, pixel: np.ndarray) -> float:
    """px, from a pixel to the nearest one in the hue of a person."""
    pixels = colored(picture, track_id)
    return float(np.linalg.norm(pixels - pixel, axis=1).min()) if len(pixels) else np.inf


def settled(page: Page) -> np.ndarray:
    """A picture that is the same as the one before: the browser has drawn all that came."""
    before = page.picture()
    for _ in range(40):
        now = page.picture()
        if np.abs(now.astype(int) - before).max() < 8:
            return now
        before = now
    pytest.fail("the page does not come to rest")


def test_people_are_drawn_where_they_are_and_move(viewer: Viewer, page: Page) -> None:
    hip = H36M17.index("left_hip")
    here, there = person(at=(-0.6, 0.0, 3.0)), person(at=(0.1, 0.1, 4.5))
    viewer.show(frame(here))
    first = settled(page)
    at = projected(viewer, here.joints[hip])
    other = projected(viewer, there.joints[hip])
    assert np.linalg.norm(at - other) > 60
    assert distance(first, 1, at) < NEAR_PX
    assert distance(first, 1, other) > 30
    viewer.scene.restart()
    viewer.show(frame(there, stamp_s=10.0))
    second = settled(page)
    assert distance(second, 1, other) < NEAR_PX
    assert distance(second, 1, at) > 30
    viewer.show(frame(stamp_s=30.0))
    assert not len(colored(settled(page), 1))


def test_from_the_camera_people_cover_themselves_in_the_image(viewer: Viewer, page: Page) -> None:
    body = person(at=(-0.4, 0.0, 3.0))
    image = np.full((480, 640, 3), 90, np.uint8)
    pixel = CAMERA.project(body.joints[H36M17.index("left_knee")])
    cv2.circle(image, tuple(np.round(pixel).astype(int).tolist()), 14, color_of(3), -1)
    viewer.show_image(image)
    page.click("from the camera")
    client = next(iter(viewer._server.get_clients().values()))
    wait_for(lambda: np.linalg.norm(client.camera.position) < 0.1, "the view of the camera")
    marked = colored(settled(page), 3).mean(axis=0)
    viewer.show(frame(body, stamp_s=40.0))
    assert distance(settled(page), 1, marked) < NEAR_PX
    viewer.show(frame(stamp_s=60.0))
    page.click("from the side")
    wait_for(lambda: np.linalg.norm(client.camera.position) > 2.0, "the view from the side")


def test_pause_keeps_people_where_they_are_until_go_on(viewer: Viewer, page: Page) -> None:
    knee = H36M17.index("left_knee")
    here, there = person(at=(-0.6, 0.0, 3.0)), person(at=(0.3, 0.1, 4.5))
    viewer.show(frame(here, stamp_s=70.0))
    settled(page)
    at, other = (projected(viewer, body.joints[knee]) for body in (here, there))
    page.click("Pause")
    wait_for(lambda: "Go on" in page.text(), "the other label")
    viewer.show(frame(there, stamp_s=80.0))
    still = settled(page)
    assert distance(still, 1, at) < NEAR_PX
    assert distance(still, 1, other) > 30
    page.click("Go on")
    wait_for(lambda: "Pause" in page.text(), "the first label")
    viewer.show(frame(there, stamp_s=80.1))
    moved = settled(page)
    assert distance(moved, 1, other) < NEAR_PX
    assert distance(moved, 1, at) > 30


def test_record_makes_a_file_of_the_people_that_are_shown(viewer: Viewer, page: Page) -> None:
    page.click("Record")
    wait_for(lambda: "End the recording (0 s)" in page.text(), "the recording")
    for step in range(3):
        viewer.show(frame(person(at=(0.1 * step, 0.0, 4.0)), stamp_s=81.0 + step))
    wait_for(lambda: "End the recording (2 s)" in page.text(), "the length")
    page.click("End the recording (2 s)")
    found = wait_for(lambda: list(page.downloads.glob("*.npz")), "the download")
    recording = load_recording(found[0])
    np.testing.assert_allclose(recording.root[:, 0], [0.0, 0.1, 0.2], atol=1e-6)


def test_follow_keeps_a_person_in_the_middle_of_the_page(viewer: Viewer, page: Page) -> None:
    middle = np.array(SIZE) / 2
    body = person(at=(-0.8, 0.0, 3.0))
    viewer.show(frame(body, stamp_s=90.0))
    settled(page)
    assert np.linalg.norm(projected(viewer, body.root) - middle) > 30
    page.click("Follow")
    page.click("#1")
    wait_for(lambda: viewer.panel.follow.value == "#1", "the choice")
    for step in range(3):
        at = (-0.8 + 0.4 * step, 0.0, 3.0 + 0.2 * step)

        def followed(at: tuple[float, float, float] = at, step: int = step) -> bool:
            # The view moves with a later message.
            viewer.show(frame(person(at=at), stamp_s=91.0 + step))
            return bool(np.linalg.norm(projected(viewer, np.array(at)) - middle) < NEAR_PX)

        wait_for(followed, "the view of the person")
        assert distance(settled(page), 1, middle) < NEAR_PX
    page.click("Follow")
    page.click("nobody")
    wait_for(lambda: viewer.panel.follow.value == "nobody", "the end of it")


def test_a_killed_browser_does_no_harm(viewer: Viewer, page: Page) -> None:
    other = Page(viewer.address, SIZE)
    wait_for(lambda: viewer.watchers == 2, "the second browser")
    other.kill()
    wait_for(lambda: viewer.watchers == 1, "the end of the second browser")
    viewer.show(frame(person(), stamp_s=100.0))
    assert len(colored(settled(page), 1))
