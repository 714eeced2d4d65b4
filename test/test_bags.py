"""Bags of ROS 2 as videos, without ROS: images, stamps and intrinsics."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from inputs import camera_yaml
from recordings_of_people import two_people

from emf_ros.cli.arguments import add_topic
from emf_ros.cli.main import _parser as command_parser
from emf_ros.cli.main import main
from emf_ros.cli.video import add_video, camera_of, open_video
from emf_ros.geometry.camera import Camera, CameraError
from emf_ros.io.bag_source import BagSource
from emf_ros.io.bags import message_types
from emf_ros.io.formats.registry import read_recording, write_recording
from emf_ros.io.frame_source import VideoError
from emf_ros.io.recordings import load_recording
from emf_ros.io.render.video import playback_rate_hz
from emf_ros.io.video import frames_of, open_source
from emf_ros.nodes.launch_plan import plan
from emf_ros.nodes.param_specs import ParamError

SIZE = (64, 48)
RATE_HZ = 20.0
START_NS = 1_700_000_000_000_000_000
#: Number of images.
IMAGES = 5
K = [70.0, 0.0, 31.5, 0.0, 70.0, 23.5, 0.0, 0.0, 1.0]


def picture(number: int) -> np.ndarray:
    """(H, W, 3) BGR, another one for each number."""
    image = np.full((SIZE[1], SIZE[0], 3), 20, np.uint8)
    image[:, : 8 * (number + 1), 0] = 200
    image[:, :, 2] = 40 * number % 256
    return image


def write_bag(
    path: Path,
    kind: str = "Image",
    topics: tuple[str, ...] = ("/camera/image",),
    infos: dict[str, float] | None = None,
    info_height: int = SIZE[1],
    times_s: Sequence[float] = tuple(number / RATE_HZ for number in range(IMAGES)),
    model: str = "plumb_bob",
) -> Path:
    """A bag of images and intrinsics.

    Args:
        path: of the bag.
        kind: of the images.
        topics: of the images.
        infos: focal length of each topic of intrinsics, px; by default they are beside the images.
        info_height: of the images that the intrinsics describe, px.
        times_s: of the images since the first one, s.
        model: of their distortion.
    """
    if infos is None:
        infos = {f"{topic.rpartition('/')[0]}/camera_info": K[0] for topic in topics}
    from rosbags.rosbag2 import StoragePlugin, Writer

    store = message_types()

    def make(name: str, **fields: object) -> object:
        return store.types[name](**fields)

    mcap = path.suffix == ".mcap"
    folder = path.with_suffix("") if mcap else path
    plugin = StoragePlugin.MCAP if mcap else StoragePlugin.SQLITE3
    with Writer(folder, version=9, storage_plugin=plugin) as writer:
        info_type = "sensor_msgs/msg/CameraInfo"
        described = {
            name: writer.add_connection(name, info_type, typestore=store) for name in infos
        }
        for topic in topics:
            image_type = f"sensor_msgs/msg/{kind}"
            images = writer.add_connection(topic, image_type, typestore=store)
            for number, time_s in enumerate(times_s):
                stamp_ns = START_NS + round(time_s * 1e9)
                stamp = make(
                    "builtin_interfaces/msg/Time",
                    sec=stamp_ns // 10**9,
                    nanosec=stamp_ns % 10**9,
                )
                header = make("std_msgs/msg/Header", stamp=stamp, frame_id="optical")
                if kind == "Image":
                    image = make(
                        image_type,
                        header=header,
                        height=SIZE[1],
                        width=SIZE[0],
                        encoding="bgr8",
                        is_bigendian=0,
                        step=3 * SIZE[0],
                        data=picture(number).ravel(),
                    )
                else:
                    png = cv2.imencode(".png", picture(number))[1].ravel()
                    image = make(image_type, header=header, format="png", data=png)
                region = make(
                    "sensor_msgs/msg/RegionOfInterest",
                    x_offset=0,
                    y_offset=0,
                    height=0,
                    width=0,
                    do_rectify=False,
                )
                # The recorder hears the messages later than they were made.
                heard = stamp_ns + 40_000_000
                writer.write(images, heard, store.serialize_cdr(image, image_type))
                for name, focal_px in infos.items():
                    matrix = np.array(K)
                    matrix[[0, 4]] = focal_px
                    rectified = np.array(matrix)
                    rectified[[0, 4]] *= 1.5
                    info = make(
                        info_type,
                        header=header,
                        height=info_height,
                        width=SIZE[0],
                        distortion_model=model,
                        d=np.zeros(5),
                        k=matrix,
                        r=np.eye(3).ravel(),
                        p=np.insert(rectified, [3, 6, 9], 0.0),
                        binning_x=0,
                        binning_y=0,
                        roi=region,
                    )
                    writer.write(described[name], heard, store.serialize_cdr(info, info_type))
    return next(folder.glob("*.mcap")) if mcap else folder


@pytest.mark.parametrize("name", ["bag", "bag.mcap"])
@pytest.mark.parametrize("kind", ["Image", "CompressedImage"])
def test_a_bag_is_a_video_with_stamps_and_intrinsics(name: str, kind: str, tmp_path: Path) -> None:
    source = open_source(write_bag(tmp_path / name, kind))
    assert source.size == SIZE and source.count == IMAGES
    assert source.rate_hz == pytest.approx(RATE_HZ)
    assert isinstance(source.camera, Camera) and source.camera.matrix.ravel().tolist() == K
    for _ in range(2):
        frames = list(frames_of(source))
        assert [number for number, _, _ in frames] == list(range(IMAGES))
        stamps = np.array([source.start_s + time_s for _, time_s, _ in frames])
        assert np.allclose(stamps, START_NS / 1e9 + np.arange(IMAGES) / RATE_HZ, atol=1e-6, rtol=0)
        for number, _, image in frames:
            assert np.array_equal(image, picture(number))
        assert source.rewind()
    source.close()


def test_a_pause_after_the_second_image_does_not_change_the_rate_of_a_bag(tmp_path: Path) -> None:
    """Neither that of the source nor that of its video, which shows each image."""
    times_s = [number / 30 + (number > 1) for number in range(40)]
    source = open_source(write_bag(tmp_path / "bag", times_s=times_s))
    assert source.rate_hz == pytest.approx(30.0)
    assert playback_rate_hz(source) == pytest.approx(30.0, rel=1e-4)
    # It begins at its beginning.
    assert source.grab() == (0, 0.0)
    source.close()


def test_the_video_of_a_bag_that_is_sparse_at_first_shows_all_its_images(tmp_path: Path) -> None:
    times_s = [*np.arange(35) / 2, *(17.5 + np.arange(100) / 20)]
    source = open_source(write_bag(tmp_path / "bag", times_s=times_s))
    assert source.rate_hz == pytest.approx(2.0)
    assert playback_rate_hz(source) == pytest.approx(20.0, rel=1e-4)
    source.close()


def test_lift_keeps_the_stamps_and_the_intrinsics_of_a_bag(tmp_path: Path, capfd) -> None:
    bag, out = write_bag(tmp_path / "bag"), tmp_path / "out.npz"
    assert main(["lift", str(bag), "--device", "cpu", "--out", str(out)]) == 0
    read = load_recording(out)
    assert read.camera is not None and read.camera.matrix.ravel().tolist() == K
    assert read.image_size == SIZE and len(read) == 0
    assert "guess" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("image", "infos", "focal_px"),
    [
        ("/front/image_raw", {"/front/camera_info": 70.0, "/camera_info": 90.0}, 70.0),
        ("/image_raw", {"/camera_info": 70.0, "/front/camera_info": 90.0}, 70.0),
        ("/front/image_raw/compressed", {"/front/camera_info": 70.0, "/camera_info": 90.0}, 70.0),
        ("/image/compressed", {"/camera_info": 70.0}, 70.0),
        ("/front/image_raw", {"/front/other_info": 70.0}, 70.0),
        ("/camera/color/image_raw", {"/camera/depth/camera_info": 90.0}, None),
        ("/front/image_raw", {"/camera_info": 90.0}, None),
        ("/front/image_raw", {}, None),
    ],
)
def test_the_intrinsics_of_a_bag_are_those_of_the_images_namespace(
    image: str, infos: dict[str, float], focal_px: float | None, tmp_path: Path
) -> None:
    kind = "CompressedImage" if image.endswith("compressed") else "Image"
    source = open_source(write_bag(tmp_path / "bag", kind, (image,), infos))
    source.close()
    if focal_px is not None:
        assert isinstance(source.camera, Camera) and source.camera.matrix[0, 0] == focal_px
        assert not source.notice
        return
    assert source.camera is None
    assert all(name in source.notice for name in infos) and bool(source.notice) == bool(infos)


#: Intrinsics of a bag that cannot be used, and a part of the sentence that says why.
USELESS = [
    pytest.param({"info_height": 2 * SIZE[1]}, "aspect ratio", id="another size"),
    pytest.param({"model": "omni"}, "unknown distortion model 'omni'", id="unknown model"),
]


@pytest.mark.parametrize(("intrinsics", "why"), USELESS)
def test_useless_intrinsics_of_a_bag_are_refused_only_where_they_are_needed(
    intrinsics: dict, why: str, tmp_path: Path, capfd
) -> None:
    bag, out = write_bag(tmp_path / "bag", **intrinsics), tmp_path / "out.npz"
    source = open_source(bag)
    assert isinstance(source.camera, CameraError) and len(list(frames_of(source))) == IMAGES
    source.close()
    lift = ["lift", str(bag), "--device", "cpu", "--out", str(out)]
    assert main(lift) == 1 and not out.exists()
    (line,) = capfd.readouterr().err.splitlines()
    assert why in line and "/camera/camera_info" in line and "--camera-info, --fov" in line
    given = tmp_path / "given.yaml"
    given.write_text(camera_yaml(*SIZE, 80.0))
    assert main([*lift, "--camera-info", str(given)]) == 0
    camera = load_recording(out).camera
    assert camera is not None and camera.matrix[0, 0] == 80.0
    assert main([*lift, "--fov", "70"]) == 0
    # Calibration and pictures need no intrinsics; there is no board in this bag.
    capfd.readouterr()
    assert main(["calibrate", str(bag), "--board", "9x6", "--out", str(given)]) == 1
    assert why not in capfd.readouterr().err
    assert main(["render", str(out), str(bag), "--out", str(tmp_path / "out.mp4")]) == 0


@pytest.mark.parametrize(("intrinsics", "why"), USELESS)
def test_a_launch_with_useless_intrinsics_of_a_bag_is_refused(
    intrinsics: dict, why: str, tmp_path: Path
) -> None:
    bag = str(write_bag(tmp_path / "bag", **intrinsics))
    with pytest.raises(ParamError, match=f"{why}.*fov_deg"):
        plan({"source": bag})
    assert plan({"source": bag, "fov_deg": "70"}).processes


@pytest.mark.parametrize(
    ("words", "focal_px"),
    [([], K[0]), (["--fov", "70"], SIZE[0] / 2 / math.tan(math.radians(35)))],
    ids=["brought", "given"],
)
def test_all_commands_take_the_intrinsics_that_a_bag_brings(
    words: list[str], focal_px: float, tmp_path: Path
) -> None:
    parser = argparse.ArgumentParser()
    add_video(parser)
    add_topic(parser, "images")
    said: list[str] = []
    for rectified in ([], ["--rectified"]) if not words else ([],):
        args = parser.parse_args([*words, *rectified])
        folder = tmp_path / f"bag{len(rectified)}"
        source = open_video(str(write_bag(folder)), args, said.append)
        source.close()
        camera = camera_of(source, args, said.append)
        assert camera.matrix[0, 0] == pytest.approx(1.5 * focal_px if rectified else focal_px)
    assert not any("guess" in sentence for sentence in said)


def test_a_topic_is_chosen_among_several(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", topics=("/left/image", "/right/image"))
    with pytest.raises(VideoError, match="source_topic.*: /left/image, /right/image"):
        open_source(bag)
    with pytest.raises(VideoError, match="no topic /up of Image or CompressedImage"):
        open_source(bag, topic="/up")
    source = open_source(bag, topic="right/image")
    assert isinstance(source, BagSource) and source.camera is not None
    source.close()


@pytest.mark.parametrize(
    "words",
    [
        "lift BAG --out out.npz",
        "render in.npz BAG --out out.mp4",
        "view in.npz --video BAG",
        "calibrate BAG --board 9x6 --out front.yaml",
        "eval --video BAG",
    ],
)
def test_each_command_with_a_video_chooses_the_topic_of_a_bag(words: str, tmp_path: Path) -> None:
    bag = str(write_bag(tmp_path / "bag", topics=("/left/image", "/right/image")))
    parser = command_parser()
    source = open_video(bag, parser.parse_args([*words.split(), "--topic", "/right/image"]))
    assert source.count == IMAGES
    source.close()
    with pytest.raises(VideoError, match="choose one by --topic"):
        open_video(bag, parser.parse_args(words.split()))


def test_a_launch_chooses_the_topic_of_a_bag(tmp_path: Path) -> None:
    bag = str(write_bag(tmp_path / "bag", topics=("/left/image", "/right/image")))
    with pytest.raises(ParamError, match="source_topic"):
        plan({"source": bag})
    assert plan({"source": bag, "source_topic": "/right/image"}).processes


def test_skeletons_of_a_bag_are_lifted_again_and_converted(tmp_path: Path) -> None:
    recording = two_people(1.7e9)
    (path,) = write_recording(recording, tmp_path / "two.mcap")
    out = tmp_path / "out.npz"
    assert main(["lift", str(path), "--device", "cpu", "--out", str(out)]) == 0
    lifted = load_recording(out)
    assert np.allclose(np.unique(lifted.stamp), np.unique(recording.stamp), atol=1e-6, rtol=0)
    assert np.isfinite(lifted.joints_3d).any()
    assert set(lifted.track_id.tolist()) == {1, 2}
    assert len(read_recording(path, topic="skeletons")) == len(recording)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda folder: folder / "none.mcap", "there is no"),
        (lambda folder: write_recording(two_people(), folder / "two.mcap")[0], "no topic of Image"),
    ],
    ids=["missing", "without images"],
)
def test_bags_without_images_are_refused(make, what: str, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=what):
        open_source(make(tmp_path))


def test_a_damaged_bag_is_refused_in_one_line(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag.mcap")
    whole = bag.read_bytes()
    for content in (b"", b"garbage" * 30, whole[: len(whole) // 2]):
        bag.write_bytes(content)
        with pytest.raises(VideoError) as caught:
            source = open_source(bag)
            list(frames_of(source))
        assert bag.name in str(caught.value) and "\n" not in str(caught.value)
