"""People of a video: tracks of the lifter and of BlazePose's world landmarks, and plausibility.

Without a truth the poses still have to be those of bodies: bones keep their lengths, left stays
left, and joints do not shake.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..geometry.camera import Camera
from ..io.frame_source import FrameSource
from ..lift.bones import bone_lengths
from ..lift.engine import Engine
from ..lift.offline import lift_video
from ..lift.root import solve_root
from ..skeletons import BLAZEPOSE33, H36M17, conversion_matrix, convert_keypoints
from ..types import Pose2D
from .comparison import Poses, compare
from .evaluate import EvaluationError
from .truth import Truth

#: Name of the method under test in reports.
LIFTER = "lifter"
#: Name of the method that it is compared with.
BLAZEPOSE = "BlazePose world landmarks"
METHODS = (LIFTER, BLAZEPOSE)

#: Maximum turn of the hip axis from one frame to the next, degrees. A larger one is a flip.
FLIP_DEG = 90.0
#: Length of the time whose mean hip axis decides which side is left, s.
FACING_S = 1.0
#: Minimum number of frames of a track that is evaluated.
MIN_FRAMES = 15
#: Maximum P-MPJPE between a track and the truth of the same person, mm.
SAME_PERSON_MM = 250.0
#: Number of frames of a stretch that is tested for standing still.
STILL_FRAMES = 15
#: Maximum deviation of the keypoints of a person who stands still, as a share of the person's size
#: in the image: root mean square about their mean. It is the detector's own noise.
STILL_SHARE = 0.012
#: Minimum score of keypoints for the reprojection error and for the root of the world landmarks.
MIN_SCORE = 0.5


@dataclass
class Track:
    """One tracked person of a video. `METHODS` are the keys of the poses and roots.

    Attributes:
        frames: (N,) numbers of the images.
        stamps: (N,) s, their times.
        poses: (N, 17, 3) m per method, relative to the pelvis.
        roots: (N, 3) m per method, in the camera's frame; NaN where unknown.
        keypoints: (N, 17, 3) px, px, score.
        camera: the intrinsics.
        stddev: (N, 17) m, of the lifter.
    """

    frames: np.ndarray
    stamps: np.ndarray
    poses: dict[str, np.ndarray]
    roots: dict[str, np.ndarray]
    keypoints: np.ndarray
    camera: Camera
    stddev: np.ndarray

    def runs(self) -> list[np.ndarray]:
        """Indices of the frames, cut where an image is missing."""
        return np.split(np.arange(len(self.frames)), np.flatnonzero(np.diff(self.frames) != 1) + 1)

    def of(self, method: str) -> Poses:
        """The poses of one method. World landmarks have no `stddev`."""
        stddev = self.stddev if method == LIFTER else None
        return Poses(self.stamps, self.poses[method], stddev, self.roots[method])


def lift_tracks(
    source: FrameSource,
    camera: Camera,
    engine: Engine,
    lag: int = 0,
    people: int = 2,
    variant: str = "full",
) -> list[Track]:
    """Lift a video, and keep the frames in which both methods have a pose.

    Args:
        source: the video; read to its end and closed.
        camera: its intrinsics.
        engine: runs the model.
        lag: frames of the model behind the newest.
        people: maximum number of people.
        variant: of BlazePose.

    Raises:
        EvaluationError: no person was lifted in `MIN_FRAMES` frames.
        VideoError: the video cannot be read, or the detector is not available.
    """
    matrix = conversion_matrix(BLAZEPOSE33, H36M17)
    worlds: dict[tuple[int, int], np.ndarray] = {}

    def watch(frame: int, found: list[Pose2D]) -> None:
        for detection in found:
            if detection.world is not None:
                worlds[frame, detection.track_id] = matrix @ detection.world

    # World landmarks come with the keypoints, so both methods have the same detections.
    recording, _ = lift_video(
        source, camera, engine, lag, people, variant, world_landmarks=True, watch=watch
    )
    tracks: list[Track] = []
    for track_id in np.unique(recording.track_id):
        rows = [
            row
            for row in np.flatnonzero(recording.track_id == track_id)
            if (int(recording.frame[row]), int(track_id)) in worlds
            and np.isfinite(recording.joints_3d[row]).all()
        ]
        if len(rows) < MIN_FRAMES:
            continue
        frames = recording.frame[rows].astype(int)
        poses = {
            LIFTER: recording.joints_3d[rows].astype(np.float64),
            BLAZEPOSE: np.stack([worlds[f, int(track_id)] for f in frames]),
        }
        relative = {name: p - p[:, :1] for name, p in poses.items()}
        keypoints = np.stack(
            [convert_keypoints(k, recording.layout, H36M17) for k in recording.keypoints_2d[rows]]
        ).astype(np.float64)
        rays = camera.rays(keypoints[..., :2])
        # World landmarks have no root. They get the root that fits the keypoints best.
        score = np.where(np.isfinite(rays).all(axis=-1), keypoints[..., 2], 0.0)
        score = np.where(score >= MIN_SCORE, score, 0.0)
        solved = solve_root(relative[BLAZEPOSE], np.nan_to_num(rays), score)
        roots = {LIFTER: recording.root[rows].astype(np.float64), BLAZEPOSE: solved.root}
        stddev = recording.joint_stddev[rows].astype(np.float64)
        stamps = recording.stamp[rows]
        tracks.append(Track(frames, stamps, relative, roots, keypoints, camera, stddev))
    if not tracks:
        raise EvaluationError(f"no person was lifted in {MIN_FRAMES} frames or more")
    return tracks


def poses_of_truth(tracks: list[Track], truth: Truth) -> dict[str, Poses]:
    """The person of the truth, by method, whichever track ids it has.

    These are the track nearest to the truth after alignment, and further near tracks that were
    never in sight together with one already taken.

    Raises:
        EvaluationError: no track is near the truth.
    """

    def distance_mm(track: Track) -> float:
        """P-MPJPE of the method that is nearer; infinite where the truth does not cover it."""
        try:
            return min(compare(track.of(method), truth).p_mpjpe_mm for method in METHODS)
        except EvaluationError:
            return np.inf

    distances = [distance_mm(track) for track in tracks]
    taken: list[Track] = []
    seen: set[int] = set()
    for index in np.argsort(distances, kind="stable"):
        frames = set(tracks[index].frames.tolist())
        if distances[index] < SAME_PERSON_MM and not frames & seen:
            taken.append(tracks[index])
            seen |= frames
    if not taken:
        nearest = min(distances)
        raise EvaluationError(
            "the truth covers no track of the video: is its clock that of the video, in seconds?"
            if np.isinf(nearest)
            else "no person in the video moves as the truth does: the nearest track is "
            f"{nearest:.0f} mm away; are the truth's stamps, unit and joint names right?"
        )
    order = np.argsort(np.concatenate([track.stamps for track in taken]), kind="stable")

    def joined(method: str) -> Poses:
        parts = [track.of(method) for track in taken]
        roots = [part.root for part in parts if part.root is not None]
        stddevs = [part.stddev for part in parts if part.stddev is not None]
        return Poses(
            np.concatenate([part.stamp for part in parts])[order],
            np.concatenate([part.joints for part in parts])[order],
            np.concatenate(stddevs)[order] if stddevs else None,
            np.concatenate(roots)[order] if roots else None,
        )

    return {method: joined(method) for method in METHODS}


def video_report(tracks: list[Track], rate_hz: float) -> dict[str, Any]:
    """Plausibility of all tracks together, per method: see `_figures`."""
    return {
        "frames": sum(len(t.frames) for t in tracks),
        "people": len(tracks),
        "rate_hz": rate_hz,
        **{method: _figures(tracks, method) for method in METHODS},
    }


def _figures(tracks: list[Track], method: str) -> dict[str, Any]:
    """Figures of all tracks together, unless said otherwise:

    - bone_variation: standard deviation of a bone's length over its mean, mean over the bones;
    - bone_variation_worst: the same of the worst bone;
    - acceleration_m_s2: mean acceleration of the joints, relative to the pelvis;
    - flips_a_minute: number of turns of the hip axis by more than FLIP_DEG between two frames;
    - longest_flip_frames: longest run of frames in which it points against its mean over FACING_S;
    - upside_down: share of the frames in which the middle of the ankles is above the head;
    - reprojection: median distance of the joints from the keypoints, as a share of the person's
      size in the image;
    - still_mm: deviation of the joints from their mean while the keypoints stand still, root mean
      square; None without such a stretch;
    - distance_speed_m_s: 95th percentile of the rate at which the root's distance changes;
    - heights_m: median height per track, from the ankles along the bones to the top of the head.
    """
    parts: dict[str, list[np.ndarray]] = {}

    def add(key: str, values: np.ndarray) -> None:
        parts.setdefault(key, []).append(np.asarray(values, np.float64).ravel())

    def values(key: str) -> np.ndarray:
        found = np.concatenate(parts.get(key, [np.array([])]))
        return found[np.isfinite(found)]

    def mean(key: str) -> float | None:
        return float(values(key).mean()) if len(values(key)) else None

    def percentile(key: str, percent: float) -> float | None:
        return float(np.percentile(values(key), percent)) if len(values(key)) else None

    longest = 0
    for track in tracks:
        pose = track.poses[method]
        lengths = bone_lengths(pose)
        add("bones", lengths.std(axis=0) / lengths.mean(axis=0))
        # y grows downwards.
        add("upside_down", _y_of(pose, "right_ankle", "left_ankle") < _y_of(pose, "head_top"))
        add("reprojection", _reprojection(track, method))
        for run in track.runs():
            stamps = track.stamps[run]
            second = _accelerations(pose[run], stamps)
            add("acceleration", np.linalg.norm(second[:, 1:], axis=-1))
            flips, length = _flips(pose[run], stamps)
            add("flips", flips)
            add("minutes", np.diff(stamps) / 60)
            longest = max(longest, length)
            add("still", _still(pose[run], track.keypoints[run]))
            distance = np.linalg.norm(track.roots[method][run], axis=-1)
            add("distance_speed", np.abs(np.diff(distance)) / np.diff(stamps))
    minutes, still = values("minutes"), mean("still")
    return {
        "bone_variation": mean("bones"),
        "bone_variation_worst": float(np.max(parts["bones"])),
        "acceleration_m_s2": mean("acceleration"),
        "flips_a_minute": float(values("flips").sum() / minutes.sum()) if len(minutes) else None,
        "longest_flip_frames": longest,
        "upside_down": mean("upside_down"),
        "reprojection": percentile("reprojection", 50.0),
        "still_mm": None if still is None else 1000 * still**0.5,
        "distance_speed_m_s": percentile("distance_speed", 95.0),
        "heights_m": [_height(t.poses[method]) for t in tracks],
    }


def _y_of(pose: np.ndarray, *joints: str) -> np.ndarray:
    """(N, 17, 3) -> (N,) y of the middle of the joints."""
    return pose[:, [H36M17.index(j) for j in joints], 1].mean(axis=1)


def _bone(pose: np.ndarray, a: str, b: str) -> np.ndarray:
    return np.linalg.norm(pose[:, H36M17.index(a)] - pose[:, H36M17.index(b)], axis=-1)


def _height(pose: np.ndarray) -> float:
    """(N, 17, 3) m -> m, median length along the bones from the ankles to the top of the head.

    The height of the ankles above the ground is not included.
    """
    legs = [
        _bone(pose, f"{s}_hip", f"{s}_knee") + _bone(pose, f"{s}_knee", f"{s}_ankle")
        for s in ("left", "right")
    ]
    trunk = _bone(pose, "pelvis", "spine") + _bone(pose, "spine", "thorax")
    return float(np.median(np.mean(legs, axis=0) + trunk + _bone(pose, "thorax", "head_top")))


def _accelerations(pose: np.ndarray, stamps: np.ndarray) -> np.ndarray:
    """(N, 17, 3) m at (N,) s -> (N - 2, 17, 3) m/s^2, whatever the steps between the stamps."""
    step_s = np.diff(stamps)[:, None, None]
    velocity = np.diff(pose, axis=0) / step_s
    return 2 * np.diff(velocity, axis=0) / (step_s[1:] + step_s[:-1])


def _flips(pose: np.ndarray, stamps: np.ndarray) -> tuple[np.ndarray, int]:
    """Flips of the hip axis in poses (N, 17, 3) of consecutive frames at (N,) s.

    Returns:
        (N - 1,) whether the axis jumps, and the longest run of frames in which it points against
        its mean over `FACING_S`.
    """
    hips = pose[:, H36M17.index("left_hip")] - pose[:, H36M17.index("right_hip")]
    unit = hips / np.linalg.norm(hips, axis=-1, keepdims=True).clip(1e-6)
    jumps = (unit[1:] * unit[:-1]).sum(axis=-1) < np.cos(np.deg2rad(FLIP_DEG))
    # The neighbours always count. A microsecond covers rounding.
    first = np.searchsorted(stamps, stamps - 0.5 * FACING_S - 1e-6)
    end = np.searchsorted(stamps, stamps + 0.5 * FACING_S + 1e-6)
    longest = length = 0
    for i in range(len(unit)):
        around = unit[min(first[i], max(0, i - 1)) : max(end[i], i + 2)].mean(axis=0)
        length = length + 1 if unit[i] @ around < 0 else 0
        longest = max(longest, length)
    return jumps, longest


def _size(keypoints: np.ndarray) -> np.ndarray:
    """(N, 17, 3) px -> (N,) px, diagonal of the bounding box of the keypoints."""
    return np.linalg.norm(np.ptp(keypoints[..., :2], axis=1), axis=-1).clip(1.0)


def _reprojection(track: Track, method: str) -> np.ndarray:
    """(N, 17) distance of projected joints from keypoints, in shares of the person's size.

    NaN where the keypoint's score is below `MIN_SCORE`.
    """
    at = track.camera.project(track.poses[method] + track.roots[method][:, None])
    apart = np.linalg.norm(at - track.keypoints[..., :2], axis=-1) / _size(track.keypoints)[:, None]
    return np.where(track.keypoints[..., 2] >= MIN_SCORE, apart, np.nan)


def _still(pose: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """Mean squared deviation of the joints, m^2, per stretch in which the keypoints stand still."""
    out = []
    for begin in range(0, len(pose) - STILL_FRAMES + 1, STILL_FRAMES):
        part = slice(begin, begin + STILL_FRAMES)
        points = keypoints[part, :, :2] / _size(keypoints[part]).mean()
        if np.sqrt(points.var(axis=0).sum(axis=-1).mean()) < STILL_SHARE:
            out.append(pose[part].var(axis=0).sum(axis=-1).mean())
    return np.array(out)


def video_table(report: dict[str, Any]) -> Iterator[str]:
    """Lines of a Markdown table of a report of `video_report`."""
    rows = (
        ("bone lengths vary by, %", "bone_variation", 100.0, ".1f"),
        ("the same, worst bone, %", "bone_variation_worst", 100.0, ".1f"),
        ("acceleration, m/s²", "acceleration_m_s2", 1.0, ".1f"),
        ("shaking while standing still, mm", "still_mm", 1.0, ".1f"),
        ("left/right flips a minute", "flips_a_minute", 1.0, ".1f"),
        ("longest flip, frames", "longest_flip_frames", 1, "d"),
        ("feet above the head, % of frames", "upside_down", 100.0, ".1f"),
        ("reprojection error, % of the size", "reprojection", 100.0, ".1f"),
        ("distance changes by, m/s, 95 %", "distance_speed_m_s", 1.0, ".2f"),
    )
    yield f"| {report['frames']} poses of {report['people']} people | {' | '.join(METHODS)} |"
    yield "| --- | --- | --- |"
    for title, key, factor, form in rows:
        values = [report[method][key] for method in METHODS]
        if any(v is not None for v in values):
            cells = ["-" if v is None else format(factor * v, form) for v in values]
            yield f"| {title} | {' | '.join(cells)} |"
    heights = [", ".join(f"{h:.2f}" for h in report[m]["heights_m"]) for m in METHODS]
    yield f"| people's heights, m | {' | '.join(heights)} |"
