"""A hint at rectified images whose intrinsics are read as those of raw images."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from sensor_msgs.msg import CameraInfo

from .base import BaseNode
from .lifter_topics import CameraTopics

#: Period of the check, s.
PERIOD_S = 1.0

#: Topics of rectified images: image_rect, image_rect_color, color/rect/image, rectified.
_RECTIFIED_TOPIC = re.compile(r"(?<![a-z0-9])rect(ified)?(?![a-z0-9])")


class RectifiedHint:
    """Warns once of each camera whose keypoints seem to be of rectified images.

    Args:
        node: warns, and looks at the graph.
        cameras: to check.
    """

    def __init__(self, node: BaseNode[Any], cameras: list[CameraTopics]) -> None:
        self._node, self._cameras = node, cameras
        self._timer = node.every(PERIOD_S, self._check)

    def _check(self) -> None:
        self._cameras = [camera for camera in self._cameras if not self._warn(camera)]
        if not self._cameras:
            self._timer.cancel()

    def _warn(self, camera: CameraTopics) -> bool:
        """Whether the images are rectified by the name of their topic, and make a difference."""
        if camera.info is None or not rectification_matters(camera.info):
            return False
        for topic in self._image_topics(camera.feed.topic("keypoints")):
            if is_rectified(topic):
                self._node.get_logger().warning(
                    f"the keypoints are of the images on {topic}, which are rectified by their "
                    f"name, but {camera.feed.topic('camera_info')} is read as of raw images: set "
                    f"rectified:=true on {self._node.get_name()}"
                )
                return True
        return False

    def _image_topics(self, keypoints: str) -> Iterator[str]:
        """The topics of colour images that the publishers of keypoints subscribe to."""
        topic = self._node.resolve_topic_name(keypoints)
        for publisher in self._node.get_publishers_info_by_topic(topic):
            try:
                heard = self._node.get_subscriber_names_and_types_by_node(
                    publisher.node_name, publisher.node_namespace
                )
            except RuntimeError:  # the node has gone, or its name has not come yet
                continue
            for name, types in heard:
                is_image = any(kind.endswith(("/Image", "/CompressedImage")) for kind in types)
                if is_image and "depth" not in name:
                    yield name


def is_rectified(topic: str) -> bool:
    """Whether the name of a topic says that its images are rectified."""
    return _RECTIFIED_TOPIC.search(topic) is not None


def rectification_matters(info: CameraInfo) -> bool:
    """Whether the intrinsics of raw and of rectified images differ."""
    projected = np.asarray(info.p, dtype=np.float64).reshape(3, 4)[:, :3]
    matrix = np.asarray(info.k, dtype=np.float64).reshape(3, 3)
    differ = projected.any() and not np.allclose(projected, matrix, rtol=1e-3, atol=1e-9)
    return bool(differ or np.any(np.asarray(info.d)))
