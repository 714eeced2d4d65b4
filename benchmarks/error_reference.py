"""The reference that a detector's keypoints are held against."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emf_ros.skeletons import BLAZEPOSE33, H36M17, convert_keypoints
from emf_ros.track import Tracker
from emf_ros.train import detector_layouts
from emf_ros.types import Pose2D

#: Cutoff of the low-pass filter of the reference, Hz.
CUTOFF_HZ = 6.0

#: What the noise model works on, as far as BlazePose marks it.
POINTS = tuple(p for p in detector_layouts.POINTS if p in BLAZEPOSE33.joints)
ROWS = [BLAZEPOSE33.index(p) for p in POINTS]
MIRROR = [POINTS.index(BLAZEPOSE33.joints[BLAZEPOSE33.mirror[row]]) for row in ROWS]
KINDS = ("nose", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
KIND_OF = np.array([p.split("_")[-1] for p in POINTS])

#: Minimum distance of another person's detection from a reference, as a share of its size.
SAME_PERSON = 0.3
#: Maximum difference of the reference's two halves; with more it is not used.
UNSURE = 0.06
#: Shorter tracks are no reference, frames.
SHORTEST_TRACK = 45


def sizes(keypoints: np.ndarray) -> np.ndarray:
    """(..., 33, 3) -> (...): diagonal of the box around the h36m17 joints, px."""
    points = convert_keypoints(keypoints, BLAZEPOSE33, H36M17)[..., :2]
    return np.linalg.norm(points.max(axis=-2) - points.min(axis=-2), axis=-1)


def low_pass(track: np.ndarray, rate_hz: float) -> np.ndarray:
    """Gaussian filter over the first axis, -3 dB at CUTOFF_HZ, NaN left out of the weights."""
    sigma = np.sqrt(np.log(2)) / (2 * np.pi * CUTOFF_HZ) * rate_hz
    reach = int(np.ceil(3 * sigma))
    offsets = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    total, weight = np.zeros_like(track), np.zeros_like(track)
    for offset, w in zip(offsets.tolist(), weights, strict=True):
        moved = np.full_like(track, np.nan)
        inside = slice(max(0, offset), len(track) + min(0, offset))
        moved[inside] = track[max(0, -offset) : len(track) - max(0, offset)]
        here = np.isfinite(moved)
        total[here] += w * moved[here]
        weight[here] += w
    smooth = total / np.where(weight > 0, weight, np.nan)
    return np.where(np.isfinite(track), smooth, np.nan)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Mean over the body's points of two poses (33, 3), left and right not told apart, px."""
    p, q = a[ROWS, :2], b[ROWS, :2]
    return min(float(np.linalg.norm(p - r, axis=-1).mean()) for r in (q, q[MIRROR]))


def match(found: np.ndarray, tracks: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Sort detections by the people of the reference.

    Args:
        found: (F, people, 33, 3).
        tracks: (P, F, 33, 3), and their size (P, F).

    Returns:
        (P, F, 33, 3), NaN where a person was not found.
    """
    out = np.full_like(tracks, np.nan)
    for frame, people in enumerate(found):
        pairs = sorted(
            (distance(pose, track[frame]) / size[p, frame], p, i)
            for i, pose in enumerate(people)
            for p, track in enumerate(tracks)
            if np.isfinite(pose).all() and np.isfinite(track[frame]).all()
        )
        taken: set[int] = set()
        for far, p, i in pairs:
            if far < SAME_PERSON and np.isnan(out[p, frame]).all() and i not in taken:
                out[p, frame] = people[i]
                taken.add(i)
    return out


def tracks_of(found: np.ndarray, rate_hz: float) -> np.ndarray:
    """Join detections (F, people, 33, 3) to the tracks (P, F, 33, 3) that are long enough."""
    tracker = Tracker(min_age_s=0.0)
    tracks: dict[int, np.ndarray] = {}
    for frame, people in enumerate(found):
        poses = [Pose2D(p, float(p[:, 2].mean())) for p in people if np.isfinite(p).all()]
        for number, pose in tracker.update(poses, round(frame * 1e9 / rate_hz)):
            empty = np.full((len(found), *pose.keypoints.shape), np.nan)
            tracks.setdefault(number, empty)[frame] = pose.keypoints
    long = [t for t in tracks.values() if np.isfinite(t[:, 0, 0]).sum() >= SHORTEST_TRACK]
    return np.stack(long)


@dataclass
class Reference:
    """Pseudo-truth.

    Attributes:
        tracks: (P, F, 15, 2) px, the POINTS; NaN where the person or the place is unsure.
        poses: (P, F, 33, 3) px and score, of the heaviest variant alone, unfiltered.
        size: (P, F) px.
        rate_hz: of the video.
        unsure: share of the points that are left out.
    """

    tracks: np.ndarray
    poses: np.ndarray
    size: np.ndarray
    rate_hz: float
    unsure: float


def reference(straight: np.ndarray, mirrored: np.ndarray, rate_hz: float) -> Reference:
    """Mean of both runs of the heaviest variant, filtered; (F, people, 33, 3) each."""
    poses = tracks_of(straight, rate_hz)
    size = sizes(poses)
    other = match(mirrored, poses, size)[:, :, ROWS, :2]
    own = poses[:, :, ROWS, :2]
    gap = np.linalg.norm(own - other, axis=-1) / size[..., None]
    sure = gap < UNSURE
    mean = np.where(sure[..., None], 0.5 * (own + other), np.nan)
    present = np.isfinite(own[..., 0])
    tracks = np.stack([low_pass(track, rate_hz) for track in mean])
    return Reference(tracks, poses, size, rate_hz, 1 - float(sure[present].mean()))
