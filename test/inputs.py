"""Inputs that tests make: messages of images and intrinsics, video files, calibration files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

#: Number of the first frame that is taken of the demo video. It shows one person, and two people
#: from a third of a second later.
FIRST_FRAME = 50
#: Number of frames that are taken: 3 s.
FRAME_COUNT = 90
#: Size (width, height) of these frames, px: half of the video's.
FRAME_SIZE = (884, 496)
#: Time between two frames, ns.
FRAME_NS = 33_333_333


def image_message(picture: np.ndarray, nanoseconds: int, frame_id: str = "test_camera") -> Any:
    """A sensor_msgs/Image in bgr8."""
    from array import array

    from sensor_msgs.msg import Image

    height, width = picture.shape[:2]
    message = Image(height=height, width=width, encoding="bgr8", step=3 * width)
    message.header.frame_id = frame_id
    set_stamp(message, nanoseconds)
    message.data = array("B", picture.tobytes())
    return message


def set_stamp(message: Any, nanoseconds: int) -> None:
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(nanoseconds, 1_000_000_000)


def camera_info_message(size: tuple[int, int] = FRAME_SIZE, fov_deg: float = 60.0) -> Any:
    """An ideal camera's sensor_msgs/CameraInfo."""
    from sensor_msgs.msg import CameraInfo

    from emf_ros.geometry.camera import Camera

    camera = Camera.from_fov(*size, fov_deg)
    return CameraInfo(
        width=size[0],
        height=size[1],
        distortion_model="plumb_bob",
        d=[0.0] * 5,
        k=camera.matrix.ravel().tolist(),
    )


def write_clip(path: Path, frames: list[np.ndarray], rate_hz: float = 30.0) -> Path:
    """A video file of images of one size."""
    import cv2

    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), rate_hz, (width, height))
    assert writer.isOpened()
    for picture in frames:
        writer.write(picture)
    writer.release()
    return path


def write_y4m(path: Path, size: tuple[int, int], pixel_aspect: str, count: int = 8) -> Path:
    """An uncompressed video that states the shape of its pixels, such as 4:3; 10 Hz, grey."""
    width, height = size
    with open(path, "wb") as file:
        head = f"YUV4MPEG2 W{width} H{height} F10:1 Ip A{pixel_aspect} C420jpeg\n"
        file.write(head.encode())
        for index in range(count):
            file.write(b"FRAME\n" + bytes([100 + index]) * (width * height * 3 // 2))
    return path


def camera_yaml(width: int, height: int, focal: float) -> str:
    """Intrinsics as camera_calibration writes them."""
    return f"""image_width: {width}
image_height: {height}
camera_name: narrow_stereo
camera_matrix:
  rows: 3
  cols: 3
  data: [{focal}, 0.0, {(width - 1) / 2}, 0.0, {focal}, {(height - 1) / 2}, 0.0, 0.0, 1.0]
distortion_model: plumb_bob
distortion_coefficients:
  rows: 1
  cols: 5
  data: [0.0, 0.0, 0.0, 0.0, 0.0]
"""
