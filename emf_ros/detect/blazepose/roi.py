"""The region of interest (ROI) of a person: from a detection, and from frame to frame."""

from __future__ import annotations

import math

import numpy as np

from ...geometry.boxes import box_iou, keypoint_boxes
from ...geometry.crops import Roi
from ...track.duplicates import MAX_DUPLICATE_DISTANCE
from ...types import Pose2D

#: Side of an ROI over the diameter of the circle around the body.
ROI_SIDE_TO_CIRCLE = 1.25
#: Minimum side of an ROI, px: a smaller one shows no person.
MIN_ROI_SIDE_PX = 4.0
#: Maximum side of an ROI over the longer side of the image.
MAX_ROI_TO_IMAGE = 8.0
#: Maximum ratio of the sides of two ROIs of one person, from the detection and from landmarks.
MAX_ROI_SIDE_RATIO = 2.0
#: Maximum distance of the centres of two ROIs at the same place, as a share of the side.
MAX_SHIFT_TO_SIDE = 0.5
#: Minimum difference of the angles of two crossing ROIs, rad.
CROSSING_ANGLE_RAD = 0.8
#: Maximum distance of the hips of two crossing ROIs of one person, as a share of the larger side.
#: Two people side by side are 0.2 apart, with equal angles.
MAX_CROSSING_DISTANCE = 0.35
#: Maximum IoU of the bounding boxes of a new person and a known one.
MAX_NEW_PERSON_IOU = 0.3


def is_plausible(roi: Roi, width: int, height: int) -> bool:
    """Whether a person's ROI can have this size and place, in an image of this size, px."""
    longer = max(width, height)
    return (
        MIN_ROI_SIDE_PX <= roi.side <= MAX_ROI_TO_IMAGE * longer
        and abs(roi.x - width / 2) <= longer
        and abs(roi.y - height / 2) <= longer
        and math.isfinite(roi.angle)
    )


def roi_from_points(hip_centre: np.ndarray, circle_point: np.ndarray) -> Roi:
    """The ROI around a person.

    Args:
        hip_centre: (2,) px.
        circle_point: (2,) px, a point on the circle around the body, in the head's direction.
    """
    x, y = (circle_point - hip_centre).tolist()
    return Roi(
        float(hip_centre[0]),
        float(hip_centre[1]),
        2 * ROI_SIDE_TO_CIRCLE * math.hypot(x, y),
        math.atan2(x, -y),
    )


def similar_size(one: Roi, other: Roi) -> bool:
    """Whether two ROIs can be of the same person, by their sides."""
    return 1 / MAX_ROI_SIDE_RATIO < one.side / other.side < MAX_ROI_SIDE_RATIO


def at_same_place(one: Roi, other: Roi) -> bool:
    """Whether two ROIs can be of the same person, by their centres."""
    return max(abs(one.x - other.x), abs(one.y - other.y)) < MAX_SHIFT_TO_SIDE * other.side


def is_known(new: Roi, tracked: Roi) -> bool:
    """Whether a detected ROI shows a tracked person, or only some limbs of that person.

    The person detection may take limbs for a person that lies across the tracked one.
    """
    distance = math.hypot(new.x - tracked.x, new.y - tracked.y) / max(new.side, tracked.side)
    turned = abs(math.remainder(new.angle - tracked.angle, 2 * math.pi))
    return distance < (
        MAX_CROSSING_DISTANCE if turned > CROSSING_ANGLE_RAD else MAX_DUPLICATE_DISTANCE
    )


def are_separate(one: Pose2D, other: Pose2D) -> bool:
    """Whether two poses are of two people, not two poses of the same limbs."""
    boxes = keypoint_boxes(np.stack([one.keypoints, other.keypoints]))
    return bool(box_iou(boxes[:1], boxes[1:])[0, 0] < MAX_NEW_PERSON_IOU)
