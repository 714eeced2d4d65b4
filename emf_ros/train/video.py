"""Weights on real video, beside the world landmarks that BlazePose gives itself.

With the truth of a motion capture the errors are the usual ones. Without it the bodies still have
to be bodies: bones keep their lengths, left stays left, and joints do not shake.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from ..geometry.camera import Camera
from ..io.frame_source import FrameSource
from ..lift.bones import bone_lengths
from ..lift.engine import Engine
from ..lift.offline import lift_video
from ..lift.root import solve_root
from ..skeletons import BLAZEPOSE33, H36M17, conversion_matrix, convert_keypoints
from ..types import Pose2D
from .evaluate import EvaluationError
from .metrics import mpjpe, p_mpjpe

#: Name of the method under test in reports.
OURS = "lifter"
#: Name of the method that it is compared with.
BLAZEPOSE = "BlazePose world landmarks"

#: The hips' line cannot turn by more from one frame to the next, degrees.
FLIP_DEG = 90.0
#: Seconds around a frame whose mean facing tells which side is left.
FACING_S = 1.0
#: People who are seen in fewer frames than this tell nothing of constancy.
FEWEST_FRAMES = 15
#: Poses that differ by more after alignment are of somebody else.
SAME_PERSON_M = 0.25
#: Someone stands still for this many frames when the keypoints stay within this share of the
#: person's size in the image, root mean square about their mean: a detector's own noise.
STILL_FRAMES, STILL_SHARE = 15, 0.012
#: Keypoints that the reprojection is compared with, and that the root is solved from.
MIN_SCORE = 0.5


@dataclass(frozen=True)
class Variation:
    """A video made from a video, so that one recording tells more than one thing.

    Attributes:
        mirror: left and right exchanged.
        keep: shares of the width and of the height that are kept, from the upper left corner.
        scale: factor on the resolution.
        slower: factor on the time between pictures.
    """

    mirror: bool = False
    keep: tuple[float, float] = (1.0, 1.0)
    scale: float = 1.0
    slower: float = 1.0

    def picture(self, picture: np.ndarray) -> np.ndarray:
        """(H, W, 3) -> what this variation makes of it."""
        height, width = picture.shape[:2]
        picture = picture[: round(height * self.keep[1]), : round(width * self.keep[0])]
        if self.mirror:
            picture = picture[:, ::-1]
        if self.scale != 1:
            size = (round(picture.shape[1] * self.scale), round(picture.shape[0] * self.scale))
            picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        return np.ascontiguousarray(picture)

    def camera(self, camera: Camera) -> Camera:
        """The intrinsics of those pictures."""
        width, height = (round(n * k) for n, k in zip(camera.size, self.keep, strict=True))
        matrix = camera.matrix.copy()
        if self.mirror:
            if camera.distortion.any():
                raise EvaluationError("a distorted video cannot be mirrored: rectify it first")
            matrix[0, 2] = width - 1 - matrix[0, 2]
        cut = Camera(matrix, (width, height), camera.distortion, camera.model)
        return cut.scaled_to(round(width * self.scale), round(height * self.scale))


VARIATIONS: dict[str, Variation] = {
    "as it is": Variation(),
    "mirrored": Variation(mirror=True),
    "cropped": Variation(keep=(0.75, 0.85)),
    "slowed": Variation(slower=2.0),
    "shrunk": Variation(scale=0.36),
}


class VariedSource:
    """A video through a `Variation`: a `FrameSource` itself."""

    def __init__(self, source: FrameSource, variation: Variation) -> None:
        self._source, self._variation = source, variation
        first = np.zeros((source.size[1], source.size[0], 3), np.uint8)
        height, width = variation.picture(first).shape[:2]
        self.size, self.pixel_aspect = (width, height), source.pixel_aspect
        self.rate_hz = source.rate_hz / variation.slower
        self.count, self.live, self.notice = source.count, source.live, source.notice

    @property
    def unreadable(self) -> int:
        return self._source.unreadable

    @property
    def other_sizes(self) -> Counter[tuple[int, int]]:
        return self._source.other_sizes

    def grab(self) -> tuple[int, float] | None:
        grabbed = self._source.grab()
        return None if grabbed is None else (grabbed[0], grabbed[1] * self._variation.slower)

    def retrieve(self) -> np.ndarray | None:
        picture = self._source.retrieve()
        return None if picture is None else self._variation.picture(picture)

    def times(self) -> np.ndarray | None:
        times = self._source.times()
        return None if times is None else times * self._variation.slower

    def rewind(self) -> bool:
        return self._source.rewind()

    def close(self) -> None:
        self._source.close()


@dataclass
class Truth:
    """Joints of one person by an independent measurement.

    Attributes:
        stamp: (N,) s from the video's beginning, rising.
        joints: (N, 17, 3) m, h36m17, in the camera's optical frame or in any other that stands
            still: then only P-MPJPE and accelerations mean something.
    """

    stamp: np.ndarray
    joints: np.ndarray

    @classmethod
    def load(cls, path: str | Path) -> Truth:
        """An npz with `stamp` and `joints`.

        Raises:
            EvaluationError: it does not hold that.
        """
        try:
            with np.load(path, allow_pickle=False) as data:
                stamp, joints = (np.asarray(data[k], np.float64) for k in ("stamp", "joints"))
        except (OSError, ValueError, KeyError) as error:
            raise EvaluationError(
                f"{path} is no npz with stamp (N,) and joints (N, 17, 3): {error}"
            ) from None
        if stamp.ndim != 1 or joints.shape != (len(stamp), len(H36M17), 3):
            raise EvaluationError(
                f"{path}: stamp is {stamp.shape} and joints {joints.shape}, not (N,) and (N, 17, 3)"
            )
        if not np.isfinite(stamp).all() or (np.diff(stamp) <= 0).any():
            raise EvaluationError(f"{path}: the stamps do not rise")
        return cls(stamp, joints)

    def at(self, stamps: np.ndarray, within_s: float) -> np.ndarray:
        """(M, 17, 3) m at the nearest stamps; NaN where none is near enough."""
        after = np.searchsorted(self.stamp, stamps).clip(1, max(1, len(self.stamp) - 1))
        near = after - (stamps - self.stamp[after - 1] < self.stamp[after] - stamps)
        out = self.joints[near].copy()
        out[np.abs(self.stamp[near] - stamps) > within_s] = np.nan
        return out


def evaluate_video(
    source: FrameSource,
    camera: Camera,
    engine: Engine,
    lag: int = 0,
    people: int = 2,
    variant: str = "full",
    truth: Truth | None = None,
) -> dict[str, Any]:
    """Lift a video and compare, on the frames where both have a pose.

    With truth the person is the one who is nearest to it after alignment, whichever ids it has.

    Returns:
        per method a dict of figures, see `_figures`.

    Raises:
        EvaluationError: nobody was in sight for long enough.
        VideoError: from reading, or the detector cannot be had.
    """
    matrix = conversion_matrix(BLAZEPOSE33, H36M17)
    worlds: dict[tuple[int, int], np.ndarray] = {}

    def watch(frame: int, found: list[Pose2D]) -> None:
        for detection in found:
            if detection.world is not None:
                worlds[frame, detection.track_id] = matrix @ detection.world

    rate_hz = source.rate_hz
    # The world landmarks come with the keypoints, so both methods see the same detections.
    recording, _ = lift_video(
        source, camera, engine, lag, people, variant, world_landmarks=True, watch=watch
    )
    tracks: list[_Track] = []
    for track_id in np.unique(recording.track_id):
        rows = [
            row
            for row in np.flatnonzero(recording.track_id == track_id)
            if (int(recording.frame[row]), int(track_id)) in worlds
            and np.isfinite(recording.joints_3d[row]).all()
        ]
        if len(rows) < FEWEST_FRAMES:
            continue
        frames = recording.frame[rows].astype(int)
        poses = {
            OURS: recording.joints_3d[rows].astype(np.float64),
            BLAZEPOSE: np.stack([worlds[f, int(track_id)] for f in frames]),
        }
        relative = {name: p - p[:, :1] for name, p in poses.items()}
        keypoints = np.stack(
            [convert_keypoints(k, recording.layout, H36M17) for k in recording.keypoints_2d[rows]]
        ).astype(np.float64)
        rays = camera.rays(keypoints[..., :2])
        # World landmarks have no root; they get the one that fits the keypoints best.
        score = np.where(np.isfinite(rays).all(axis=-1), keypoints[..., 2], 0.0)
        score = np.where(score >= MIN_SCORE, score, 0.0)
        solved = solve_root(relative[BLAZEPOSE], np.nan_to_num(rays), score)
        roots = {OURS: recording.root[rows].astype(np.float64), BLAZEPOSE: solved.root}
        true = None
        if truth is not None:
            true = truth.at(recording.stamp[rows], 0.5 / rate_hz)
        stddev = recording.joint_stddev[rows].astype(np.float64)
        stamps = recording.stamp[rows]
        tracks.append(_Track(frames, stamps, relative, roots, keypoints, camera, stddev, true))
    if truth is not None:
        tracks = _of_the_truth(tracks)
    if not tracks:
        raise EvaluationError(
            f"nobody was lifted in {FEWEST_FRAMES} frames or more"
            + ("" if truth is None else " where there is truth")
        )
    return {
        "frames": sum(len(t.frames) for t in tracks),
        "people": len(tracks),
        "rate_hz": rate_hz,
        **{name: _figures(tracks, name) for name in (OURS, BLAZEPOSE)},
    }


@dataclass
class _Track:
    """One person.

    Attributes:
        frames: (N,) numbers of the pictures.
        stamps: (N,) s, their times.
        poses: (N, 17, 3) m per method, relative to the pelvis.
        roots: (N, 3) m per method, in the camera's frame; NaN where unknown.
        keypoints: (N, 17, 3) px, px, score.
        camera: that saw them.
        stddev: (N, 17) m, the lifter's own.
        truth: (N, 17, 3) m in the camera's frame, or None.
    """

    frames: np.ndarray
    stamps: np.ndarray
    poses: dict[str, np.ndarray]
    roots: dict[str, np.ndarray]
    keypoints: np.ndarray
    camera: Camera
    stddev: np.ndarray
    truth: np.ndarray | None

    def runs(self) -> list[np.ndarray]:
        """Indices of frames that follow one another without a gap."""
        return np.split(np.arange(len(self.frames)), np.flatnonzero(np.diff(self.frames) != 1) + 1)

    def distance_to_truth(self) -> float:
        """Median P-MPJPE, m, of the method that is nearer; infinite where there is little truth."""
        assert self.truth is not None
        known = np.isfinite(self.truth).all(axis=(1, 2))
        if known.sum() < FEWEST_FRAMES:
            return np.inf
        truth = torch.from_numpy(self.truth[known])
        return min(
            float(p_mpjpe(torch.from_numpy(p[known]), truth).median()) for p in self.poses.values()
        )


def _of_the_truth(tracks: list[_Track]) -> list[_Track]:
    """The person of the truth under whichever ids: the nearest track, and others that are near it
    and were never in sight together with one already taken."""
    taken: list[_Track] = []
    seen: set[int] = set()
    for track in sorted(tracks, key=_Track.distance_to_truth):
        frames = set(track.frames.tolist())
        if track.distance_to_truth() < SAME_PERSON_M and not frames & seen:
            taken.append(track)
            seen |= frames
    return taken


def _figures(tracks: list[_Track], name: str) -> dict[str, Any]:
    """Of all people together, unless said otherwise:

    - bone_variation: standard deviation of the bones' lengths over their mean, mean over bones;
      bone_variation_worst: of the bone that is worst;
    - acceleration_m_s2: mean size of the joints' accelerations, relative to the pelvis;
    - flips_a_minute: turns of the hips' line by more than FLIP_DEG from one frame to the next;
    - longest_flip_frames: frames on end in which it points against its mean over FACING_S;
    - upside_down: share of the frames in which the ankles' middle is above the head;
    - reprojection: distance of the joints, put where the root is, from the keypoints, as a share of
      the person's size in the image, median;
    - still_mm: deviation of the joints from their mean while the keypoints stand still, root mean
      square; None where nobody stands still;
    - distance_speed_m_s: 95th percentile of the rate at which the root's distance changes;
    - heights_m: per person, ankles to the top of the head along the bones, median;
    - mpjpe_mm, p_mpjpe_mm, acceleration_error_m_s2: against the truth, None without;
    - root_error: distance of the root from the true one, as a share of the true distance, median;
    - inside_stddev: share of the joints' errors along an axis inside one `stddev`.
    """
    parts: dict[str, list[np.ndarray]] = {}

    def add(key: str, values: np.ndarray) -> None:
        parts.setdefault(key, []).append(np.asarray(values, np.float64).ravel())

    def values(key: str) -> np.ndarray:
        found = np.concatenate(parts.get(key, [np.array([])]))
        return found[np.isfinite(found)]

    def mean(key: str, factor: float = 1.0) -> float | None:
        return float(factor * values(key).mean()) if len(values(key)) else None

    longest = 0
    for track in tracks:
        pose = track.poses[name]
        lengths = bone_lengths(pose)
        add("bones", lengths.std(axis=0) / lengths.mean(axis=0))
        add("upside_down", _above(pose, "right_ankle", "left_ankle") < _above(pose, "head_top"))
        add("reprojection", _reprojection(track, name))
        for run in track.runs():
            stamps = track.stamps[run]
            second = _accelerations(pose[run], stamps)
            add("acceleration", np.linalg.norm(second[:, 1:], axis=-1))
            flips, length = _flips(pose[run], stamps)
            add("flips", flips)
            add("minutes", np.diff(stamps) / 60)
            longest = max(longest, length)
            add("still", _still(pose[run], track.keypoints[run]))
            distance = np.linalg.norm(track.roots[name][run], axis=-1)
            add("distance_speed", np.abs(np.diff(distance)) / np.diff(stamps))
            if track.truth is not None:
                truth = track.truth[run] - track.truth[run][:, :1]
                wrong = _accelerations(pose[run] - truth, stamps)
                add("acceleration_error", np.linalg.norm(wrong, axis=-1).mean(axis=-1))
        if track.truth is not None:
            known = np.isfinite(track.truth).all(axis=(1, 2))
            true_root = track.truth[known][:, :1]
            a, b = pose[known], track.truth[known] - true_root
            add("mpjpe", mpjpe(torch.from_numpy(a), torch.from_numpy(b)).numpy())
            add("p_mpjpe", p_mpjpe(torch.from_numpy(a), torch.from_numpy(b)).numpy())
            off = np.linalg.norm(track.roots[name][known] - true_root[:, 0], axis=-1)
            add("root_error", off / np.linalg.norm(true_root[:, 0], axis=-1))
            if name == OURS:
                add("inside", np.abs(a - b)[:, 1:] < track.stddev[known][:, 1:, None])

    def middle(key: str, percent: float = 50.0) -> float | None:
        return float(np.percentile(values(key), percent)) if len(values(key)) else None

    minutes, still = values("minutes"), mean("still")
    return {
        "bone_variation": mean("bones"),
        "bone_variation_worst": float(
            np.max([b.reshape(-1) for b in parts["bones"]], axis=0).max()
        ),
        "acceleration_m_s2": mean("acceleration"),
        "flips_a_minute": float(values("flips").sum() / minutes.sum()) if len(minutes) else None,
        "longest_flip_frames": longest,
        "upside_down": mean("upside_down"),
        "reprojection": middle("reprojection"),
        "still_mm": None if still is None else 1000 * still**0.5,
        "distance_speed_m_s": middle("distance_speed", 95.0),
        "heights_m": [_height(t.poses[name]) for t in tracks],
        "mpjpe_mm": mean("mpjpe", 1000),
        "p_mpjpe_mm": mean("p_mpjpe", 1000),
        "acceleration_error_m_s2": mean("acceleration_error"),
        "root_error": middle("root_error"),
        "inside_stddev": mean("inside"),
    }


def _above(pose: np.ndarray, *joints: str) -> np.ndarray:
    """(N, 17, 3) -> (N,) y of the joints' middle, which grows downwards."""
    return pose[:, [H36M17.index(j) for j in joints], 1].mean(axis=1)


def _bone(pose: np.ndarray, a: str, b: str) -> np.ndarray:
    return np.linalg.norm(pose[:, H36M17.index(a)] - pose[:, H36M17.index(b)], axis=-1)


def _height(pose: np.ndarray) -> float:
    """(N, 17, 3) m -> m; the way along the bones, whatever the pose. The ankles' height over the
    ground is not in it."""
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
    """Of poses (N, 17, 3) of consecutive frames at (N,) s: (N - 1,) whether the hips' line jumps,
    and the longest run of frames in which it points against its mean over the time around."""
    hips = pose[:, H36M17.index("left_hip")] - pose[:, H36M17.index("right_hip")]
    unit = hips / np.linalg.norm(hips, axis=-1, keepdims=True).clip(1e-6)
    jumps = (unit[1:] * unit[:-1]).sum(axis=-1) < np.cos(np.deg2rad(FLIP_DEG))
    # The pictures next to it always count, and a microsecond is rounding.
    first = np.searchsorted(stamps, stamps - 0.5 * FACING_S - 1e-6)
    end = np.searchsorted(stamps, stamps + 0.5 * FACING_S + 1e-6)
    longest = length = 0
    for i in range(len(unit)):
        around = unit[min(first[i], max(0, i - 1)) : max(end[i], i + 2)].mean(axis=0)
        length = length + 1 if unit[i] @ around < 0 else 0
        longest = max(longest, length)
    return jumps, longest


def _size(keypoints: np.ndarray) -> np.ndarray:
    """(N, 17, 3) px -> (N,) px: the diagonal of the box around the keypoints."""
    return np.linalg.norm(np.ptp(keypoints[..., :2], axis=1), axis=-1).clip(1.0)


def _reprojection(track: _Track, name: str) -> np.ndarray:
    """Distances (N * 17,) of joints from keypoints of some score, over the person's size."""
    at = track.camera.project(track.poses[name] + track.roots[name][:, None])
    apart = np.linalg.norm(at - track.keypoints[..., :2], axis=-1) / _size(track.keypoints)[:, None]
    return np.where(track.keypoints[..., 2] >= MIN_SCORE, apart, np.nan)


def _still(pose: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """Mean squared deviations, m^2, of the joints in the stretches in which nobody moves."""
    out = []
    for begin in range(0, len(pose) - STILL_FRAMES + 1, STILL_FRAMES):
        part = slice(begin, begin + STILL_FRAMES)
        points = keypoints[part, :, :2] / _size(keypoints[part]).mean()
        if np.sqrt(points.var(axis=0).sum(axis=-1).mean()) < STILL_SHARE:
            out.append(pose[part].var(axis=0).sum(axis=-1).mean())
    return np.array(out)


def video_table(report: dict[str, Any]) -> Iterator[str]:
    """Lines of Markdown of a report of `evaluate_video`."""
    rows = (
        ("MPJPE, mm", "mpjpe_mm", 1.0, ".1f"),
        ("P-MPJPE, mm", "p_mpjpe_mm", 1.0, ".1f"),
        ("acceleration error, m/s²", "acceleration_error_m_s2", 1.0, ".1f"),
        ("root's error, % of its distance", "root_error", 100.0, ".1f"),
        ("errors inside one stddev, %", "inside_stddev", 100.0, ".0f"),
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
    yield f"| {report['frames']} poses of {report['people']} people | {OURS} | {BLAZEPOSE} |"
    yield "| --- | --- | --- |"
    for title, key, factor, form in rows:
        values = [report[name][key] for name in (OURS, BLAZEPOSE)]
        if any(v is not None for v in values):
            cells = ["-" if v is None else format(factor * v, form) for v in values]
            yield f"| {title} | {' | '.join(cells)} |"
    heights = [", ".join(f"{h:.2f}" for h in report[n]["heights_m"]) for n in (OURS, BLAZEPOSE)]
    yield f"| people's heights, m | {' | '.join(heights)} |"
