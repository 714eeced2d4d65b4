"""A recording for rerun's viewer (.rrd): people in 3D and in the image, and the camera."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...skeletons import H36M17, Layout
from ..outputs import replacing
from ..recordings import Recording, RecordingError
from ..render.palette import rgb_of

#: Name of the time line, s.
TIMELINE = "stamp"
#: Radius of joints and bones, m.
_JOINT_M, _BONE_M = 0.03, 0.012


def write(recording: Recording, path: Path) -> list[str]:
    """Write a file. A person without a root is shown in the image only.

    Returns:
        sentences on what is not as recorded.

    Raises:
        RecordingError: nothing of it can be shown.
        OutputError: it cannot be written.
    """
    import rerun

    notes = ["answers about people are not in rrd"] if recording.body_names else []
    if recording.camera is None and np.isfinite(recording.keypoints_2d[..., :2]).any():
        without = "keypoints are not in rrd without intrinsics: lift with --camera-info or --fov"
        if not recording.root_valid.any():
            raise RecordingError(f"{without}; no place of a person is known, so it would be empty")
        notes.append(without)

    stream = rerun.RecordingStream("emf_ros")
    # rerun's own writer of files waits for ever on a full disk.
    memory = rerun.binary_stream(stream)
    _log(recording, rerun, stream)
    content = memory.read()
    with replacing(path) as part:
        part.write_bytes(content or b"")
    return notes


def _log(recording: Recording, rerun: Any, stream: Any) -> None:
    stream.log("camera", rerun.ViewCoordinates.RDF, static=True)
    camera = recording.camera
    if camera is not None:
        pinhole = rerun.Pinhole(
            image_from_camera=camera.matrix,
            resolution=list(camera.size),
            camera_xyz=rerun.ViewCoordinates.RDF,
        )
        stream.log("camera/image", pinhole, static=True)
    shown: set[tuple[str, int]] = set()
    for stamp in np.unique(recording.stamp):
        stream.set_time(TIMELINE, duration=float(stamp))
        now: set[tuple[str, int]] = set()
        for row in np.flatnonzero(recording.stamp == stamp):
            person = int(recording.track_id[row])
            color = [round(255 * share) for share in rgb_of(person)]
            if recording.root_valid[row]:
                now.add(("camera", person))
                where = f"camera/people/{person}"
                _draw(stream, rerun, where, recording.joints_3d[row], H36M17, color)
            pixels = recording.keypoints_2d[row, :, :2]
            if camera is not None and np.isfinite(pixels).any():
                now.add(("image", person))
                where = f"camera/image/people/{person}"
                _draw(stream, rerun, where, pixels, recording.layout, color)
        for space, person in shown - now:
            folder = "camera/people" if space == "camera" else "camera/image/people"
            stream.log(f"{folder}/{person}", rerun.Clear(recursive=True))
        shown = now


def _draw(
    stream: Any, rerun: Any, where: str, joints: np.ndarray, layout: Layout, color: list[int]
) -> None:
    """Joints, (K, 2) px or (K, 3) m, and the bones between those that are known."""
    known = np.isfinite(joints).all(axis=1)
    bones = [joints[list(edge)] for edge in layout.edges if known[list(edge)].all()]
    if joints.shape[1] == 3:
        points = rerun.Points3D(joints[known], colors=color, radii=_JOINT_M)
        lines = rerun.LineStrips3D(bones, colors=color, radii=_BONE_M)
    else:
        points = rerun.Points2D(joints[known], colors=color)
        lines = rerun.LineStrips2D(bones, colors=color)
    stream.log(f"{where}/joints", points)
    stream.log(f"{where}/bones", lines)
