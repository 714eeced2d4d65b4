"""MCAP (.mcap) and bags of ROS 2 with our messages, for Foxglove and `ros2 bag`; needs no ROS.

Topics are those of nodes without a namespace: `/keypoints`, `/skeletons`, `/camera_info`,
`/markers` and the layouts. So a bag of the nodes is read like a file that `write` wrote, and the
Foxglove layout in `config/` shows both.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...geometry.camera import Camera, CameraError
from ...skeletons import H36M17, Layout
from ...stamps import NANOSECONDS
from ..bags import BagError, BagReader, message_types
from ..outputs import replacing
from ..recordings import Recording, RecordingError
from ..render.palette import rgb_of
from .bag_people import CAMERA_INFO, KEYPOINTS, SKELETONS, people_of

#: Frame of the poses in the messages.
FRAME_ID = "camera_optical_frame"
#: Time for which a viewer shows a marker, s.
_MARKER_S = 0.5
#: States of a skeleton in emf_ros_msgs/Skeleton3D.
_TRACKED, _COASTING = 1, 2
#: Constants of visualization_msgs/Marker.
_SPHERE_LIST, _LINE_LIST, _ADD, _DELETE = 7, 5, 0, 2

LAYOUT = "emf_ros_msgs/msg/SkeletonLayout"
MARKERS = "visualization_msgs/msg/MarkerArray"

#: Seconds of a stamp, which are 32 bits with a sign.
MAX_STAMP_S = 2**31


def write(recording: Recording, path: Path) -> list[str]:
    """Write a file; unknown numbers are NaN.

    Returns:
        sentences on what is not as recorded.

    Raises:
        RecordingError: a message cannot hold a stamp, which is negative or after January 2038, or
            an id.
        OutputError: the file cannot be written.
    """
    from mcap.writer import CompressionType, Writer

    if len(recording) and recording.stamp.min() < 0:
        raise RecordingError("MCAP has no times before 1970, such as -1 s")
    if len(recording) and recording.stamp.max() >= MAX_STAMP_S:
        raise RecordingError(
            f"ROS messages have no times from 2038 on, such as {recording.stamp.max():.0f} s"
        )
    ids = recording.track_id
    if len(ids) and not 0 <= ids.min() <= ids.max() < 2**32:
        raise RecordingError(f"MCAP has ids in 0..{2**32 - 1}, not {ids.min()} or {ids.max()}")
    made = _Messages(recording)
    with replacing(path) as part, open(part, "wb") as file:
        writer = Writer(file, compression=CompressionType.ZSTD)
        writer.start(profile="ros2", library="emf_ros")
        channels: dict[str, int] = {}
        for topic, kind, time_ns, message in made.all():
            if topic not in channels:
                text, _ = made.store.generate_msgdef(kind, ros_version=2)
                schema = writer.register_schema(kind, "ros2msg", text.encode())
                latched = {"offered_qos_profiles": _LATCHED} if kind == LAYOUT else {}
                channels[topic] = writer.register_channel(topic, "cdr", schema, latched)
            data = bytes(made.store.serialize_cdr(message, kind))
            writer.add_message(channels[topic], time_ns, data, time_ns)
        writer.finish()
    return ["answers about people are not in MCAP"] if recording.body_names else []


def read(
    path: Path, topic: str = "", to_lift: bool = False, camera_given: bool = False
) -> Recording:
    """Read the people of one camera of a file or a bag; see `bag_people.people_of`.

    Raises:
        RecordingError: it cannot be read, or has no people.
    """
    try:
        with BagReader(path) as bag:
            return people_of(bag, topic, to_lift, camera_given)
    except BagError as error:
        raise RecordingError(str(error)) from None
    except (CameraError, RecordingError) as error:
        raise RecordingError(f"{path}: {error}") from None


#: QoS of the layouts, as `ros2 bag` writes it: a late subscriber gets them, too.
_LATCHED = (
    "- history: keep_last\n  depth: 1\n  reliability: reliable\n  durability: transient_local\n"
    "  deadline:\n    sec: 2147483647\n    nsec: 4294967295\n"
    "  lifespan:\n    sec: 2147483647\n    nsec: 4294967295\n"
    "  liveliness: automatic\n"
    "  liveliness_lease_duration:\n    sec: 2147483647\n    nsec: 4294967295\n"
    "  avoid_ros_namespace_conventions: false\n"
)


class _Messages:
    """The messages of a recording.

    Attributes:
        store: of the messages' types.
    """

    def __init__(self, recording: Recording) -> None:
        self.store = message_types()
        self._recording = recording
        self._shown: set[int] = set()

    def all(self) -> Iterator[tuple[str, str, int, Any]]:
        """Topic, type, time in ns and message, in the order of the times."""
        recording = self._recording
        stamps = np.round(recording.stamp * NANOSECONDS).astype(np.int64)
        cuts = np.flatnonzero(np.diff(stamps)) + 1
        images = np.split(np.arange(len(stamps)), cuts) if len(stamps) else []
        start_ns = int(stamps[0]) if len(stamps) else 0
        yield "/keypoint_layout", LAYOUT, start_ns, self._layout(recording.layout)
        yield "/layout", LAYOUT, start_ns, self._layout(H36M17)
        placed = np.isfinite(recording.joints_3d).any()
        for rows in images:
            stamp_ns = int(stamps[rows[0]])
            header = self._header(stamp_ns)
            if recording.camera is not None:
                yield "/camera_info", CAMERA_INFO, stamp_ns, self._info(recording.camera, header)
            yield "/keypoints", KEYPOINTS, stamp_ns, self._keypoints(rows, header)
            if placed:
                yield "/skeletons", SKELETONS, stamp_ns, self._skeletons(rows, header)
                yield "/markers", MARKERS, stamp_ns, self._markers(rows, header)

    def _make(self, kind: str, **fields: Any) -> Any:
        package, name = kind.split("/")
        return self.store.types[f"{package}/msg/{name}"](**fields)

    def _time(self, nanoseconds: int) -> Any:
        sec, nanosec = divmod(nanoseconds, NANOSECONDS)
        return self._make("builtin_interfaces/Time", sec=sec, nanosec=nanosec)

    def _duration(self, seconds: float) -> Any:
        sec, nanosec = divmod(round(seconds * NANOSECONDS), NANOSECONDS)
        return self._make("builtin_interfaces/Duration", sec=sec, nanosec=nanosec)

    def _header(self, stamp_ns: int) -> Any:
        return self._make("std_msgs/Header", stamp=self._time(stamp_ns), frame_id=FRAME_ID)

    def _point(self, values: np.ndarray) -> Any:
        x, y, z = (float(value) for value in values)
        return self._make("geometry_msgs/Point", x=x, y=y, z=z)

    def _vector(self, x: float, y: float, z: float) -> Any:
        return self._make("geometry_msgs/Vector3", x=x, y=y, z=z)

    def _layout(self, layout: Layout) -> Any:
        return self._make(
            "emf_ros_msgs/SkeletonLayout",
            name=layout.name,
            joint_names=list(layout.joints),
            parents=np.array(layout.parents, dtype=np.int16),
            edges=np.array(layout.edges, dtype=np.uint16).ravel(),
        )

    def _info(self, camera: Camera, header: Any) -> Any:
        projection = np.zeros((3, 4))
        projection[:, :3] = camera.matrix
        region = self._make(
            "sensor_msgs/RegionOfInterest",
            x_offset=0,
            y_offset=0,
            height=0,
            width=0,
            do_rectify=False,
        )
        return self._make(
            "sensor_msgs/CameraInfo",
            header=header,
            width=camera.size[0],
            height=camera.size[1],
            distortion_model=camera.model,
            d=np.asarray(camera.distortion, dtype=np.float64),
            k=camera.matrix.ravel(),
            r=np.eye(3).ravel(),
            p=projection.ravel(),
            binning_x=0,
            binning_y=0,
            roi=region,
        )

    def _keypoints(self, rows: np.ndarray, header: Any) -> Any:
        recording = self._recording

        def keypoint(values: np.ndarray) -> Any:
            x, y, score = (float(value) for value in values)
            return self._make("emf_ros_msgs/Keypoint2D", x=x, y=y, score=score)

        people = [
            self._make(
                "emf_ros_msgs/Skeleton2D",
                track_id=int(recording.track_id[row]),
                score=float(np.mean(recording.keypoints_2d[row, :, 2])),
                bbox=np.full(4, np.nan, dtype=np.float32),
                keypoints=[keypoint(values) for values in recording.keypoints_2d[row]],
            )
            for row in rows
        ]
        width, height = recording.image_size
        return self._make(
            "emf_ros_msgs/Skeleton2DArray",
            header=header,
            layout=recording.layout.name,
            image_width=width,
            image_height=height,
            detect_ms=float("nan"),
            skeletons=people,
        )

    def _skeletons(self, rows: np.ndarray, header: Any) -> Any:
        unknown = float("nan")
        return self._make(
            "emf_ros_msgs/Skeleton3DArray",
            header=header,
            layout=H36M17.name,
            skeletons=[self._skeleton(int(row)) for row in rows],
            lag=self._duration(0.0),
            images_arrive=True,
            detect_ms=unknown,
            queue_ms=unknown,
            lift_ms=unknown,
            total_ms=unknown,
        )

    def _skeleton(self, row: int) -> Any:
        recording = self._recording
        known = np.isfinite(recording.joints_3d[row]).all(axis=1)
        unknown = np.full(9, np.nan)
        detected = bool(np.isfinite(recording.keypoints_2d[row, :, :2]).any())
        joints = [
            self._make(
                "emf_ros_msgs/Joint3D",
                position=self._point(position),
                confidence=float("nan") if seen else 0.0,
                stddev=float(stddev),
            )
            for position, stddev, seen in zip(
                recording.joints_3d[row], recording.joint_stddev[row], known, strict=True
            )
        ]
        root = self._point(recording.root[row])
        return self._make(
            "emf_ros_msgs/Skeleton3D",
            track_id=int(recording.track_id[row]),
            tracking_state=_TRACKED if detected else _COASTING,
            score=float("nan"),
            root_valid=bool(recording.root_valid[row]),
            root=root,
            root_covariance=unknown,
            last_root=root,
            last_root_covariance=unknown,
            velocity=self._vector(*[float("nan")] * 3),
            joints=joints,
        )

    def _markers(self, rows: np.ndarray, header: Any) -> Any:
        recording, made = self._recording, []
        seen = {int(recording.track_id[row]): row for row in rows if recording.root_valid[row]}
        for person in sorted(self._shown - set(seen)):
            made += [self._marker(header, person, kind, [], _DELETE) for kind in (0, 1)]
        self._shown = set(seen)
        for person, row in seen.items():
            joints = recording.joints_3d[row]
            known = np.isfinite(joints).all(axis=1)
            points = [self._point(joint) for joint in joints[known]]
            made.append(self._marker(header, person, 0, points))
            ends = [j for edge in H36M17.edges if known[list(edge)].all() for j in edge]
            made.append(self._marker(header, person, 1, [self._point(joints[j]) for j in ends]))
        return self._make("visualization_msgs/MarkerArray", markers=made)

    def _marker(
        self, header: Any, person: int, kind: int, points: list[Any], action: int = _ADD
    ) -> Any:
        """The joints (kind 0) or the bones (kind 1) of a person."""
        red, green, blue = rgb_of(person)
        size = (0.06, 0.03)[kind]
        pose = self._make(
            "geometry_msgs/Pose",
            position=self._point(np.zeros(3)),
            orientation=self._make("geometry_msgs/Quaternion", x=0.0, y=0.0, z=0.0, w=1.0),
        )
        return self._make(
            "visualization_msgs/Marker",
            header=header,
            ns=f"person_{person}",
            id=kind,
            type=(_SPHERE_LIST, _LINE_LIST)[kind],
            action=action,
            pose=pose,
            scale=self._vector(size, size, size),
            color=self._make("std_msgs/ColorRGBA", r=red, g=green, b=blue, a=1.0),
            lifetime=self._duration(_MARKER_S),
            frame_locked=False,
            points=points,
            colors=[],
            texture_resource="",
            texture=self._make(
                "sensor_msgs/CompressedImage",
                header=header,
                format="",
                data=np.zeros(0, dtype=np.uint8),
            ),
            uv_coordinates=[],
            text="",
            mesh_resource="",
            mesh_file=self._make(
                "visualization_msgs/MeshFile", filename="", data=np.zeros(0, dtype=np.uint8)
            ),
            mesh_use_embedded_materials=False,
        )
