"""The web viewer: what reaches a browser over its websocket, and what its controls do."""

from __future__ import annotations

import gc
import math
import re
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from bodies import Body
from ros_session import TIMEOUT_S, wait_for
from viewer_client import Browser

from emf_ros.geometry.camera import Camera
from emf_ros.io.recording_writer import RecordingWriter
from emf_ros.io.recordings import Recording, load_recording
from emf_ros.io.render.id_labels import id_labels
from emf_ros.skeletons import H36M17, get_layout
from emf_ros.types import Frame2D, Frame3D, Pose2D, Pose3D, TrackState
from emf_ros.viewer import shapes
from emf_ros.viewer.playback import Playback
from emf_ros.viewer.recorder import Recorder
from emf_ros.viewer.viewer import (
    FIELD_OF_VIEW_ACROSS_RAD,
    FIELD_OF_VIEW_RAD,
    Viewer,
    field_of_view_rad,
)

CAMERA = Camera.from_fov(640, 480, 60.0)


def person(track_id: int = 1, at: tuple[float, float, float] = (0.0, 0.0, 4.0)) -> Pose3D:
    """A person whose pelvis is at a position, m."""
    made = Pose3D.unknown(track_id, TrackState.TRACKED)
    made.joints = Body().seen(root=at)
    made.confidence = np.full(len(H36M17), 0.9)
    made.stddev = np.full(len(H36M17), 0.03)
    made.root = made.last_root = np.array(at)
    made.root_valid = True
    made.root_covariance = made.last_root_covariance = np.diag([0.01, 0.01, 0.25])
    return made


def frame(*people: Pose3D, stamp_s: float = 0.0) -> Frame3D:
    return Frame3D(round(stamp_s * 1e9), 0, list(people), 1.0)


@pytest.fixture(scope="module")
def shared() -> Iterator[Viewer]:
    made = Viewer("127.0.0.1", 0)
    yield made
    made.close()


@pytest.fixture
def viewer(shared: Viewer) -> Viewer:
    """The viewer of this file, without people."""
    shared.scene.restart()
    shared.set_camera(None)
    shared.draw(frame())
    return shared


@pytest.fixture
def browser(viewer: Viewer) -> Iterator[Browser]:
    made = Browser(viewer.port)
    wait_for(lambda: viewer.watchers == 1, "the browser")
    yield made
    made.close()
    wait_for(lambda: viewer.watchers == 0, "the end of the browser")


# ---------------------------------------------------------------------------------- shapes


def test_the_ellipsoid_of_a_covariance_has_its_standard_deviations_along_its_axes() -> None:
    rng = np.random.default_rng(4)
    for _ in range(50):
        axes = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        covariance = axes @ np.diag([0.01, 0.04, 0.25]) @ axes.T
        found = shapes.ellipsoid(covariance)
        assert found is not None
        (w, x, y, z), semi_axes = found
        turn = rotation(w, x, y, z)
        np.testing.assert_allclose(turn @ np.diag(semi_axes**2) @ turn.T, covariance, atol=1e-9)


@pytest.mark.parametrize(
    "covariance", [np.full((3, 3), np.nan), np.zeros((3, 3)), np.diag([1.0, 1.0, 1e6])]
)
def test_an_unknown_covariance_has_no_ellipsoid(covariance: np.ndarray) -> None:
    assert shapes.ellipsoid(covariance) is None


def test_bones_reach_from_joint_to_joint() -> None:
    body = person()
    bones = shapes.bone_cylinders([body])
    for k, (a, b) in enumerate(H36M17.edges):
        half = rotation(*bones.wxyz[k]) @ np.array([0.0, 0.0, bones.scales[k, 2] / 2])
        np.testing.assert_allclose(bones.positions[k] - half, body.joints[a], atol=1e-9)
        np.testing.assert_allclose(bones.positions[k] + half, body.joints[b], atol=1e-9)


def test_the_confidence_is_the_opacity() -> None:
    body = person()
    body.confidence = np.linspace(0.0, 1.0, len(H36M17))
    opacities = shapes.joint_spheres([body]).opacities
    assert opacities[0] == shapes.MIN_OPACITY and opacities[-1] == 1.0
    assert (np.diff(opacities) > 0).all()


def test_unknown_joints_and_their_bones_are_left_out() -> None:
    body = person()
    wrist = H36M17.index("left_wrist")
    body.joints[wrist, 1] = np.nan
    assert len(shapes.joint_spheres([body])) == len(H36M17) - 1
    assert len(shapes.bone_cylinders([body])) == len(H36M17.edges) - 1
    assert len(shapes.joint_ellipsoids([body])) == len(H36M17) - 1


def test_a_person_without_root_is_not_drawn_at_the_origin() -> None:
    body = person()
    body.root_valid, body.joints = False, Body().seen()
    assert not len(shapes.joint_spheres([body])) and not len(shapes.bone_cylinders([body]))
    # Where the person was last is known.
    assert len(shapes.root_ellipsoids([body])) == 1


def test_ids_of_eight_digits_have_short_labels_that_differ() -> None:
    assert id_labels([1, 12, 345]) == {1: "#1", 12: "#12", 345: "#345"}
    assert id_labels([60241771, 60241772]) == {60241771: "#..771", 60241772: "#..772"}
    assert id_labels([60241771, 60242771]) == {60241771: "#..1771", 60242771: "#..2771"}
    assert id_labels([771, 60241771]) == {771: "#771", 60241771: "#..771"}


def rotation(w: float, x: float, y: float, z: float) -> np.ndarray:
    """The matrix of a quaternion."""
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + 2 * w * cross + 2 * cross @ cross


# ---------------------------------------------------------------------------------- a browser


def test_a_browser_gets_people_where_they_are(viewer: Viewer, browser: Browser) -> None:
    viewer.show(frame(person(at=(0.5, 0.1, 4.0))))
    wait_for(lambda: len(browser.instances("joints")) == len(H36M17), "the joints")
    expected = Body().seen(root=(0.5, 0.1, 4.0))
    np.testing.assert_allclose(browser.instances("joints"), expected, atol=1e-5)
    wait_for(lambda: browser.labels() == {"#1"}, "the label, which comes last")
    assert len(browser.instances("bones")) == len(H36M17.edges)
    assert len(browser.instances("root_uncertainty")) == 1
    viewer.show(frame(stamp_s=0.1))
    wait_for(lambda: not len(browser.instances("joints")), "the empty scene")
    wait_for(lambda: browser.labels() == set(), "no label")


def test_a_browser_that_comes_later_sees_the_same(viewer: Viewer) -> None:
    viewer.show(frame(person()))
    late = Browser(viewer.port)
    wait_for(lambda: len(late.instances("joints")) == len(H36M17), "the joints")
    late.drop()
    wait_for(lambda: viewer.watchers == 0, "the end of a browser that says nothing")
    # The next one is served as before.
    again = Browser(viewer.port)
    wait_for(lambda: len(again.instances("joints")) == len(H36M17), "the joints")
    again.close()
    wait_for(lambda: viewer.watchers == 0, "the end of the browser")


def test_fifty_people_are_shown(viewer: Viewer, browser: Browser) -> None:
    people = [person(60000000 + i, at=(i % 10 - 5.0, 0.0, 3.0 + i // 10)) for i in range(50)]
    viewer.show(frame(*people))
    wait_for(lambda: len(browser.instances("joints")) == 50 * len(H36M17), "all joints")
    wait_for(lambda: len(browser.labels()) == 50, "all labels")
    assert "#..049" in browser.labels()
    viewer.show(frame(people[0], stamp_s=0.1))
    wait_for(lambda: len(browser.instances("joints")) == len(H36M17), "one person")


def test_the_image_stands_where_the_rays_of_its_pixels_pass(
    viewer: Viewer, browser: Browser
) -> None:
    matrix = np.array([[500.0, 0, 300.0], [0, 400.0, 250.0], [0, 0, 1]])
    viewer.set_camera(Camera(matrix, (640, 480)))
    viewer.show_image(np.full((480, 640, 3), (10, 20, 200), np.uint8))
    wait_for(lambda: browser.property_of("/camera/image", "position"), "the image, placed")
    node = wait_for(
        lambda: (n := browser.nodes["/camera/image"])["position"][2] and n, "its distance"
    )
    x, y, z = node["position"]
    assert z == node["scale"] == 1.0
    left, top = x - node["render_width"] / 2, y - node["render_height"] / 2
    np.testing.assert_allclose([left * 500 / z + 300, top * 400 / z + 250], [-0.5, -0.5], atol=1e-6)
    right, low = x + node["render_width"] / 2, y + node["render_height"] / 2
    np.testing.assert_allclose([right * 500 / z + 300, low * 400 / z + 250], [639.5, 479.5])
    image = cv2.imdecode(np.frombuffer(node["_data"], np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(image.reshape(-1, 3).mean(axis=0) - (10, 20, 200)).max() < 4


def test_an_image_without_intrinsics_has_its_own_shape(viewer: Viewer, browser: Browser) -> None:
    viewer.set_camera(None)
    viewer.show_image(np.zeros((640, 360, 3), np.uint8))

    def shape() -> Any:
        node = browser.nodes.get("/camera/image")
        return node and node["render_width"] / node["render_height"]

    # The image of an earlier test may come first.
    wait_for(lambda: shape() == pytest.approx(360 / 640), "the shape of the image")


def test_pause_stops_the_scene_and_go_on_moves_it(viewer: Viewer, browser: Browser) -> None:
    viewer.show(frame(person(at=(0.0, 0.0, 3.0))))
    browser.press("Pause")
    wait_for(lambda: viewer.paused, "the pause")
    viewer.show(frame(person(at=(0.0, 0.0, 5.0)), stamp_s=0.1))
    browser.set("Ids", False)
    # What is drawn again for the switch is what was shown before the pause.
    wait_for(lambda: not viewer.panel.switches["labels"].value, "the switch")
    browser.set("Ids", True)
    assert viewer.scene.people[0].root[2] == 3.0
    browser.press("Go on")
    wait_for(lambda: not viewer.paused, "the end of the pause")
    pelvis = H36M17.index("pelvis")
    # What the server has sent may be on its way.
    wait_for(lambda: len(browser.instances("joints")), "the joints")
    assert browser.instances("joints")[pelvis, 2] == pytest.approx(3.0, abs=0.01)
    viewer.show(frame(person(at=(0.0, 0.0, 6.0)), stamp_s=0.2))
    wait_for(lambda: browser.instances("joints")[pelvis, 2] > 5.9, "the newest position")


def test_switches_hide_what_they_name(viewer: Viewer, browser: Browser) -> None:
    viewer.show(frame(person()))
    wait_for(lambda: browser.labels() == {"#1"}, "the label")
    browser.set("Ids", False)
    wait_for(lambda: browser.labels() == set(), "no label")
    browser.set("Uncertainty of positions", False)
    wait_for(lambda: not len(browser.instances("root_uncertainty")), "no ellipsoid")
    browser.set("Ids", True)
    browser.set("Uncertainty of positions", True)
    wait_for(lambda: len(browser.instances("root_uncertainty")), "the ellipsoid")
    wait_for(lambda: browser.labels() == {"#1"}, "the label")


def test_people_leave_trails_on_the_floor(viewer: Viewer, browser: Browser) -> None:
    for step in range(6):
        viewer.show(frame(person(at=(0.2 * step, 0.0, 4.0)), stamp_s=0.2 * step))

    def five_steps() -> Any:
        """(P, 2, 3) m, the lines when five of them have a length; None before."""
        points = browser.property_of("/trails", "points")
        if points is None:
            return None
        lines = points.reshape(-1, 2, 3)
        lengths = np.linalg.norm(lines[:, 1] - lines[:, 0], axis=1)
        return (lines,) if (lengths > 0.1).sum() == 5 else None

    (lines,) = wait_for(five_steps, "five steps")
    assert lines.reshape(-1, 3)[:10, 1].min() > 0.5


def test_a_browser_records_and_gets_a_file_that_the_tools_read(
    viewer: Viewer, browser: Browser, tmp_path: Path
) -> None:
    viewer.set_camera(CAMERA)
    browser.press("Record")
    wait_for(lambda: viewer.recording, "the recording")
    keypoints = np.ones((33, 3))
    for step in range(3):
        stamp_ns = round(0.1 * step * 1e9)
        seen = [Pose2D(keypoints, track_id=1)]
        viewer.take_keypoints(Frame2D(stamp_ns, "", "blazepose33", (640, 480), seen))
        viewer.show(frame(person(at=(0.1 * step, 0.0, 4.0)), stamp_s=0.1 * step))
    viewer_label = wait_for(lambda: browser.label("End the recording"), "the button")
    browser.press(viewer_label)
    name, data = wait_for(lambda: next(iter(browser.files.items()), None), "the file")
    wait_for(lambda: not viewer.recording, "the end")
    path = tmp_path / name
    wait_for(lambda: browser.files[name][-22:-18] == b"PK\5\6", "all of the file")
    path.write_bytes(browser.files[name])
    recording = load_recording(path)
    assert len(recording) == 3 and recording.layout.name == "blazepose33"
    np.testing.assert_allclose(recording.root[:, 0], [0.0, 0.1, 0.2], atol=1e-6)
    assert np.isfinite(recording.keypoints_2d).all() and data is not None


def test_a_recorder_forgets_keypoints_for_which_no_poses_come() -> None:
    """As while /tf does not place the camera, or the lifter has ended."""
    recorder, taken = Recorder(), []

    def take(step: int) -> None:
        seen = [Pose2D(np.ones((33, 3)), track_id=1)]
        found = Frame2D(step * 10**8, "", "blazepose33", (640, 480), seen)
        taken.append(weakref.ref(found))
        recorder.add_keypoints(found)

    for step in range(1000):
        take(step)
    gc.collect()
    assert 10 <= sum(ref() is not None for ref in taken) <= 110
    assert len(recorder.recording(CAMERA)) == 0
    # Poses come later than their keypoints, or a little earlier.
    recorder.add(frame(person(), stamp_s=99.0))
    recorder.add(frame(person(), stamp_s=100.1))
    take(1001)
    # With poses they are kept.
    for step in range(1002, 1202):
        take(step)
    recording = recorder.recording(CAMERA)
    np.testing.assert_allclose(recording.stamp, [99.0, 100.1])
    assert np.isfinite(recording.keypoints_2d).all()


def test_a_recording_has_the_pixels_of_its_keypoints() -> None:
    """The detector's images are half as large as those of camera_info."""
    recorder = Recorder()
    keypoints = np.tile([160.0, 120.0, 1.0], (33, 1))
    seen = [Pose2D(keypoints, track_id=1)]
    recorder.add_keypoints(Frame2D(10**9, "", "blazepose33", (320, 240), seen))
    recorder.add(frame(person(), stamp_s=1.0))
    recording = recorder.recording(CAMERA)
    assert recording.image_size == (320, 240)
    assert recording.camera.matrix[0, 0] == pytest.approx(CAMERA.matrix[0, 0] / 2)
    # Intrinsics of another view do not hold for them.
    assert recorder.recording(Camera.from_fov(640, 640, 60.0)).camera is None


def test_a_followed_person_stays_in_the_middle(viewer: Viewer, browser: Browser) -> None:
    people = [person(at=(0.0, 0.0, 4.0))]
    viewer._told_s = 0.0
    viewer.show(frame(*people))
    browser.set("Follow", "#1")
    wait_for(lambda: viewer.panel.follow.value == "#1", "the choice")
    viewer._followed_s = 0.0
    viewer.show(frame(*people, stamp_s=0.1))
    client = next(iter(viewer._server.get_clients().values()))
    np.testing.assert_allclose(client.camera.look_at, (0.0, 0.0, 4.0), atol=1e-6)
    viewer._followed_s = 0.0
    viewer.show(frame(person(at=(1.0, 0.0, 4.5)), stamp_s=0.2))
    np.testing.assert_allclose(client.camera.look_at, (1.0, 0.0, 4.5), atol=1e-6)
    browser.set("Follow", "nobody")
    wait_for(lambda: viewer.panel.follow.value == "nobody", "the choice")


def test_the_screen_of_a_phone_shows_as_much_to_the_sides() -> None:
    assert field_of_view_rad(16 / 9) == field_of_view_rad(1.0) == FIELD_OF_VIEW_RAD
    upright = field_of_view_rad(390 / 844)
    across = 2 * math.atan(math.tan(upright / 2) * 390 / 844)
    assert across == pytest.approx(FIELD_OF_VIEW_ACROSS_RAD)


def test_a_page_opens_with_the_field_of_view_of_its_screen(
    viewer: Viewer, browser: Browser
) -> None:
    client = next(iter(viewer._server.get_clients().values()))
    expected = field_of_view_rad(client.camera.aspect)
    wait_for(lambda: client.camera.fov == pytest.approx(expected), "the field of view")


def test_texts_of_others_are_no_html(viewer: Viewer, browser: Browser) -> None:
    from emf_ros.viewer.panel import Status

    viewer.show_diagnostics([Status("<b>x</b>", "WARN", "<script>alert(1)</script>")])
    wait_for(lambda: "alert(1)" in browser.texts, "the text")
    assert "<script>" not in browser.texts and "<b>x" not in browser.texts


# ---------------------------------------------------------------------------------- recordings


def recording_of(steps: int) -> Recording:
    """A person who walks to the right, 10 Hz."""
    writer = RecordingWriter(get_layout("coco17"), (640, 480), CAMERA)
    for step in range(steps):
        body = person(at=(0.1 * step, 0.0, 4.0))
        writer.add(
            0.1 * step, step, 1, np.zeros((17, 3)), body.joints, body.stddev, body.root, True
        )
    return writer.recording()


def test_a_recording_is_played_from_where_the_slider_is(viewer: Viewer, browser: Browser) -> None:
    playback = Playback(viewer, recording_of(20), None)
    assert viewer.panel._record.visible is False
    browser.press("Pause")
    wait_for(lambda: viewer.paused, "the pause")
    stop = threading.Event()
    player = threading.Thread(target=playback.run, args=(stop.is_set,))
    player.start()
    try:
        pelvis = H36M17.index("pelvis")
        browser.set("Time, s", 1.5)
        wait_for(
            lambda: (
                (found := browser.instances("joints")).size
                and found[pelvis, 0] == pytest.approx(1.5, abs=0.01)
            ),
            "the person at 1.5 s",
        )
        browser.press("Go on")
        wait_for(
            lambda: (found := browser.instances("joints")).size and found[pelvis, 0] > 1.7,
            "the person later",
        )
    finally:
        stop.set()
        player.join()


def test_no_image_removes_the_one_before_it(viewer: Viewer, browser: Browser) -> None:
    viewer.draw_image(np.zeros((480, 640, 3), np.uint8))
    wait_for(lambda: "/camera/image" in browser.nodes, "the image")
    viewer.draw_image(None)
    wait_for(lambda: "/camera/image" not in browser.nodes, "no image")


def test_a_move_of_the_slider_while_people_are_drawn_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The panel of the shared viewer keeps the sliders of other recordings.
    viewer = Viewer("127.0.0.1", 0)
    playback = Playback(viewer, recording_of(20), None)
    browser = Browser(viewer.port)
    draw, drawn = viewer.draw, []

    def slow_draw(frame: Frame3D) -> None:
        draw(frame)
        drawn.append(frame.stamp_ns)
        if len(drawn) == 1:
            browser.set("Time, s", 1.5)
            wait_for(lambda: playback._slider.value == 1.5, "the move")

    monkeypatch.setattr(viewer, "draw", slow_draw)
    playback.run(lambda: len(drawn) == 2)
    browser.close()
    viewer.close()
    assert drawn[1] == pytest.approx(1.5e9, abs=1e7)


def command(*words: object) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-m", "emf_ros.cli", "view", *map(str, words)]
    return subprocess.run(call, capture_output=True, text=True, timeout=300)


def test_a_file_that_is_no_recording_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no recording")
    for path in (tmp_path / "text.npz", tmp_path / "absent.npz"):
        done = command(path)
        assert done.returncode == 1 and str(path) in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_without_viser_the_command_says_what_to_install(tmp_path: Path) -> None:
    recording_of(3).save(tmp_path / "a.npz")
    code = (
        "import sys; sys.modules['viser'] = None\n"
        "from emf_ros.cli.main import main\n"
        f"sys.exit(main(['view', {str(tmp_path / 'a.npz')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and "pip install" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_command_says_the_free_port_it_takes(tmp_path: Path) -> None:
    recording_of(3).save(tmp_path / "a.npz")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        call = [sys.executable, "-m", "emf_ros.cli", "view", str(tmp_path / "a.npz")]
        process = subprocess.Popen(
            [*call, "--port", str(port)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None and process.stderr is not None
        address = re.search(r"http://127\.0\.0\.1:(\d+)", process.stdout.readline())
        assert address
        browser = Browser(int(address[1]))
        wait_for(lambda: len(browser.instances("joints")) == len(H36M17), "the recording")
        browser.close()
        process.terminate()
        assert process.wait(timeout=TIMEOUT_S) == 0
        assert f"port {port} is taken" in process.stderr.read()
