"""Conversions between messages and the arrays of the core, both ways."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import Point, TransformStamped, Vector3
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from emf_ros_msgs.msg import (
    Joint3D,
    Keypoint2D,
    Skeleton2D,
    Skeleton2DArray,
    Skeleton3D,
    Skeleton3DArray,
    SkeletonLayout,
)

from ..geometry.camera import Camera
from ..io.images import decode_depth, decode_image
from ..io.render.palette import rgb_of
from ..io.roi_crops import RoiCrop, RoiCropper
from ..skeletons import Layout, get_layout
from ..stamps import NANOSECONDS
from ..types import UNTRACKED, Frame2D, Frame3D, Pose2D, Pose3D, TrackState


def stamp_ns(stamp: Time) -> int:
    """A stamp in ns since its epoch."""
    return stamp.sec * NANOSECONDS + stamp.nanosec


def time_msg(nanoseconds: int) -> Time:
    """The stamp of a time in ns since its epoch."""
    return Time(sec=nanoseconds // NANOSECONDS, nanosec=nanoseconds % NANOSECONDS)


def image_to_rgb(message: Image) -> np.ndarray:
    """The image as (H, W, 3) uint8 RGB.

    Raises:
        ImageError: its encoding is not supported, or its data do not fit its size.
    """
    data = np.frombuffer(message.data, np.uint8)
    return decode_image(
        data,
        message.encoding,
        message.width,
        message.height,
        message.step,
        bool(message.is_bigendian),
    )


def depth_image(message: Image) -> np.ndarray:
    """The depth image as (H, W) uint16 mm or float32 m.

    Raises:
        ImageError: its encoding is not supported, or its data do not fit its size.
    """
    return decode_depth(
        np.frombuffer(message.data, np.uint8),
        message.encoding,
        message.width,
        message.height,
        message.step,
        bool(message.is_bigendian),
    )


def roi_crop(message: Image | CompressedImage, cropper: RoiCropper) -> RoiCrop:
    """The region of interest of an image, RGB.

    Raises:
        ImageError: the image cannot be decoded.
    """
    if isinstance(message, CompressedImage):
        return cropper.crop_compressed(np.frombuffer(message.data, np.uint8))
    return cropper.crop(image_to_rgb(message))


def image_msg(image: np.ndarray, encoding: str, header: Header) -> Image:
    """A message of an image.

    Args:
        image: (H, W, 3) uint8.
        encoding: of the image: rgb8 or bgr8.
        header: of the message.
    """
    buffer = ImageBuffer((image.shape[1], image.shape[0]), encoding)
    np.copyto(buffer.pixels, image)
    buffer.message.header = header
    return buffer.message


class ImageBuffer:
    """A message of an image whose pixels are written in place, image after image.

    `publish` copies the message before it returns. So the pixels may be written again after it.

    Args:
        size: (width, height) px.
        encoding: rgb8 or bgr8.

    Attributes:
        message: the message; its header is to be set.
        pixels: (H, W, 3) uint8, a view of the message's data.
    """

    def __init__(self, size: tuple[int, int], encoding: str) -> None:
        width, height = size
        self.message = Image(height=height, width=width, encoding=encoding, step=3 * width)
        # rclpy converts bytes and numpy arrays byte by byte, which takes a quarter of a second for
        # a 720p image. Newer versions copy the array that they are given.
        self.message.data = array("B", bytes(3 * width * height))
        self.pixels = np.frombuffer(self.message.data, np.uint8).reshape(height, width, 3)


def camera_info_msg(camera: Camera, header: Header) -> CameraInfo:
    """A message of the intrinsics of whole images. P is K, as of images that are rectified to K."""
    projection = np.zeros((3, 4))
    projection[:, :3] = camera.matrix
    return CameraInfo(
        header=header,
        width=camera.size[0],
        height=camera.size[1],
        distortion_model=camera.model,
        d=camera.distortion.tolist(),
        k=camera.matrix.ravel().tolist(),
        r=np.eye(3).ravel().tolist(),
        p=projection.ravel().tolist(),
    )


def keypoints_msg(frame: Frame2D) -> Skeleton2DArray:
    """A message of 2D keypoints; the inverse of `keypoint_frame`."""
    return Skeleton2DArray(
        header=Header(stamp=time_msg(frame.stamp_ns), frame_id=frame.frame_id),
        layout=frame.layout,
        image_width=frame.image_size[0],
        image_height=frame.image_size[1],
        skeletons=[_skeleton_2d_msg(person) for person in frame.people],
        detect_ms=float(frame.detect_ms),
    )


def _skeleton_2d_msg(person: Pose2D) -> Skeleton2D:
    return Skeleton2D(
        # In messages 0 says that the publisher does not track.
        track_id=0 if person.track_id == UNTRACKED else person.track_id,
        score=float(person.score),
        bbox=[float(value) for value in person.box()],
        keypoints=[Keypoint2D(x=x, y=y, score=score) for x, y, score in person.keypoints.tolist()],
    )


def keypoint_frame(message: Skeleton2DArray) -> Frame2D:
    """A message of 2D keypoints as a frame for the pipeline, which checks it."""
    return Frame2D(
        stamp_ns(message.header.stamp),
        message.header.frame_id,
        message.layout,
        (message.image_width, message.image_height),
        [
            Pose2D(
                np.array([(k.x, k.y, k.score) for k in person.keypoints]).reshape(-1, 3),
                person.score,
                person.track_id or UNTRACKED,
            )
            for person in message.skeletons
        ],
        message.detect_ms,
    )


def layout_msg(layout: Layout) -> SkeletonLayout:
    """A message that names the joints of a layout, their parents and the edges."""
    return SkeletonLayout(
        name=layout.name,
        joint_names=list(layout.joints),
        parents=list(layout.parents),
        edges=[index for edge in layout.edges for index in edge],
    )


def _point(values: np.ndarray) -> Point:
    x, y, z = values.tolist()
    return Point(x=x, y=y, z=z)


def skeletons_msg(
    result: Frame3D,
    frame_id: str,
    layout: str,
    detect_ms: float,
    queue_ms: float,
    total_ms: float,
    images_arrive: bool = True,
) -> Skeleton3DArray:
    """A message of 3D skeletons; the inverse of `skeletons_from_msg`.

    Args:
        result: the poses of one image.
        frame_id: of the frame of the poses.
        layout: name of the joints' layout.
        detect_ms, queue_ms, total_ms: time of the detection, in the queue, and from the image's
            stamp to publication, ms.
        images_arrive: false in a message without an image.
    """
    return Skeleton3DArray(
        header=Header(stamp=time_msg(result.stamp_ns), frame_id=frame_id),
        layout=layout,
        skeletons=[_skeleton_msg(person) for person in result.people],
        lag=Duration(sec=result.lag_ns // NANOSECONDS, nanosec=result.lag_ns % NANOSECONDS),
        detect_ms=float(detect_ms),
        queue_ms=float(queue_ms),
        lift_ms=float(result.lift_ms),
        total_ms=float(total_ms),
        images_arrive=images_arrive,
    )


def skeletons_from_msg(message: Skeleton3DArray) -> Frame3D:
    """A message of skeletons as numpy arrays; the inverse of `skeletons_msg`.

    Joint names are those of the layout, `emf_ros.skeletons.get_layout(message.layout).joints`.

    Returns:
        the poses, in the frame `message.header.frame_id`, of the image with this stamp.

    Raises:
        ValueError: the layout or a state is unknown, or a skeleton lacks joints of the layout.
    """
    joints = len(get_layout(message.layout)) if message.skeletons else 0
    for skeleton in message.skeletons:
        if len(skeleton.joints) != joints:
            raise ValueError(
                f"a skeleton has {len(skeleton.joints)} joints, and {message.layout} {joints}"
            )
    lag = message.lag
    return Frame3D(
        stamp_ns(message.header.stamp),
        lag.sec * NANOSECONDS + lag.nanosec,
        [_person_from_msg(skeleton) for skeleton in message.skeletons],
        message.lift_ms,
    )


def _person_from_msg(message: Skeleton3D) -> Pose3D:
    joints = [(j.position.x, j.position.y, j.position.z) for j in message.joints]
    return Pose3D(
        message.track_id,
        TrackState(message.tracking_state),
        message.score,
        np.array(joints, dtype=np.float64).reshape(-1, 3),
        np.array([j.confidence for j in message.joints], dtype=np.float64),
        np.array([j.stddev for j in message.joints], dtype=np.float64),
        np.array([message.root.x, message.root.y, message.root.z]),
        message.root_valid,
        np.array(message.root_covariance).reshape(3, 3),
        np.array([message.velocity.x, message.velocity.y, message.velocity.z]),
        np.array([message.last_root.x, message.last_root.y, message.last_root.z]),
        np.array(message.last_root_covariance).reshape(3, 3),
    )


def _skeleton_msg(person: Pose3D) -> Skeleton3D:
    x, y, z = person.velocity.tolist()
    return Skeleton3D(
        track_id=person.track_id,
        tracking_state=int(person.state),
        score=float(person.score),
        root_valid=person.root_valid,
        root=_point(person.root),
        root_covariance=person.root_covariance.ravel().tolist(),
        last_root=_point(person.last_root),
        last_root_covariance=person.last_root_covariance.ravel().tolist(),
        velocity=Vector3(x=x, y=y, z=z),
        joints=[
            Joint3D(position=_point(position), confidence=confidence, stddev=stddev)
            for position, confidence, stddev in zip(
                person.joints, person.confidence.tolist(), person.stddev.tolist(), strict=True
            )
        ],
    )


def tf_msg(message_type: type, people: list[Pose3D], header: Header, prefix: str) -> Any:
    """A tf2_msgs/TFMessage with the pelvis of each person whose root is known.

    The frames are called PREFIXperson_ID. They have the axes of the frame of the poses, as a pose
    has no single orientation.

    Args:
        message_type: tf2_msgs.msg.TFMessage, an optional package.
        people: the poses.
        header: of the skeletons.
        prefix: of the frames' names.
    """
    transforms = []
    for person in people:
        if person.root_valid and person.state != TrackState.ENDED:
            x, y, z = person.root.tolist()
            made = TransformStamped(
                header=header, child_frame_id=f"{prefix}person_{person.track_id}"
            )
            made.transform.translation = Vector3(x=x, y=y, z=z)
            made.transform.rotation.w = 1.0
            transforms.append(made)
    return message_type(transforms=transforms)


#: Id of the marker of the joints, in the namespace of a person.
_JOINTS = 0

#: Id of the marker of the bones.
_BONES = 1

#: Time after which RViz removes a marker that is not renewed.
MARKER_LIFETIME = Duration(sec=0, nanosec=500_000_000)


def markers_msg(
    people: list[Pose3D], header: Header, layout: Layout, shown: set[int]
) -> MarkerArray:
    """Markers for RViz: one namespace per person, joints as spheres, bones as lines.

    Args:
        people: the poses. People without a root are not drawn.
        header: of the skeletons.
        layout: of the joints.
        shown: ids of the people whose markers are shown; updated here, so that each marker is
            deleted once.
    """
    message = MarkerArray()
    for person in people:
        namespace = f"person_{person.track_id}"
        if person.state == TrackState.ENDED or not person.root_valid:
            if person.track_id in shown:
                shown.discard(person.track_id)
                for marker_id in (_JOINTS, _BONES):
                    message.markers.append(
                        Marker(header=header, ns=namespace, id=marker_id, action=Marker.DELETE)
                    )
            continue
        shown.add(person.track_id)
        known = np.isfinite(person.joints).all(axis=-1)
        red, green, blue = rgb_of(person.track_id)

        def color(confidence: float, rgb: tuple = (red, green, blue)) -> ColorRGBA:
            return ColorRGBA(r=rgb[0], g=rgb[1], b=rgb[2], a=0.25 + 0.75 * float(confidence))

        def marker(kind: int, marker_id: int, scale: float, ns: str = namespace) -> Marker:
            made = Marker(header=header, ns=ns, id=marker_id, type=kind, action=Marker.ADD)
            made.lifetime = MARKER_LIFETIME
            made.scale.x = made.scale.y = made.scale.z = scale
            made.pose.orientation.w = 1.0
            return made

        joints = marker(Marker.SPHERE_LIST, _JOINTS, 0.06)
        for j in np.flatnonzero(known):
            joints.points.append(_point(person.joints[j]))
            joints.colors.append(color(person.confidence[j]))
        bones = marker(Marker.LINE_LIST, _BONES, 0.03)
        for a, b in layout.edges:
            if known[a] and known[b]:
                confidence = min(person.confidence[a], person.confidence[b])
                bones.points += [_point(person.joints[a]), _point(person.joints[b])]
                bones.colors += [color(confidence), color(confidence)]
        message.markers += [joints, bones]
    return message
