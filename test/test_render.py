"""Rendering: what is drawn, where, and what is left out; the video files."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest

from emf_ros.geometry.camera import Camera
from emf_ros.io.recording_writer import RecordingWriter
from emf_ros.io.recordings import Recording
from emf_ros.io.render import video
from emf_ros.io.render.floor import ANKLE_HEIGHT_M
from emf_ros.io.render.overlay import draw_keypoints
from emf_ros.io.render.palette import color_of, rgb_of
from emf_ros.io.render.scene import SceneView
from emf_ros.io.render.video import MAX_HOLD_S, RenderError, hold_s_of, render_recording
from emf_ros.skeletons import BLAZEPOSE33, H36M17

CAMERA = Camera.from_fov(320, 180, 60.0)

# A standing person, arms down, seen from the front: x, y, m, from the pelvis.
_STANDING = {
    "pelvis": (0, 0), "right_hip": (-0.13, 0), "right_knee": (-0.13, 0.45),
    "right_ankle": (-0.13, 0.88), "left_hip": (0.13, 0), "left_knee": (0.13, 0.45),
    "left_ankle": (0.13, 0.88), "spine": (0, -0.25), "thorax": (0, -0.5), "nose": (0, -0.62),
    "head_top": (0, -0.78), "left_shoulder": (0.18, -0.48), "left_elbow": (0.2, -0.2),
    "left_wrist": (0.2, 0.05), "right_shoulder": (-0.18, -0.48), "right_elbow": (-0.2, -0.2),
    "right_wrist": (-0.2, 0.05),
}  # fmt: skip


def person(x: float = 0.0, z: float = 3.0) -> np.ndarray:
    """(17, 3) m, camera optical frame; the floor is about 1 m below the camera."""
    flat = np.array([_STANDING[joint] for joint in H36M17.joints], dtype=float)
    return np.column_stack([flat, np.zeros(17)]) + (x, 0.0, z)


def keypoints(score: float = 0.9) -> np.ndarray:
    """(1, 17, 3) px of CAMERA's image."""
    return np.column_stack([CAMERA.project(person()), np.full(17, score)])[None]


def blank() -> np.ndarray:
    return np.full((180, 320, 3), 128, dtype=np.uint8)


def drawn_at(image: np.ndarray, track_id: int, area: tuple[int, int, int, int]) -> np.ndarray:
    """(N, 2) x, y of the pixels of an area (x, y, w, h) with exactly the person's colour."""
    x, y, w, h = area
    same = (image[y : y + h, x : x + w] == color_of(track_id)).all(axis=-1)
    return np.argwhere(same)[:, ::-1] + (x, y)


def scene(joints: np.ndarray, valid: bool = True, view: SceneView | None = None) -> np.ndarray:
    view = view or SceneView(400, 300, CAMERA)
    people = len(joints)
    return view.render(joints, np.arange(1, people + 1), np.full(people, valid), 0.0)


def test_colours_are_stable_and_distinct() -> None:
    for track_id in (0, 7, 4_000_000_000):  # ids are uint32 in the messages
        assert color_of(track_id) == color_of(np.uint32(track_id))
    assert rgb_of(5) == pytest.approx(np.array(color_of(5))[::-1] / 255, abs=0.003)
    colours = np.array([color_of(i) for i in range(1, 9)], dtype=float)
    assert min(np.linalg.norm(a - b) for a, b in combinations(colours, 2)) > 60
    # Visible on black and on white: luminance of blue, green, red.
    luminance = colours @ (0.0722, 0.7152, 0.2126)
    assert luminance.min() > 80 and luminance.max() < 215


def test_keypoints_are_drawn_at_their_pixels() -> None:
    image = blank()
    points = keypoints()
    assert draw_keypoints(image, points, np.array([1]), H36M17) is None
    for joint in ("pelvis", "spine", "thorax"):
        x, y = np.round(points[0, H36M17.index(joint), :2]).astype(int)
        assert tuple(image[y, x]) == color_of(1)
    assert (image[:, :60] == 128).all() and (image[:, -60:] == 128).all()


@pytest.mark.parametrize("spoil", ["nan", "score", "nan_score", "outside"])
def test_missing_keypoints_draw_nothing(spoil: str) -> None:
    points = keypoints()
    if spoil == "nan":
        points[..., :2] = np.nan
    elif spoil == "score":
        points[..., 2] = 0
    elif spoil == "nan_score":
        points[..., 2] = np.nan
    else:
        points[..., 0] += 1e7
    image = blank()
    draw_keypoints(image, points, np.array([1]), H36M17)
    assert (image == 128).all()


def test_a_missing_joint_hides_only_its_bones() -> None:
    points = keypoints()
    points[0, H36M17.index("left_ankle")] = np.nan
    whole, image = blank(), blank()
    draw_keypoints(whole, keypoints(), np.array([1]), H36M17)
    draw_keypoints(image, points, np.array([1]), H36M17)
    x, y = np.round(keypoints()[0, H36M17.index("left_ankle"), :2]).astype(int)
    assert (whole[y, x] != 128).any()
    assert (image[y, x] == 128).all()
    x, y = np.round(points[0, H36M17.index("left_knee"), :2]).astype(int)
    assert (image[y, x] != 128).any()


def test_low_scores_are_faint() -> None:
    confident, faint = blank(), blank()
    draw_keypoints(confident, keypoints(0.9), np.array([1]), H36M17)
    draw_keypoints(faint, keypoints(0.1), np.array([1]), H36M17)
    x, y = np.round(keypoints()[0, H36M17.index("spine"), :2]).astype(int)
    contrast = np.abs(np.stack([confident[y, x], faint[y, x]]).astype(int) - 128).sum(axis=1)
    assert 0 < contrast[1] < 0.6 * contrast[0]


def test_no_people_leave_the_image_unchanged() -> None:
    image = blank()
    draw_keypoints(image, np.zeros((0, 33, 3)), np.zeros(0, int), BLAZEPOSE33)
    assert (image == 128).all()


def test_draw_keypoints_rejects_wrong_shapes() -> None:
    with pytest.raises(ValueError, match="keypoints"):
        draw_keypoints(blank(), keypoints(), np.array([1]), BLAZEPOSE33)
    with pytest.raises(ValueError, match="ids"):
        draw_keypoints(blank(), keypoints(), np.array([1, 2]), H36M17)
    with pytest.raises(ValueError, match="image"):
        draw_keypoints(blank()[..., 0], keypoints(), np.array([1]), H36M17)
    with pytest.raises(ValueError, match="uint8"):
        draw_keypoints(blank().astype(float), keypoints(), np.array([1]), H36M17)


def test_top_view_shows_positions() -> None:
    view = SceneView(800, 600, CAMERA)
    image = scene(np.stack([person(-1.0, 3.0), person(1.0, 3.0), person(0.0, 6.0)]), view=view)
    spots = [drawn_at(image, i, view.top.area).mean(axis=0) for i in (1, 2, 3)]
    for spot, place in zip(spots, ([-1, 0, 3], [1, 0, 3], [0, 0, 6]), strict=True):
        assert spot == pytest.approx(view.top.project(np.array(place, float)), abs=1.5)
    assert spots[0][0] < spots[2][0] < spots[1][0]  # farther right is to the right
    assert spots[2][1] < spots[0][1]  # farther away is up


def test_scene_shows_the_body_where_it_projects() -> None:
    view = SceneView(800, 600, CAMERA)
    body = person(0.5, 4.0)
    image = scene(body[None], view=view)
    for joint in ("spine", "thorax"):
        x, y = np.round(view.observer.project(body[H36M17.index(joint)])).astype(int)
        assert tuple(image[y, x]) == color_of(1)
    # The observer stands above and to the right of the camera: what is farther away is higher up,
    # what is lower is lower, and what is to the right is to the right.
    near, far, low, right = view.observer.project(
        np.array([[0, 0, 2], [0, 0, 4], [0, 1, 2], [1, 0, 2]], dtype=float)
    )
    assert far[1] < near[1] < low[1] and right[0] > near[0]
    assert np.isnan(view.observer.project(np.array([0.0, 0.0, -1000.0]))).all()


@pytest.mark.parametrize("distance", [1.0, 3.0, 10.0])
def test_people_are_inside_the_view(distance: float) -> None:
    view = SceneView(640, 480, CAMERA)
    bodies = np.stack([person(-0.3 * distance, distance), person(0.3 * distance, distance)])
    scene(bodies, view=view)
    pixels = view.observer.project(bodies)
    assert (pixels > 0).all() and (pixels < (640, 480)).all()


def test_missing_joints_and_no_people_draw_nothing() -> None:
    empty = scene(np.zeros((0, 17, 3)))
    assert empty.shape == (300, 400, 3) and empty.dtype == np.uint8
    unknown = np.full((1, 17, 3), np.nan)
    assert (scene(unknown) == empty).all()
    assert (scene(unknown, valid=False) == empty).all()
    half_known = unknown.copy()
    half_known[..., :2] = 0.0
    assert (scene(half_known) == empty).all()
    assert (scene(person()[None]) != empty).any()


def test_people_without_root_are_drawn_in_boxes() -> None:
    view = SceneView(400, 300, CAMERA)
    empty = scene(np.zeros((0, 17, 3)))
    image = scene(person(0, 0)[None], valid=False, view=view)
    changed = np.argwhere((image != empty).any(axis=-1))
    assert len(changed) > 100
    # All in the corner of the boxes, above the floor and left of the view from the top.
    assert changed[:, 0].max() < 0.4 * 300 and changed[:, 1].max() < 0.4 * 400


def test_view_adapts_slowly() -> None:
    view = SceneView(400, 300)
    point = np.array([0.0, 0.0, 2.0])
    pixels_of_point = []
    for step in range(150):
        z = 3.0 if step < 30 else 7.0
        view.render(person(0, z)[None], np.array([1]), np.array([True]), step / 30)
        pixels_of_point.append(view.observer.project(point))
    moved = np.linalg.norm(np.diff(pixels_of_point, axis=0), axis=-1)
    assert moved[:29].max() < 1e-6  # still while people are
    assert 0 < moved.max() < 6  # px of 400, for a leap of 4 m
    pixels = view.observer.project(person(0, 7.0))
    assert (pixels > 0).all() and (pixels < (400, 300)).all()


def test_trail_fades_after_two_seconds_and_restarts() -> None:
    view = SceneView(800, 600)
    one, valid = np.array([1]), np.array([True])
    for step in range(31):
        view.render(person(-1 + step / 15, 3.0)[None], one, valid, step / 30)
    x, y, w, h = view.top.area
    behind = view.top.project(np.array([0.0, 0.0, 3.0])).round().astype(int)

    def blueness(image: np.ndarray) -> int:
        """Blue minus red halfway along the path: azure is the only colour in the top view."""
        patch = image[behind[1] - 1 : behind[1] + 2, behind[0] - 8 : behind[0] + 9].astype(int)
        return int((patch[..., 0] - patch[..., 2]).max())

    last = person(1.0, 3.0)[None]
    assert blueness(view.render(last, one, valid, 1.1)) > 40
    assert blueness(view.render(last, one, valid, 3.3)) < 20
    view.render(person(-1.0, 3.0)[None], one, valid, 3.32)
    assert blueness(view.render(last, one, valid, 0.0)) < 20


def test_extreme_coordinates_do_not_break_the_view() -> None:
    body = person()
    body[3] = 1e12
    lost = person(0, -1e6)
    image = scene(np.stack([body, lost, person(1e9, 3)]))
    assert image.shape == (300, 400, 3)
    view = SceneView(400, 300)
    for step in range(30):  # one bad ankle in ten does not sink the floor
        body = person()
        body[3, 1] += 5.0 * (step % 10 == 0)
        view.render(body[None], np.array([1]), np.array([True]), float(step))
    at_feet = np.array([0.0, 0.88 + ANKLE_HEIGHT_M, 3.0])
    assert view.observer.floor == pytest.approx(at_feet[1], abs=0.02)


def test_scene_rejects_wrong_shapes() -> None:
    view = SceneView(400, 300)
    one, valid = np.array([1]), np.array([True])
    with pytest.raises(ValueError, match="joints"):
        view.render(np.zeros((1, 16, 3)), one, valid, 0.0)
    with pytest.raises(ValueError, match="joints"):
        view.render(person(), one, valid, 0.0)
    with pytest.raises(ValueError, match="ids"):
        view.render(person()[None], np.array([1, 2]), valid, 0.0)
    with pytest.raises(ValueError, match="root_valid"):
        view.render(person()[None], one, np.zeros(0, bool), 0.0)
    with pytest.raises(ValueError, match="stamp"):
        view.render(person()[None], one, valid, float("nan"))
    with pytest.raises(ValueError, match="small"):
        SceneView(50, 300)


def recording(frames: int = 4) -> Recording:
    """One person in each frame, at 10 Hz from 5.0 s on."""
    writer = RecordingWriter(H36M17, CAMERA.size, CAMERA)
    for i in range(frames):
        body = person(0.1 * i)
        points = np.column_stack([CAMERA.project(body), np.full(17, 0.9)])
        writer.add(5.0 + i / 10, i, 1, points, body, np.full(17, 0.05), body[0], True)
    return writer.recording()


def read_video(path: Path) -> list[np.ndarray]:
    capture, images = cv2.VideoCapture(str(path)), []
    while True:
        more, image = capture.read()
        if not more:
            capture.release()
            return images
        images.append(image)


def test_video_shows_every_frame_at_its_time(tmp_path: Path) -> None:
    path = tmp_path / "new" / "out.mp4"
    # The first four have rows, up to 40 ms off; the fifth is half a second after the last row.
    frames = [(i, 5.0 + i / 10 + 0.04 * (i % 2), blank()) for i in range(4)] + [(8, 5.8, blank())]
    render_recording(recording(), iter(frames), path, 10, 180)
    images = read_video(path)
    # The fourth stays in view until the fifth's time, 0.8 s after the first.
    assert len(images) == 9
    assert images[0].shape[0] == 180 and images[0].shape[1] > 320 and images[0].shape[1] % 2 == 0
    assert [file.name for file in path.parent.iterdir()] == ["out.mp4"]
    # Over the person, away from the caption: changed from the grey image in all but the last.
    chest = CAMERA.project(person()[H36M17.index("spine")]).round().astype(int)
    for i, image in enumerate(images):
        patch = image[chest[1] - 8 : chest[1] + 8, chest[0] - 20 : chest[0] + 30].astype(int)
        assert (np.abs(patch - 128).max() > 50) == (i < 8)


def drawn(path: Path) -> list[bool]:
    """Whether each frame of a video shows the person of the recording above."""
    chest = CAMERA.project(person()[H36M17.index("spine")]).round().astype(int)
    patches = [
        i[chest[1] - 8 : chest[1] + 8, chest[0] - 20 : chest[0] + 30] for i in read_video(path)
    ]
    return [bool(np.abs(patch.astype(int) - 128).max() > 50) for patch in patches]


def test_people_are_held_between_rows(tmp_path: Path) -> None:
    """Frames between rows show the last people for `hold_s`, and no longer."""
    path = tmp_path / "out.mp4"
    frames = [(3 + i, 5.3 + i / 10, blank()) for i in range(5)]
    render_recording(recording(), frames, path, 10, 180, hold_s=0.25)
    assert drawn(path) == [True, True, True, False, False]


def test_a_recording_with_stamps_of_a_clock_is_shown_on_the_frames_of_its_numbers(
    tmp_path: Path,
) -> None:
    """As `make demo` records a video: stamps since 1970, and the times of the video from 0."""
    path, live = tmp_path / "out.mp4", recording()
    live.stamp += 1.796e9
    frames = [(i, (i - 2) / 10, blank()) for i in range(2, 6)]
    assert render_recording(live, frames, path, 10, 180) == 2
    assert drawn(path) == [True, True, False, False]


def test_people_of_a_live_recording_that_left_out_images_do_not_flicker() -> None:
    every = recording(40)
    assert hold_s_of(every, 10) == 0.0
    assert (
        hold_s_of(every.rows(np.array([0])), 10) == hold_s_of(every.rows(np.zeros(0, int)), 10) == 0
    )
    # A person who leaves once goes at once.
    assert hold_s_of(every.rows(np.r_[0:20, 30:40]), 10) == 0.0
    # Up to two of three images are left out.
    assert 0.2 < hold_s_of(every.rows(np.r_[0:20:2, 20:40:3]), 10) < 0.3
    assert hold_s_of(every.rows(np.r_[0:40:9]), 10) == MAX_HOLD_S


def test_rows_without_a_number_are_shown_at_their_stamps(tmp_path: Path) -> None:
    path, unnumbered = tmp_path / "out.mp4", recording()
    unnumbered.frame[:] = -1
    frames = [(i, 5.3 + i / 10, blank()) for i in range(3)]
    assert render_recording(unnumbered, frames, path, 10, 180) == 1
    assert drawn(path) == [True, False, False]


def test_a_recording_of_which_no_pose_is_of_the_video_is_refused(tmp_path: Path) -> None:
    path, unnumbered = tmp_path / "out.mp4", recording()
    with pytest.raises(RenderError, match="none of the 4 poses .* images 0 to 3. Give the video"):
        render_recording(recording(), [(4, 5.4, blank())], path, 10, 180)
    unnumbered.frame[:] = -1
    with pytest.raises(RenderError, match=r"5.00 to 5.30 s; those .* 0.00 to 0.30 s. Give"):
        render_recording(unnumbered, [(i, i / 10, blank()) for i in range(4)], path, 10, 180)
    assert not path.exists()
    # Without people nothing is missing.
    nobody = unnumbered.rows(np.zeros(0, int))
    assert render_recording(nobody, [(0, 0.0, blank())], path, 10, 180) == 0


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_recording_of_another_rate_than_the_video_is_refused(
    factor: float, tmp_path: Path
) -> None:
    path, frames = tmp_path / "out.mp4", [(i, 1 + i / 10, blank()) for i in range(20)]
    assert render_recording(recording(20), frames, path, 10, 180) == 20
    path.unlink()
    other = recording(20)
    other.stamp *= factor
    with pytest.raises(RenderError, match="images 0 and .* apart in the video, .* same --rate"):
        render_recording(other, frames, path, 10, 180)
    assert not path.exists()


def test_video_of_odd_height_opens(tmp_path: Path) -> None:
    frames = [(0, 5.0, blank()), (1, 5.1, blank())]
    render_recording(recording(), frames, tmp_path / "out.mp4", 10, 161)  # an odd height
    images = read_video(tmp_path / "out.mp4")
    assert len(images) == 2
    assert all(side % 2 == 0 for side in images[0].shape[:2])


def test_frames_of_another_resolution_are_scaled(tmp_path: Path) -> None:
    large = cv2.resize(blank(), (640, 360))
    render_recording(recording(), [(0, 5.0, large)], tmp_path / "a.mp4", 10, 180)
    render_recording(recording(), [(0, 5.0, blank())], tmp_path / "b.mp4", 10, 180)
    a, b = read_video(tmp_path / "a.mp4")[0], read_video(tmp_path / "b.mp4")[0]
    assert a.shape == b.shape and np.abs(a.astype(int) - b).mean() < 1


def test_video_errors_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"an older video")
    good = [(0, 5.0, blank())]

    def broken():
        yield from good
        raise OSError("the camera was pulled out")

    with pytest.raises(RenderError, match="no frames"):
        render_recording(recording(), [], path, 10, 180)
    with monkeypatch.context() as patch, pytest.raises(RenderError, match="opens no zzzz video"):
        patch.setattr(video, "CODEC", "zzzz")
        render_recording(recording(), good, path, 10, 180)
    with pytest.raises(RenderError, match="100x180"):
        render_recording(recording(), [(0, 5.0, blank()[:, :100])], path, 10, 180)
    with pytest.raises(OSError, match="pulled out"):
        render_recording(recording(), broken(), path, 10, 180)
    with pytest.raises(RenderError, match="mp4"):
        render_recording(recording(), good, tmp_path / "out.avi", 10, 180)
    # The clock of a robot that is set while it records.
    set_clock = [*good, (1, 1.79e9, blank())]
    with pytest.raises(RenderError, match="jump from 5.000 s to 1790000000.000 s, over 1 h"):
        render_recording(recording(), set_clock, path, 10, 180)
    with pytest.raises(ValueError, match="fps"):
        render_recording(recording(), good, path, 0, 180)
    with pytest.raises(ValueError, match="height"):
        render_recording(recording(), good, path, 10, 20)
    assert [file.name for file in tmp_path.iterdir()] == ["out.mp4"]
    assert path.read_bytes() == b"an older video"
