"""The people of one camera in a bag: keypoints, skeletons and intrinsics in messages."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import numpy as np

from ...geometry.camera import CameraError
from ...skeletons import H36M17, Layout, get_layout
from ...stamps import NANOSECONDS
from ..bags import BagReader, namespace_of, stamp_ns
from ..camera_info import camera_from_info
from ..recording_writer import RecordingWriter
from ..recordings import Recording, RecordingError, checked, refuse_too_many_rows

KEYPOINTS = "emf_ros_msgs/msg/Skeleton2DArray"
SKELETONS = "emf_ros_msgs/msg/Skeleton3DArray"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
#: Names that the nodes give to topics of these types.
_NAMES = {KEYPOINTS: "keypoints", CAMERA_INFO: "camera_info"}

#: State of a skeleton in emf_ros_msgs/Skeleton3D whose person has left.
_ENDED = 3
#: Part of the name of a frame with x right, y down, z forward (REP 103).
_OPTICAL = "optical"
#: Names of frames whose z axis points up (REP 105).
_Z_UP = {"earth", "map", "odom", "base_link", "base_footprint"}

#: Stamp of the image in ns, id, and number of the person among those of this id in the image.
_Key = tuple[int, int, int]
#: Joints (17, 3) m, their standard deviation (17,) m, root (3,) m, and whether it is known.
_Pose = tuple[np.ndarray, np.ndarray, np.ndarray, bool]
_NO_POSE: _Pose = (
    np.full((len(H36M17), 3), np.nan),
    np.full(len(H36M17), np.nan),
    np.full(3, np.nan),
    False,
)


def people_of(
    bag: BagReader, topic: str = "", to_lift: bool = False, camera_given: bool = False
) -> Recording:
    """The people of one camera.

    Args:
        bag: is read.
        topic: of the skeletons or of the keypoints; empty where there is only one. Keypoints and
            intrinsics are those of the same namespace, or the only ones of the bag.
        to_lift: keypoints are wanted. Without a topic, skeletons are then read only where there
            are no keypoints.
        camera_given: other intrinsics than those of the bag will be used.

    Raises:
        BagError: the bag or the topic cannot be read.
        CameraError: the intrinsics are invalid, and are to be lifted with. Otherwise a note says
            so, and the recording has none.
        RecordingError: there are no people, or their poses are not in the camera's frame.
    """
    kind = SKELETONS if bag.of_type(SKELETONS) else KEYPOINTS
    if to_lift and bag.of_type(KEYPOINTS):
        kind = KEYPOINTS
    if topic and bag.topics.get(topic) in (SKELETONS, KEYPOINTS):
        kind = bag.topics[topic]
    chosen = bag.choose(topic, kind, by="--topic of emf-ros convert or lift")
    info = _beside(bag, chosen, CAMERA_INFO)
    topics = {chosen, info, _beside(bag, chosen, KEYPOINTS) if kind == SKELETONS else None}
    skeletons: dict[_Key, _Pose] = {}
    keypoints: dict[_Key, np.ndarray] = {}
    layout, size, camera = H36M17, (0, 0), None
    frames: dict[str, set[str]] = defaultdict(set)
    notes: list[str] = []
    useless: CameraError | None = None
    for name, _, message in bag.messages({each for each in topics if each is not None}):
        kind, stamp = bag.topics[name], stamp_ns(message.header)
        if kind == CAMERA_INFO:
            try:
                camera = camera_from_info(message) or camera
            except CameraError as error:
                useless = error
            frames[kind].add(str(message.header.frame_id))
            continue
        same_id: Counter[int] = Counter()
        if kind == KEYPOINTS:
            if keypoints and message.layout != layout.name:
                raise RecordingError(f"its layout changes from {layout.name} to {message.layout}")
            layout = _layout_of(message.layout)
            size = (int(message.image_width), int(message.image_height))
            frames[kind].add(str(message.header.frame_id))
        for person in message.skeletons:
            number = int(person.track_id)
            key = stamp, number, same_id[number]
            same_id[number] += 1
            if kind == KEYPOINTS:
                keypoints[key] = _keypoints_of(person, layout)
            elif person.tracking_state != _ENDED:
                skeletons[key] = _pose(person)
                frames[kind].add(str(message.header.frame_id))
        refuse_too_many_rows(max(len(keypoints), len(skeletons)))
    if not _is_theirs(frames, info, chosen, notes):
        camera = useless = None
    if camera is not None and size != (0, 0) and camera.size != size:
        try:
            camera = camera.scaled_to(*size)
        except CameraError as error:
            useless = error
    if useless is not None:
        if to_lift and not camera_given:
            raise CameraError(f"{info}: {useless}; or give others: --camera-info, --fov")
        camera = None
        notes.append(f"{info}: {useless}: these intrinsics are left out")
    # A publisher that does not track gives all people the id 0. The lifter gives them others.
    untracked = [key for key in keypoints if key[1] == 0]
    if untracked and skeletons and all(key[1] != 0 for key in skeletons):
        keypoints = {key: points for key, points in keypoints.items() if key[1] != 0}
        notes.append(
            f"{len(untracked)} sets of keypoints have no id, and belong to no skeleton: left out; "
            "to read them choose their topic"
        )
    writer = RecordingWriter(layout, size if size != (0, 0) or camera is None else camera.size)
    writer.camera = camera
    unseen = np.full((len(layout), 3), np.nan)
    unseen[:, 2] = 0.0
    for key in {**skeletons, **keypoints}:
        stamp, number, which = key
        pose = skeletons.get(key, _NO_POSE)
        points = keypoints.get(key, unseen)
        writer.add(stamp / NANOSECONDS, -1, number, points, *pose, which=which)
    if not len(writer):
        raise RecordingError("it has no people")
    recording = writer.recording()
    recording.notes += notes
    return checked(recording)


def _beside(bag: BagReader, chosen: str, kind: str) -> str | None:
    """The topic of a type in the namespace of the chosen one, or the only one of the bag."""
    found = bag.of_type(kind)
    usual = f"{namespace_of(chosen)}/{_NAMES[kind]}"
    if usual in found:
        return usual
    found = [one for one in found if namespace_of(one) == namespace_of(chosen)] or found
    return found[0] if len(found) == 1 else None


def _is_theirs(
    frames: dict[str, set[str]], info: str | None, chosen: str, notes: list[str]
) -> bool:
    """Whether the intrinsics are of the camera whose frame the people are in.

    Args:
        frames: names of the frames in the headers of each type, of skeletons only with people.
        info: topic of the intrinsics.
        chosen: topic of the people.
        notes: sentences for the user; more are added.

    Raises:
        RecordingError: the poses are not in a camera's frame.
    """
    # An image without the name of a frame leads to poses without one.
    poses, of_info = frames[SKELETONS] - {""}, frames[CAMERA_INFO] - {""}
    of_camera = frames[KEYPOINTS] or of_info
    strange = sorted(poses - of_camera)
    optical = all(_OPTICAL in frame for frame in strange)
    z_up = any(frame.rpartition("/")[2] in _Z_UP for frame in strange)
    if strange and (frames[KEYPOINTS] or z_up or (of_info and not optical)):
        camera = f", {', '.join(map(repr, sorted(of_camera)))}" if of_camera else ""
        raise RecordingError(
            f"the poses are in the frame {', '.join(map(repr, strange))}, and a recording needs "
            f"that of the camera{camera}: record them without target_frame"
        )
    if strange and not of_info and not optical:
        notes.append(
            f"the poses are in the frame {', '.join(map(repr, strange))}: taken as that of a "
            "camera, x right, y down, z forward; a bag with camera_info would tell"
        )
    of_people = (frames[KEYPOINTS] - {""}) or poses
    if not of_info or not of_people or of_people & of_info:
        return True
    # Some drivers name two frames of one camera. In its namespace the intrinsics are its own.
    if frames[KEYPOINTS] and info is not None and namespace_of(info) == namespace_of(chosen):
        return True
    notes.append(
        f"{info} is of the frame {', '.join(map(repr, sorted(of_info)))}, and the people are in "
        f"{', '.join(map(repr, sorted(of_people)))}: these intrinsics are left out"
    )
    return False


def _layout_of(name: str) -> Layout:
    try:
        return get_layout(str(name))
    except ValueError as error:
        raise RecordingError(str(error)) from None


def _keypoints_of(message: Any, layout: Layout) -> np.ndarray:
    """(K, 3) px, px, score."""
    points = [(point.x, point.y, point.score) for point in message.keypoints]
    if len(points) != len(layout):
        raise RecordingError(f"a person has {len(points)} keypoints, not {len(layout)}")
    return np.array(points)


def _pose(message: Any) -> _Pose:
    joints, stddev = _NO_POSE[0].copy(), _NO_POSE[1].copy()
    if len(message.joints) != len(H36M17):
        raise RecordingError(f"a skeleton has {len(message.joints)} joints, not {len(H36M17)}")
    for row, joint in enumerate(message.joints):
        joints[row] = joint.position.x, joint.position.y, joint.position.z
        stddev[row] = joint.stddev
    root = np.array([message.root.x, message.root.y, message.root.z])
    return joints, stddev, root, bool(message.root_valid)
