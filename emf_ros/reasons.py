"""Every counter of the project: the reasons why something was left out, replaced or restarted.

The value of a `Reason` is its key in the diagnostics. docs/reference/counters.md is generated from
here by `make generated`. To add a counter, add a member and count it where it happens:
`counts[Reason.NAME] += 1`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from .skeletons import LAYOUTS

SOURCE = "video_source"
DETECTOR = "keypoint_detector"
LIFTER = "skeleton_lifter"
VIEWER = "skeleton_viewer"


class Reason(str, enum.Enum):
    """Why something was left out, replaced or restarted; the value is the diagnostics key.

    A member equals its key, so `counts["gpu_lost"]` is `counts[Reason.GPU_LOST]`.
    """

    # All nodes.
    INCOMPATIBLE_QOS = "incompatible_qos"
    MESSAGE_TOO_LARGE = "message_too_large"
    MESSAGE_FAILED = "message_failed"

    # Sources of images.
    SOURCE_NOT_OPEN = "source_not_open"
    SOURCE_FAILED = "source_failed"
    FRAME_UNREADABLE = "frame_unreadable"
    FRAME_SIZE_CHANGED = "frame_size_changed"
    LATE_FRAME_SKIPPED = "late_frame_skipped"
    DETECTOR_BUSY = "detector_busy"

    # Images.
    BAD_IMAGE = "bad_image"
    IMAGE_MISSED = "image_missed"
    OVER_MAX_RATE = "over_max_rate"
    DETECTOR_FAILED = "detector_failed"

    # Time stamps.
    STAMP_NOT_NEWER = "stamp_not_newer"
    STAMP_OUTLIER = "stamp_outlier"
    STAMPS_ALL_EQUAL = "stamps_all_equal"
    STAMP_JUMPED_BACK = "stamp_jumped_back"

    # Devices.
    GPU_LOST = "gpu_lost"
    GPU_OUT_OF_MEMORY = "gpu_out_of_memory"

    # Detections.
    FALSE_POSITIVE = "false_positive"
    DUPLICATE = "duplicate"
    MERGED_POSE = "merged_pose"
    LOW_SCORE = "low_score"
    TRUNK_MISSING = "trunk_missing"
    TOO_SMALL = "too_small"
    TRUNCATED = "truncated"
    IMPLAUSIBLE_BONES = "implausible_bones"

    # Intrinsics.
    BAD_CAMERA_INFO = "bad_camera_info"
    CAMERA_INFO_OUTLIER = "camera_info_outlier"
    CAMERA_INFO_SIZE_MISMATCH = "camera_info_size_mismatch"
    CAMERA_CHANGED = "camera_changed"

    # Messages of keypoints.
    UNKNOWN_LAYOUT = "unknown_layout"
    IMAGE_SIZE_UNKNOWN = "image_size_unknown"
    BAD_BODY_NAME = "bad_body_name"
    IMAGE_SIZE_NOT_POSITIVE = "image_size_not_positive"
    FRAME_ID_MISMATCH = "frame_id_mismatch"
    FRAME_ID_CHANGED = "frame_id_changed"
    COALESCED = "coalesced"
    KEYPOINTS_OVERRUN = "keypoints_overrun"
    KEYPOINTS_MISSED = "keypoints_missed"

    # People and their keypoints.
    WRONG_KEYPOINT_COUNT = "wrong_keypoint_count"
    BAD_KEYPOINT = "bad_keypoint"
    SCORE_OVER_1 = "score_over_1"
    TOO_FEW_KEYPOINTS = "too_few_keypoints"
    REPEATED_TRACK_ID = "repeated_track_id"
    TRACK_ID_REPLACED = "track_id_replaced"
    OVER_MAX_PEOPLE = "over_max_people"
    TRACK_JUMPED = "track_jumped"
    SWAP_CORRECTED = "swap_corrected"

    # Poses.
    LIFTER_FAILED = "lifter_failed"
    NO_POSE = "no_pose"
    TOO_LITTLE_VISIBLE = "too_little_visible"
    BAD_DEPTH = "bad_depth"
    DEPTH_IMAGE_MISSING = "depth_image_missing"
    DEPTH_OVERRUN = "depth_overrun"
    DEPTH_SIZE_MISMATCH = "depth_size_mismatch"
    DEPTH_TRUNK_MISSING = "depth_trunk_missing"
    DEPTH_HOLES = "depth_holes"
    DEPTH_SEVERAL_SURFACES = "depth_several_surfaces"
    DEPTH_DISAGREES = "depth_disagrees"
    GROUND_ANKLES_MISSING = "ground_ankles_missing"
    GROUND_ABOVE_HORIZON = "ground_above_horizon"
    GROUND_DISAGREES = "ground_disagrees"

    TRANSFORM_MISSING = "transform_missing"
    GROUND_TRANSFORM_MISSING = "ground_transform_missing"
    BASE_TRANSFORM_MISSING = "base_transform_missing"
    BAD_TRANSFORM = "bad_transform"

    # A log line shows the key, whichever the version of Python.
    __str__ = str.__str__

    @property
    def explanation(self) -> Explanation:
        """Meaning, cause and remedy."""
        return EXPLANATIONS[self]


@dataclass(frozen=True)
class Explanation:
    """What a counter says.

    Attributes:
        nodes: names of the nodes that count it.
        meaning: one sentence: what was refused, dropped or noticed.
        cause: one sentence: the usual reason.
        remedy: what to do; a sentence.
    """

    nodes: tuple[str, ...]
    meaning: str
    cause: str
    remedy: str


EXPLANATIONS: dict[Reason, Explanation] = {
    Reason.INCOMPATIBLE_QOS: Explanation(
        (SOURCE, DETECTOR, LIFTER, VIEWER),
        "No messages pass between this node and another one on a topic.",
        "The subscriber asks for a stronger quality of service than the publisher offers.",
        "Set the QoS that the log line names.",
    ),
    Reason.MESSAGE_TOO_LARGE: Explanation(
        (DETECTOR, LIFTER, VIEWER),
        "A message was refused before it was read: it has over 4 MB, 1000 people or 256 bodies.",
        "A publisher is broken or hostile.",
        "Stop the publisher; the log line names the topic.",
    ),
    Reason.MESSAGE_FAILED: Explanation(
        (DETECTOR, LIFTER, VIEWER),
        "A message was dropped because its content led to an error.",
        "Fields of the message contradict each other.",
        "Read the log line; report it if the publisher is one of this package.",
    ),
    Reason.SOURCE_NOT_OPEN: Explanation(
        (SOURCE,),
        "The video, folder or webcam could not be opened; the node tries again.",
        "The path or number is wrong, the camera is unplugged, or another program uses it.",
        "Check the parameter source.",
    ),
    Reason.SOURCE_FAILED: Explanation(
        (SOURCE,),
        "The source failed while it was read; a camera is opened again, a file only with loop.",
        "A webcam was unplugged, or a file changed while it was read.",
        "Check the cable, the camera or the file.",
    ),
    Reason.FRAME_UNREADABLE: Explanation(
        (SOURCE,),
        "A frame of the video was skipped because it cannot be decoded.",
        "The file is damaged at that place.",
        "Repair the file or record it again.",
    ),
    Reason.FRAME_SIZE_CHANGED: Explanation(
        (SOURCE,),
        "A frame was skipped because its size differs from that of the first frame.",
        "A folder holds images of several sizes, or a stream changes its size.",
        "Give each size a folder or file of its own.",
    ),
    Reason.LATE_FRAME_SKIPPED: Explanation(
        (SOURCE,),
        "A frame of a file was skipped to keep the time of the video.",
        "The machine decodes or sends frames more slowly than the video plays.",
        "Play a smaller video or a lower rate, or free the processor.",
    ),
    Reason.DETECTOR_BUSY: Explanation(
        (SOURCE,),
        "A frame was not given to the detector in the same process, which had an earlier one.",
        "The camera is faster than the detector.",
        "None is needed; a smaller image or fewer people make the detector faster.",
    ),
    Reason.BAD_IMAGE: Explanation(
        (DETECTOR, VIEWER),
        "An image was dropped because it cannot be decoded.",
        "Its encoding is not supported, or its data do not fit its size.",
        "Publish an encoding that the log line names.",
    ),
    Reason.IMAGE_MISSED: Explanation(
        (DETECTOR,),
        "A published image never came to the detector.",
        "A newer one replaced it while the detector was busy, or it got lost on the network.",
        "None is needed where the detector is slower than the camera; else see docs/use/ros.md.",
    ),
    Reason.OVER_MAX_RATE: Explanation(
        (DETECTOR,),
        "An image was dropped to keep the rate under max_rate_hz.",
        "The camera is faster than max_rate_hz.",
        "None is needed; raise max_rate_hz to use more images.",
    ),
    Reason.DETECTOR_FAILED: Explanation(
        (DETECTOR,),
        "The detector raised an error on an image; the image was dropped.",
        "A model does not fit the image, or the GPU failed.",
        "Read the log line; report it if the model is one of this package.",
    ),
    Reason.STAMP_NOT_NEWER: Explanation(
        (DETECTOR, LIFTER),
        "An image was dropped because its stamp is not newer than the last one.",
        "Images arrive out of order or twice.",
        "Publish images in order, each of them once.",
    ),
    Reason.STAMP_OUTLIER: Explanation(
        (DETECTOR, LIFTER),
        "An image was dropped because its stamp is far from the last one.",
        "The clock jumped, the stream paused, or one stamp is wrong.",
        "None is needed for single images; otherwise check the clock of the camera's driver.",
    ),
    Reason.STAMPS_ALL_EQUAL: Explanation(
        (DETECTOR, LIFTER),
        "An image was dropped because many images in a row have the same stamp.",
        "The driver does not stamp its images, or /clock is not published.",
        "Make the driver set header.stamp; publish /clock under use_sim_time.",
    ),
    Reason.STAMP_JUMPED_BACK: Explanation(
        (LIFTER,),
        "All tracks were restarted because the clock jumped back.",
        "A bag was started again, or the clock was set.",
        "None is needed.",
    ),
    Reason.GPU_LOST: Explanation(
        (DETECTOR, LIFTER),
        "The GPU failed, and the CPU took over. The GPU is tried again after a minute.",
        "The driver failed, or the GPU's memory is full.",
        "Read the log line. If the process cannot use the GPU again, restart the node.",
    ),
    Reason.GPU_OUT_OF_MEMORY: Explanation(
        (LIFTER,),
        "The memory of the GPU did not suffice for a batch; the batch was split.",
        "Many people, or other programs on the GPU.",
        "Lower max_people, or free memory of the GPU.",
    ),
    Reason.FALSE_POSITIVE: Explanation(
        (DETECTOR,),
        "A detection was rejected because the verification found no person.",
        "An object looks like a person.",
        "None is needed.",
    ),
    Reason.DUPLICATE: Explanation(
        (DETECTOR, LIFTER),
        "A detection was rejected because a better one has the same person.",
        "The detector reported one person twice.",
        "None is needed.",
    ),
    Reason.MERGED_POSE: Explanation(
        (DETECTOR, LIFTER),
        "A detection was rejected because it has the legs of another person and is much taller.",
        "The detector merged two people, or a person and an object. Or an adult stands behind a "
        "small child, and the two were not seen apart before.",
        "None is needed.",
    ),
    Reason.LOW_SCORE: Explanation(
        (DETECTOR, LIFTER),
        "A detection was rejected because its score is too low, or the mean score of its joints.",
        "The person is far away, blurred, dark or mostly occluded.",
        "Lower min_score, or improve the light.",
    ),
    Reason.TRUNK_MISSING: Explanation(
        (DETECTOR, LIFTER),
        "A detection was rejected because fewer than two shoulders and hips are visible.",
        "The trunk is occluded or outside the image.",
        "Move the camera so that it sees the trunk.",
    ),
    Reason.TOO_SMALL: Explanation(
        (DETECTOR, LIFTER),
        "A detection was rejected because it is too small in the image.",
        "The person is too far away.",
        "Use a larger image or a longer lens.",
    ),
    Reason.TRUNCATED: Explanation(
        (DETECTOR, LIFTER),
        "A detection was rejected because fewer than six of its joints are in the image.",
        "The edge of the image cuts the person off.",
        "Move the camera so that it sees more of the person.",
    ),
    Reason.IMPLAUSIBLE_BONES: Explanation(
        (DETECTOR, LIFTER),
        "A detection was rejected because its bones are too long for its trunk.",
        "The detector joined limbs of different people, or of a person and an object.",
        "None is needed.",
    ),
    Reason.BAD_CAMERA_INFO: Explanation(
        (SOURCE, LIFTER, VIEWER),
        "A camera_info was refused; poses have no root until a valid one comes.",
        "Its K, D or distortion model is invalid.",
        "Calibrate the camera; the log line names the fault.",
    ),
    Reason.CAMERA_INFO_OUTLIER: Explanation(
        (LIFTER,),
        "A single camera_info was dropped because it differs from those before it.",
        "Two publishers share the topic, or the driver sent a wrong message.",
        "Let one driver publish camera_info.",
    ),
    Reason.CAMERA_INFO_SIZE_MISMATCH: Explanation(
        (SOURCE, LIFTER),
        "The intrinsics do not fit the size of the images; they give no poses.",
        "The camera was calibrated with another aspect ratio, or the image is cropped.",
        "Calibrate at the size that is used, or set roi and binning in camera_info.",
    ),
    Reason.CAMERA_CHANGED: Explanation(
        (LIFTER,),
        "All tracks were restarted because the intrinsics or the image size changed.",
        "The driver changed its resolution, zoom or calibration.",
        "None is needed for single changes.",
    ),
    Reason.UNKNOWN_LAYOUT: Explanation(
        (LIFTER,),
        "Keypoints were refused because their layout is unknown or cannot be converted.",
        "The field layout of the message has another name.",
        f"Set it to one of: {', '.join(LAYOUTS)}.",
    ),
    Reason.IMAGE_SIZE_UNKNOWN: Explanation(
        (LIFTER,),
        "Third-party keypoints were refused because the size of the image is not known.",
        "Their message has no image size, and no camera_info has come.",
        "Publish camera_info.",
    ),
    Reason.BAD_BODY_NAME: Explanation(
        (LIFTER,),
        "A body of hri_msgs was ignored because its id cannot stand in the name of a topic.",
        "The publisher gives ids that begin with a digit, or have other characters than letters, "
        "digits and single _.",
        "Begin ids with a letter, as ROS4HRI does.",
    ),
    Reason.IMAGE_SIZE_NOT_POSITIVE: Explanation(
        (LIFTER,),
        "Keypoints were refused because their image width or height is not positive.",
        "The publisher does not fill in image_width and image_height.",
        "Fill them in.",
    ),
    Reason.FRAME_ID_MISMATCH: Explanation(
        (LIFTER,),
        "Keypoints were refused because their frame_id is that of another camera.",
        "Two cameras publish on one topic.",
        "Give each camera a topic of its own; see the parameter cameras.",
    ),
    Reason.FRAME_ID_CHANGED: Explanation(
        (LIFTER,),
        "All tracks were restarted because the keypoints have another frame_id for good.",
        "Another camera has taken over the topic.",
        "None is needed.",
    ),
    Reason.COALESCED: Explanation(
        (LIFTER,),
        "An image's keypoints entered the windows, and only the newest image's pose was computed.",
        "Keypoints arrive faster than the model runs.",
        "None is needed; use a faster device for more poses.",
    ),
    Reason.KEYPOINTS_OVERRUN: Explanation(
        (LIFTER,),
        "An image's keypoints were dropped because the queue was full.",
        "The lifter was held up for seconds.",
        "Use a faster device, or fewer cameras.",
    ),
    Reason.KEYPOINTS_MISSED: Explanation(
        (LIFTER,),
        "The published keypoints of an image never came to the lifter.",
        "They got lost on the network, or the lifter's computer was held up.",
        "Check the network, or free the processor.",
    ),
    Reason.WRONG_KEYPOINT_COUNT: Explanation(
        (LIFTER,),
        "A person was refused because the number of keypoints is not that of the layout.",
        "The publisher names a layout that its keypoints do not have.",
        "Name the right layout.",
    ),
    Reason.BAD_KEYPOINT: Explanation(
        (LIFTER,),
        "A keypoint was taken as missing because its position or score is invalid.",
        "It is not finite, far outside the image, or of negative score.",
        "Write a missing keypoint as NaN with score 0.",
    ),
    Reason.SCORE_OVER_1: Explanation(
        (LIFTER,),
        "A keypoint's score above 1 was taken as 1.",
        "The scores of some models are no probabilities.",
        "None is needed.",
    ),
    Reason.TOO_FEW_KEYPOINTS: Explanation(
        (LIFTER,),
        "A person was left out of an image because fewer than six joints are known.",
        "The person is mostly occluded or outside the image.",
        "None is needed for single images.",
    ),
    Reason.REPEATED_TRACK_ID: Explanation(
        (LIFTER,),
        "A person was refused because another one in the image has the same id.",
        "The publisher gives one id to several people.",
        "Give each person one id, or 0 to all: the lifter then tracks.",
    ),
    Reason.TRACK_ID_REPLACED: Explanation(
        (LIFTER,),
        "A track_id was replaced by the lifter's own.",
        "The publisher tracks some people and gives others the id 0.",
        "Track all people, or none.",
    ),
    Reason.OVER_MAX_PEOPLE: Explanation(
        (LIFTER,),
        "A person was left out because there are more than max_people.",
        "More people are in the image than the limit allows.",
        "Raise max_people.",
    ),
    Reason.TRACK_JUMPED: Explanation(
        (LIFTER,),
        "The window of a track was restarted because its keypoints jumped.",
        "The tracker gave the id to another person.",
        "None is needed for single cases.",
    ),
    Reason.SWAP_CORRECTED: Explanation(
        (LIFTER,),
        "The left and right joints of a person were exchanged in an image.",
        "The detector swapped left and right.",
        "None is needed.",
    ),
    Reason.LIFTER_FAILED: Explanation(
        (LIFTER,),
        "The lifter raised an error on a batch; its poses are missing.",
        "A fault of the model, the GPU or this package.",
        "Read the log line and report it.",
    ),
    Reason.NO_POSE: Explanation(
        (LIFTER,),
        "A coasting track had no pose because no keypoint is left in its window.",
        "The person has been missing for longer than the window.",
        "None is needed; a lower coast_s ends such tracks earlier.",
    ),
    Reason.TOO_LITTLE_VISIBLE: Explanation(
        (LIFTER,),
        "A root was withheld because too little of the person is visible to know the distance.",
        "The person is mostly occluded or outside the image.",
        "Give the height of the camera or a depth image; they fix the distance.",
    ),
    Reason.BAD_DEPTH: Explanation(
        (LIFTER,),
        "A depth image was refused because it cannot be decoded.",
        "Its encoding is neither 16UC1 nor 32FC1, or its data do not fit its size.",
        "Publish one of these encodings.",
    ),
    Reason.DEPTH_IMAGE_MISSING: Explanation(
        (LIFTER,),
        "No depth image was there for the moment of a pose.",
        "Depth images do not come, or come late, at a low rate, or with stamps of another clock.",
        "Remap the topic depth; publish depth with the stamps of the images.",
    ),
    Reason.DEPTH_OVERRUN: Explanation(
        (LIFTER,),
        "The depth image of the moment of a pose was dropped before the keypoints came.",
        "The detector takes over 2 s, or a replay is over 1 GiB of depth ahead of its keypoints.",
        "Use a faster detector; play the bag more slowly, or with smaller depth images.",
    ),
    Reason.DEPTH_SIZE_MISMATCH: Explanation(
        (LIFTER,),
        "A depth image was not used because its aspect ratio differs from the camera's.",
        "It is not registered to the camera's images.",
        "Publish depth that is registered to the images.",
    ),
    Reason.DEPTH_TRUNK_MISSING: Explanation(
        (LIFTER,),
        "The depth of a person was not used because a shoulder or hip is missing.",
        "The trunk is occluded or outside the image.",
        "None is needed.",
    ),
    Reason.DEPTH_HOLES: Explanation(
        (LIFTER,),
        "The depth of a person was not used because most of its pixels at the trunk are invalid.",
        "The surface reflects badly, or is out of the sensor's range.",
        "None is needed for single cases.",
    ),
    Reason.DEPTH_SEVERAL_SURFACES: Explanation(
        (LIFTER,),
        "The depth of a person was not used because the trunk shows several distances.",
        "An object or an arm is in front of the trunk.",
        "None is needed.",
    ),
    Reason.DEPTH_DISAGREES: Explanation(
        (LIFTER,),
        "The depth of a person was not used because it is far from the distance of the model.",
        "The depth is of another object, is not registered, or has another unit.",
        "Check the registration: 16UC1 is in mm, 32FC1 in m.",
    ),
    Reason.GROUND_ANKLES_MISSING: Explanation(
        (LIFTER,),
        "The floor was not used for a person because the lower ankle is missing.",
        "The feet are occluded or outside the image.",
        "None is needed.",
    ),
    Reason.GROUND_ABOVE_HORIZON: Explanation(
        (LIFTER,),
        "The floor was not used for a person because the ray to the ankle does not meet it.",
        "camera_pitch_deg or camera_roll_deg is wrong, or the person is raised.",
        "Check these parameters.",
    ),
    Reason.GROUND_DISAGREES: Explanation(
        (LIFTER,),
        "The floor was not used for a person because its distance is far from that of the model.",
        "The person does not stand on the floor, or the camera parameters are wrong.",
        "Check camera_height_m and camera_pitch_deg.",
    ),
    Reason.TRANSFORM_MISSING: Explanation(
        (LIFTER,),
        "The poses of an image were withheld: their place in target_frame is not known.",
        "No transform connects the camera and target_frame at the time of the image.",
        "Publish the transforms; the log line names the frames. Compare the clocks.",
    ),
    Reason.GROUND_TRANSFORM_MISSING: Explanation(
        (LIFTER,),
        "An image was lifted without the floor, and its body_states were withheld.",
        "No transform connects the camera and ground_frame at the time of the image.",
        "Publish the transforms; the log line names the frames. Compare the clocks.",
    ),
    Reason.BASE_TRANSFORM_MISSING: Explanation(
        (LIFTER,),
        "The time of the closest approach to base_frame was not given for an image.",
        "No transform connects the camera and base_frame at the time of the image.",
        "Publish the transforms; the log line names the frames. Compare the clocks.",
    ),
    Reason.BAD_TRANSFORM: Explanation(
        (LIFTER,),
        "A transform on /tf or /tf_static was ignored.",
        "It has a number that is not finite, a quaternion of 0, or no names of two frames.",
        "Correct its publisher; the log line names the frames.",
    ),
}
