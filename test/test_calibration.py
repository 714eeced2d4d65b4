"""Calibration files as programs write them: read, or refused in one line that says what to do."""

import json
import re
import struct

import cv2
import numpy as np
import pytest
from inputs import write_clip

from emf_ros.geometry.camera import Camera, CameraError
from emf_ros.io.calibration.reader import choose_camera, read_camera
from emf_ros.io.video import open_source

SIZE = (1280, 720)
K = np.array([[914.0, 0, 640.5], [0, 910, 359], [0, 0, 1]])
D = [0.1, -0.2, 0.003, 0.004, 0.05]
P = [880.0, 0, 650, -70.4, 0, 881, 355, 0, 0, 0, 1, 0]

PLAIN = f"""image_width: 1280
image_height: 720
camera_name: cam
camera_matrix:
  rows: 3
  cols: 3
  data: {K.ravel().tolist()}
distortion_model: plumb_bob
distortion_coefficients:
  rows: 1
  cols: 5
  data: {D}
projection_matrix:
  rows: 3
  cols: 4
  data: {P}
"""

ECHO = f"""header:
  stamp:
    sec: 1
    nanosec: 2
  frame_id: cam
height: 720
width: 1280
distortion_model: plumb_bob
d:
- {D[0]}
- {D[1]}
- {D[2]}
- {D[3]}
- {D[4]}
k: {K.ravel().tolist()}
r: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
p: {P}
binning_x: 0
binning_y: 0
roi:
  x_offset: 0
  y_offset: 0
  height: 0
  width: 0
  do_rectify: false
---
"""

KALIBR = f"""cam0:
  cam_overlaps: []
  camera_model: pinhole
  distortion_coeffs: {D[:4]}
  distortion_model: radtan
  intrinsics: [914.0, 910.0, 640.5, 359.0]
  resolution: [1280, 720]
  rostopic: /cam0/image_raw
"""

OPENCV = f"""%YAML:1.0
---
calibration_time: "Mon 01 Jan 2024"
image_width: 1280
image_height: 720
flags: 0
camera_matrix: !!opencv-matrix
   rows: 3
   cols: 3
   dt: d
   data: {K.ravel().tolist()}
distortion_coefficients: !!opencv-matrix
   rows: 5
   cols: 1
   dt: d
   data: {D}
"""


def without(text, *keys):
    """A file's text without these names and what belongs to them."""
    for key in keys:
        text = re.sub(rf"^{key}:.*\n(?:[ -].*\n)*", "", text, flags=re.M)
    return text


def write(tmp_path, text, name="camera.yaml", encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return path


LISTS = f"""image_width: 1280
image_height: 720
camera_matrix: {K.tolist()}
dist_coeff: [{D}]
"""

READ = {
    "camera_calibration": PLAIN,
    "without P": without(PLAIN, "projection_matrix"),
    "lists of lists": LISTS,
    "model left out": without(PLAIN, "distortion_model"),
    "an old file's camera_model": PLAIN.replace("distortion_model", "camera_model"),
    "pinhole for a distortion model": PLAIN.replace("plumb_bob", "pinhole"),
    "radtan": PLAIN.replace("plumb_bob", "radtan"),
    "another program's spelling": PLAIN.replace("plumb_bob", "Brown-Conrady"),
    "Windows' ends of lines": PLAIN.replace("\n", "\r\n"),
    "OpenCV": OPENCV,
    "OpenCV with a proper head": OPENCV.replace("%YAML:1.0", "%YAML 1.1"),
    "OpenCV without a head": OPENCV.replace("%YAML:1.0\n---\n", ""),
    "OpenCV, K and D": OPENCV.replace("camera_matrix", "K").replace("distortion_coefficients", "D"),
    "OpenCV, camel case": OPENCV.replace("camera_matrix", "cameraMatrix").replace(
        "distortion_coefficients", "distCoeffs"
    ),
    "a size in a list": without(OPENCV, "image_width", "image_height")
    + "image_size: [1280, 720]\n",
    "ros2 topic echo": ECHO,
    "ros2 topic echo, several": 3 * ECHO,
    "ros2 topic echo, cut off": ECHO + "header:\n  stamp:\n    sec: 2\n",
    "rostopic echo of ROS 1": re.sub(r"^([dkrp]):", lambda m: m[0].upper(), ECHO, flags=re.M),
    "one level down": "camera:\n" + re.sub("^", "  ", PLAIN.rstrip(), flags=re.M),
    "exponents without a point": PLAIN.replace("0.1,", "1e-1,"),
    "VINS": """%YAML:1.0
---
model_type: PINHOLE
image_width: 1280
image_height: 720
distortion_parameters: {k1: 0.1, k2: -0.2, p1: 0.003, p2: 0.004, k3: 0.05}
projection_parameters: {fx: 914.0, fy: 910.0, cx: 640.5, cy: 359.0}
""",
    "ORB-SLAM": """%YAML:1.0
Camera.fx: 914.0
Camera.fy: 910.0
Camera.cx: 640.5
Camera.cy: 359.0
Camera.k1: 0.1
Camera.k2: -0.2
Camera.p1: 0.003
Camera.p2: 0.004
Camera.k3: 0.05
Camera.width: 1280
Camera.height: 720
""",
    "ORB-SLAM3": """%YAML:1.0
File.version: "1.0"
Camera.type: "PinHole"
Camera1.fx: 914.0
Camera1.fy: 910.0
Camera1.cx: 640.5
Camera1.cy: 359.0
Camera1.k1: 0.1
Camera1.k2: -0.2
Camera1.p1: 0.003
Camera1.p2: 0.004
Camera1.k3: 0.05
Camera.width: 1280
Camera.height: 720
Camera.fps: 20
""",
    "RealSense": json.dumps(
        {"width": 1280, "height": 720, "fx": 914, "fy": 910, "ppx": 640.5, "ppy": 359}
        | {"model": "Brown Conrady", "coeffs": D}
    ),
}


@pytest.mark.parametrize("text", READ.values(), ids=READ)
def test_a_format_is_read(tmp_path, text):
    read = read_camera(write(tmp_path, text))
    assert read.size == SIZE and read.model == "plumb_bob"
    assert (read.matrix == K).all()
    assert read.distortion.tolist() == D


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1"])
def test_any_encoding_is_read(tmp_path, encoding):
    text = PLAIN.replace("camera_name: cam", "camera_name: Kamera ü")
    assert (read_camera(write(tmp_path, text, encoding=encoding)).matrix == K).all()


@pytest.mark.parametrize("ending", ["yml", "xml", "json"])
@pytest.mark.parametrize("names", [("camera_matrix", "distortion_coefficients"), ("K", "D")])
def test_files_of_opencv_are_read(tmp_path, ending, names):
    path = tmp_path / f"camera.{ending}"
    file = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    file.write("image_width", SIZE[0])
    file.write("image_height", SIZE[1])
    file.write(names[0], K)
    file.write(names[1], np.array([D]))
    file.release()
    read = read_camera(path)
    assert read.size == SIZE and (read.matrix == K).all()
    assert read.distortion == pytest.approx(D)


@pytest.mark.parametrize(
    "text",
    [
        without(PLAIN, "distortion_model", "distortion_coefficients"),
        without(PLAIN, "distortion_coefficients") + "distortion_coefficients: ~ # unknown\n",
        PLAIN.replace(str(D), "[]"),
        PLAIN.replace(str(D), "[0, 0, 0, 0]").replace("plumb_bob", "''"),
        PLAIN.replace(str(D), "[0, 0, 0, 0, 0]").replace("plumb_bob", "none"),
        PLAIN.replace(str(D), "[0, 0, 0, 0, 0]").replace("plumb_bob", "Inverse Brown Conrady"),
    ],
    ids=["left out", "null", "empty", "four zeros", "called none", "zeros of another model"],
)
def test_missing_distortion_is_read_as_zero(tmp_path, text):
    assert not read_camera(write(tmp_path, text)).distortion.any()


FISHEYES = {
    "five numbers whose last is 0": PLAIN.replace("plumb_bob", "equidistant").replace(
        str(D), "[-0.0066, 0.0438, -0.0415, 0.0075, 0.0]"
    ),
    "OpenCV's flag": OPENCV.replace("flags: 0", "fisheye_model: 1").replace(
        str(D), "[-0.0066, 0.0438, -0.0415, 0.0075]"
    ),
    "Kalibr": KALIBR.replace("radtan", "equidistant").replace(
        str(D[:4]), "[-0.0066, 0.0438, -0.0415, 0.0075]"
    ),
    "Kannala-Brandt": PLAIN.replace("plumb_bob", "Kannala Brandt4").replace(
        str(D), "[-0.0066, 0.0438, -0.0415, 0.0075]"
    ),
    "VINS": """%YAML:1.0
---
model_type: KANNALA_BRANDT
camera_name: camera
image_width: 1280
image_height: 720
projection_parameters:
   k2: -0.0066
   k3: 0.0438
   k4: -0.0415
   k5: 0.0075
   mu: 914.0
   mv: 910.0
   u0: 640.5
   v0: 359.0
""",
    "ORB-SLAM3": """%YAML:1.0
File.version: "1.0"
Camera.type: "KannalaBrandt8"
Camera1.fx: 914.0
Camera1.fy: 910.0
Camera1.cx: 640.5
Camera1.cy: 359.0
Camera1.k1: -0.0066
Camera1.k2: 0.0438
Camera1.k3: -0.0415
Camera1.k4: 0.0075
Camera.width: 1280
Camera.height: 720
""",
}


@pytest.mark.parametrize("text", FISHEYES.values(), ids=FISHEYES)
def test_a_fisheye_is_read(tmp_path, text):
    read = read_camera(write(tmp_path, text))
    assert read.size == SIZE and np.abs(read.matrix - K).max() <= 1e-9
    assert read.model == "equidistant"
    assert read.distortion.tolist() == [-0.0066, 0.0438, -0.0415, 0.0075]


def test_kalibr_files_are_read(tmp_path):
    read = read_camera(write(tmp_path, KALIBR))
    assert read.size == SIZE and read.model == "plumb_bob"
    assert (read.matrix == K).all() and read.distortion.tolist() == D[:4]


def test_one_of_several_cameras_is_chosen_by_name(tmp_path):
    second = KALIBR.replace("cam0", "cam1").replace("914.0", "700.0")
    path = write(tmp_path, KALIBR + second)
    with pytest.raises(CameraError, match="2 cameras.*cam0, cam1.*#cam0"):
        read_camera(path)
    assert read_camera(f"{path}#cam1").matrix[0, 0] == 700
    with pytest.raises(CameraError, match="cam2.*cam0, cam1"):
        read_camera(f"{path}#cam2")


def test_one_of_orb_slams_cameras_is_chosen_by_name(tmp_path):
    second = re.findall(r"^Camera1.*\n", READ["ORB-SLAM3"], flags=re.M)
    text = READ["ORB-SLAM3"] + "".join(second).replace("Camera1", "Camera2").replace("914", "700")
    path = write(tmp_path, text)
    with pytest.raises(CameraError, match="2 cameras.*Camera1, Camera2.*#Camera1"):
        read_camera(path)
    assert read_camera(f"{path}#Camera2").matrix[0, 0] == 700


def test_vins_mei_is_refused_by_name(tmp_path):
    text = """%YAML:1.0
---
model_type: MEI
image_width: 1280
image_height: 720
mirror_parameters: {xi: 1.9}
distortion_parameters: {k1: 0.1, k2: -0.2, p1: 0.003, p2: 0.004}
projection_parameters: {gamma1: 914.0, gamma2: 910.0, u0: 640.5, v0: 359.0}
"""
    with pytest.raises(CameraError, match="model MEI is not implemented: calibrate as pinhole"):
        read_camera(write(tmp_path, text))


def test_one_of_a_stereo_pair_is_chosen(tmp_path):
    path = tmp_path / "stereo.yml"
    file = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    file.write("image_width", SIZE[0])
    file.write("image_height", SIZE[1])
    for name, matrix in (("M1", K), ("M2", K + np.diag([5.0, 5, 0]))):
        file.write(name, matrix)
        file.write(name.replace("M", "D"), np.array([D]))
    file.release()
    with pytest.raises(CameraError, match="2 cameras.*1, 2"):
        read_camera(path)
    second = read_camera(f"{path}#2")
    assert second.matrix[0, 0] == 919 and second.distortion == pytest.approx(D)


def test_a_hash_may_be_in_a_files_name(tmp_path):
    assert read_camera(write(tmp_path, PLAIN, "camera #1.yaml")).size == SIZE


def test_the_url_of_a_file_is_read(tmp_path):
    assert read_camera(f"file://{write(tmp_path, PLAIN)}").size == SIZE


def test_roi_and_binning_of_a_message_hold(tmp_path):
    text = ECHO.replace("binning_x: 0", "binning_x: 2").replace("binning_y: 0", "binning_y: 4")
    for name, value in (("x_offset", 100), ("y_offset", 60), ("height", 480), ("width", 800)):
        text = text.replace(f"  {name}: 0", f"  {name}: {value}")
    expected = Camera(K, SIZE, np.array(D)).delivered((100, 60, 800, 480), (2, 4))
    read = read_camera(write(tmp_path, text))
    assert read.size == (400, 120)
    assert (read.matrix == expected.matrix).all()


@pytest.mark.parametrize("text", [PLAIN, ECHO], ids=["camera_calibration", "message"])
def test_rectified_images_have_the_intrinsics_of_p(tmp_path, text):
    read = read_camera(write(tmp_path, text), rectified=True)
    # Tx of a stereo pair's right camera, -70.4, moves no ray.
    assert read.matrix.tolist() == [[880, 0, 650], [0, 881, 355], [0, 0, 1]]
    assert not read.distortion.any()


def test_rectified_images_need_no_k(tmp_path):
    text = PLAIN.replace(str(K.ravel().tolist()), str([0] * 9))
    assert read_camera(write(tmp_path, text), rectified=True).matrix[0, 0] == 880


def test_rectified_images_need_p(tmp_path):
    with pytest.raises(CameraError, match="projection_matrix"):
        read_camera(write(tmp_path, without(PLAIN, "projection_matrix")), rectified=True)
    with pytest.raises(CameraError, match="zero"):
        read_camera(write(tmp_path, PLAIN.replace(str(P), str([0] * 12))), rectified=True)


REFUSED = {
    "no width": (without(PLAIN, "image_width"), "camera_calibration.*image_width"),
    "no size": (without(OPENCV, "image_width", "image_height"), "OpenCV.*image_width"),
    "K is zero": (
        PLAIN.replace(str(K.ravel().tolist()), str([0.0] * 9)),
        "zero.*not calibrated.*field of view",
    ),
    "a decimal comma": (PLAIN.replace("914.0", '"914,0"'), r"decimal comma: write 914\.0"),
    "decimal commas": (
        PLAIN.replace(
            str(K.ravel().tolist()), "[914,0, 0,0, 640,5, 0,0, 910,0, 359,0, 0,0, 0,0, 1,0]"
        ),
        "decimal commas",
    ),
    "half a pixel": (PLAIN.replace("1280", "1280.5"), "whole number"),
    "three coefficients": (PLAIN.replace(str(D), "[0.1, -0.2, 0.0]"), "3 values"),
    "four of one model or another": (
        without(PLAIN, "distortion_model").replace(str(D), "[0.1, -0.2, 0.01, 0.01]"),
        "plumb_bob.*equidistant",
    ),
    "a fisheye of five": (PLAIN.replace("plumb_bob", "equidistant"), "fisheye.*5"),
    "none and coefficients": (PLAIN.replace("plumb_bob", "none"), "'none'.*not zero"),
    "another polynomial": (PLAIN.replace("plumb_bob", "inverse_brown_conrady"), "not implemented"),
    "an unknown model": (PLAIN.replace("plumb_bob", "magic"), "magic.*equidistant"),
    "Kalibr omni": (KALIBR.replace("pinhole", "omni"), "Kalibr.*omni.*pinhole-equi"),
    "Kalibr ds": (KALIBR.replace("pinhole", "ds"), "Kalibr.*ds"),
    "Kalibr eucm": (KALIBR.replace("pinhole", "eucm"), "Kalibr.*eucm"),
    "Kalibr fov": (KALIBR.replace("radtan", "fov"), "Kalibr.*fov"),
    "omnidir of OpenCV": (OPENCV + "xi: 1.2\n", "OpenCV.*omnidirectional"),
    "messages that differ": (ECHO + ECHO.replace("914.0", "915.0"), "2 messages.*keep one"),
    "two spellings": (PLAIN + "K: [[1, 0, 0], [0, 1, 0], [0, 0, 1]]\n", "both camera_matrix and K"),
    "by columns": (
        json.dumps({"width": 1280, "height": 720, "intrinsic_matrix": K.T.ravel().tolist()}),
        "transposed",
    ),
    "rows that are columns": (PLAIN.replace("rows: 3\n  cols: 3", "rows: 9\n  cols: 1"), "9x1"),
    "DepthAI": (json.dumps({"cameraData": [[0, {"intrinsicMatrix": K.tolist()}]]}), "DepthAI"),
    "COLMAP": (
        "# Camera list with one line of data per camera:\n1 PINHOLE 4 3 1 1 1 1\n",
        "COLMAP",
    ),
    "ost.txt": ("# oST version 5.0 parameters\n\n[image]\n", "ost.yaml"),
    "numpy objects": ("camera_matrix: !!python/object/apply:numpy.array [1]\n", "tolist"),
    "a web page": ("<html><body>not found</body></html>", "are read"),
    "entities": ("<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", "document type"),
    "tabs": (PLAIN.replace("  rows", "\trows"), "camera.yaml"),
    "too many numbers": (PLAIN.replace(str(D), str([0.0] * 100)), "more than 64"),
    "no text": ("a: \0\1\2", "no text"),
    "endless depth": ("[" * 100_000, "camera.yaml"),
    "a roi of no width": (ECHO.replace("x_offset: 0", "x_offset: 9"), "roi"),
}


@pytest.mark.parametrize(("text", "expected"), REFUSED.values(), ids=REFUSED)
def test_a_file_is_refused_in_one_line(tmp_path, text, expected):
    with pytest.raises(CameraError, match=expected) as refusal:
        read_camera(write(tmp_path, text))
    said = str(refusal.value)
    assert "camera.yaml" in said and "\n" not in said and len(said) < 500


def test_archives_and_large_files_are_refused(tmp_path):
    np.savez(tmp_path / "camera.npz", mtx=K)
    with pytest.raises(CameraError, match="npz"):
        read_camera(tmp_path / "camera.npz")
    (tmp_path / "video.mp4").write_bytes(bytes(range(256)) * 10_000)
    with pytest.raises(CameraError, match="larger"):
        read_camera(tmp_path / "video.mp4")


def test_aliases_of_aliases_do_not_fill_the_memory(tmp_path):
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]" for i in range(12)]
    text = "\n".join([*lines, "camera_matrix: *a12", "image_width: 4", "image_height: 3", ""])
    with pytest.raises(CameraError, match="camera.yaml"):
        read_camera(write(tmp_path, text))


# --- pixels that are not square --------------------------------------------------------------


def with_pixel_aspect(path, across, down, upright):
    """State in an mp4 the shape of the pixels, and that it was taken with the camera upright."""
    data = bytearray(path.read_bytes())
    pasp = struct.pack(">I4sII", 16, b"pasp", across, down)
    # Each of these boxes holds the next one; the description of the images is the last one's end.
    at, parents = 0, []
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"mp4v"):
        at = data.index(kind, at) - 4
        parents.append(at)
        at += 8
    end = parents[-1] + struct.unpack_from(">I", data, parents[-1])[0]
    # What is looked at, 'mdat' before all of it, stays where it was.
    assert data.index(b"mdat") < parents[0]
    data[end:end] = pasp
    for at in parents:
        struct.pack_into(">I", data, at, struct.unpack_from(">I", data, at)[0] + len(pasp))
    if upright:
        matrix = (0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
        struct.pack_into(">9i", data, data.index(b"tkhd") + 4 + 40, *matrix)
    path.write_bytes(data)


@pytest.mark.parametrize("upright", [False, True])
def test_the_shape_of_pixels_is_that_of_the_images_as_they_are_read(tmp_path, upright):
    """An image that is turned on its side has its pixels turned with it."""
    path = write_clip(tmp_path / "clip.mp4", [np.zeros((96, 160, 3), np.uint8)] * 3)
    with_pixel_aspect(path, 4, 3, upright)
    source = open_source(path)
    assert source.size == ((96, 160) if upright else (160, 96))
    assert source.pixel_aspect == pytest.approx(3 / 4 if upright else 4 / 3)
    source.close()


def test_pixels_of_other_sources_are_square(tmp_path):
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((48, 64, 3), np.uint8))
    assert open_source(tmp_path).pixel_aspect == 1
    path = write_clip(tmp_path / "clip.mp4", [np.zeros((96, 160, 3), np.uint8)] * 3)
    assert open_source(path).pixel_aspect == 1


# --- which camera a video has --------------------------------------------------------------------


def test_a_file_is_scaled_to_the_video(tmp_path):
    camera, notes = choose_camera((640, 360), write(tmp_path, PLAIN))
    assert camera.size == (640, 360) and camera.matrix[0, 0] == 457 and not notes


def test_intrinsics_of_a_cropped_image_are_refused_with_the_remedy(tmp_path):
    with pytest.raises(CameraError, match="1280x720.*960x720.*calibrate at this size"):
        choose_camera((960, 720), write(tmp_path, PLAIN))


def test_suspicious_intrinsics_get_a_warning(tmp_path):
    path = write(tmp_path, PLAIN.replace("640.5", "1640.5"))
    camera, notes = choose_camera(SIZE, path)
    assert camera.matrix[0, 2] == 1640.5
    assert len(notes) == 1 and "outside the image" in notes[0]


def test_a_given_field_of_view_is_horizontal():
    camera, notes = choose_camera((480, 640), fov_deg=60.0)
    assert camera.matrix[0, 0] == pytest.approx(240 / np.tan(np.radians(30))) and not notes


def test_the_default_field_of_view_is_announced_as_a_guess():
    camera, notes = choose_camera((480, 640))
    assert camera.matrix[0, 0] == pytest.approx(320 / np.tan(np.radians(30)))
    assert len(notes) == 1 and "guess" in notes[0] and "longer side" in notes[0]


def test_rectified_without_a_file_is_refused():
    with pytest.raises(CameraError, match="calibration file"):
        choose_camera(SIZE, fov_deg=60.0, rectified=True)
