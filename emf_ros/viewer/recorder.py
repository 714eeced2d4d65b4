"""What a browser records: the people that are shown, as a recording that the tools read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

from ..geometry.camera import Camera, CameraError
from ..geometry.transforms import Transform
from ..io.recordings import Recording
from ..lift.offline import PoseCollector
from ..skeletons import H36M17, get_layout
from ..stamps import NANOSECONDS
from ..types import Frame2D, Frame3D, Pose3D

#: Maximum length of a recording, s.
MAX_RECORDING_S = 900.0

#: Maximum time that keypoints wait for their poses, ns. Poses are later by the lifter's lag.
WAIT_FOR_POSES_NS = 10 * NANOSECONDS

#: Size of the images, px, where neither intrinsics nor keypoints tell it.
UNKNOWN_SIZE = (1, 1)


class Recorder:
    """Collects people, with the keypoints of the same images where they come.

    Attributes:
        seconds: length, s.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._frames: list[Frame3D] = []
        # By stamp: the keypoints of images with poses, those that wait for poses, and all poses.
        self._keypoints: dict[int, Frame2D] = {}
        self._waiting: dict[int, Frame2D] = {}
        self._stamps_ns: set[int] = set()

    @property
    def full(self) -> bool:
        """Whether the recording has its maximum length."""
        return self.seconds >= MAX_RECORDING_S

    def add(self, frame: Frame3D, camera: Transform | None = None) -> None:
        """Take the people of an image. After a step back in time the recording begins again.

        Args:
            frame: the people.
            camera: from the camera's optical frame to that of the people; None where they are in
                the camera's.
        """
        if camera is not None:
            frame = replace(frame, people=_in_camera(frame.people, camera.inverse()))
        if self._frames and frame.stamp_ns < self._frames[-1].stamp_ns:
            self._frames.clear()
            self._keypoints.clear()
            self._stamps_ns.clear()
        self._frames.append(frame)
        self._stamps_ns.add(frame.stamp_ns)
        if frame.stamp_ns in self._waiting:
            self._keypoints[frame.stamp_ns] = self._waiting.pop(frame.stamp_ns)
        self.seconds = (frame.stamp_ns - self._frames[0].stamp_ns) / NANOSECONDS

    def add_keypoints(self, frame: Frame2D) -> None:
        """Take the keypoints of an image. Without poses they are forgotten after some seconds."""
        if frame.stamp_ns in self._stamps_ns:
            self._keypoints[frame.stamp_ns] = frame
            return
        self._waiting[frame.stamp_ns] = frame
        while abs(frame.stamp_ns - (oldest := next(iter(self._waiting)))) > WAIT_FOR_POSES_NS:
            del self._waiting[oldest]

    def recording(self, camera: Camera | None) -> Recording:
        """All that was taken so far.

        Args:
            camera: the intrinsics; None where they are not known.
        """
        first = next(chain(self._keypoints.values(), self._waiting.values()), None)
        layout = get_layout(H36M17.name if first is None else first.layout)
        size = camera.size if camera is not None else UNKNOWN_SIZE
        if first is not None:
            # Keypoints are in the pixels of the detector's images, which may be smaller.
            size = first.image_size
            camera = _scaled(camera, size)
        collector = PoseCollector(layout, size, camera)
        for frame in self._frames:
            seen = self._keypoints.get(frame.stamp_ns)
            if seen is not None and seen.layout == layout.name:
                collector.keypoints(seen.stamp_ns, -1, seen.people)
            collector.poses(frame)
        return collector.writer.recording()


def _scaled(camera: Camera | None, size: tuple[int, int]) -> Camera | None:
    """The intrinsics for images of a size; None where they are not those of the images."""
    try:
        return None if camera is None else camera.scaled_to(*size)
    except CameraError:
        return None


def _in_camera(people: Sequence[Pose3D], to_camera: Transform) -> list[Pose3D]:
    """What a recording holds of people, in the camera's optical frame."""
    return [
        replace(
            person,
            joints=(to_camera.points if person.root_valid else to_camera.vectors)(person.joints),
            root=to_camera.points(person.root),
        )
        for person in people
    ]
