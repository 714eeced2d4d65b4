"""How good the answers about people are: orientations, facing, posture, falls, head, gestures.

python benchmarks/body.py --mocap DIR --cache DIR [--minutes 30] [--fit]

The truth is motion capture, and postures and gestures that are built on the bodies of its people.
All are seen by simulated cameras and a simulated detector, and lifted by the shipped lifter. The
lifted sequences are written to the cache, and read from there the next time. Half of the people
(by a hash of their names) are fitted on; the tables are of the others. --fit writes
emf_ros/body/posture_table.py and gesture_table.py anew.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from built_motion import GESTURES as BUILT_GESTURES
from built_motion import Skeleton, gesture_motion, posture_motion
from crowd import Crowd
from gesture_fit import fit_gestures, shows
from posture_fit import fit_postures
from posture_truth import FALLING
from simulated_people import MAX_FRAMES, Lifted, Motion, at_rate, lifted_sequences, load, save

from emf_ros.body.angles import ANGLES, joint_angles
from emf_ros.body.face import Faces
from emf_ros.body.gestures import ENDS, GESTURES, GestureTracker
from emf_ros.body.head import heads
from emf_ros.body.orientation import OrientationTracker
from emf_ros.body.posture import POSTURES, PostureTracker
from emf_ros.body.posture_features import FEATURES, PostureFeatures
from emf_ros.body.rotations import cross
from emf_ros.body.segments import NAMES
from emf_ros.body.upright import (
    HEAD_TOP,
    THORAX,
    WRISTS,
    approach,
    facing,
    height_over_floor,
    heights,
    in_plane,
    signed_angle,
)
from emf_ros.lift.engine import make_engine
from emf_ros.runtime.machine import machine
from emf_ros.train.mocap import MotionClips, load_mocap
from emf_ros.types import TrackState

#: Number of images per pose: 10 Hz of 30.
EVERY = 3
#: Number of sequences of built postures, and of built gestures.
BUILT = 72
#: Lower ends of the ranges of a gesture's probability.
SHARES = (0.0, 0.2, 0.4, 0.6, 0.8)
#: Standard deviation with which the true joints are taken, m.
EXACT_M = 0.02


# ------------------------------------------------------------------------------ the sequences


def recorded(clips: MotionClips, minutes: float) -> Iterator[Motion]:
    """Clips in a random order, until there are so many minutes."""
    rng, seconds = np.random.default_rng(1), 0.0
    for i in rng.permutation(len(clips.starts)).tolist():
        if seconds > 60 * minutes:
            return
        rows = slice(clips.starts[i], clips.starts[i] + clips.lengths[i])
        joints = at_rate(clips.positions[rows].astype(np.float64), float(clips.rates[i]))
        for start in range(0, len(joints), MAX_FRAMES):
            part = joints[start : start + MAX_FRAMES]
            if len(part) < 36:
                continue
            seconds += len(part) / 30
            names = (str(clips.sources[i]), str(clips.subjects[i]), str(clips.actions[i]))
            yield Motion(part, *names, np.zeros(len(part), int), np.full((len(part), 3), np.nan))


def skeletons(clips: MotionClips) -> list[tuple[str, Skeleton]]:
    """A skeleton of each person who stands upright at the beginning of a clip."""
    found: dict[str, Skeleton] = {}
    for start, length, subject in zip(clips.starts, clips.lengths, clips.subjects, strict=True):
        joints = clips.positions[start : start + 60].astype(np.float64)
        pelvis, head = joints[:, 0, 2], joints[:, HEAD_TOP, 2]
        if length < 60 or str(subject) in found:
            continue
        if np.median(pelvis) > 0.75 and np.median(head - pelvis) > 0.55:
            found[str(subject)] = Skeleton.of(joints)
    return list(found.items())


def sequences(mocap: str, cache: Path, minutes: float) -> dict[str, list[Lifted]]:
    """The lifted sequences by kind, from the cache where they are there."""
    kinds = ("recorded", "postures", "gestures")
    missing = [kind for kind in kinds if not (cache / f"{kind}.npz").exists()]
    if missing:
        clips, engine = load_mocap(mocap), make_engine("lite", None, "cpu")
        people = skeletons(clips)
        for kind in missing:
            rng = np.random.default_rng(2)
            build = posture_motion if kind == "postures" else gesture_motion
            built = (build(*people[n % len(people)][::-1], rng) for n in range(BUILT))
            motions = recorded(clips, minutes) if kind == "recorded" else built
            save(cache / f"{kind}.npz", list(lifted_sequences(motions, engine, EVERY, seed=5)))
    return {kind: load(cache / f"{kind}.npz") for kind in kinds}


# ------------------------------------------------------------------------------ the answers


def table(*head: str) -> Iterator[str]:
    yield f"\n| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)


def row(*cells: object) -> str:
    return "| " + " | ".join(f"{c:.3g}" if isinstance(c, float) else str(c) for c in cells) + " |"


def spread_of(errors: np.ndarray, stddev: np.ndarray | None = None) -> list[object]:
    """Number, median, 90th percentile, and the ratio of 68 % of the errors to the stddev."""
    known = np.isfinite(errors)
    errors = np.abs(errors[known])
    if not len(errors):
        return [0, "-", "-", "-"]
    ratio: object = "-"
    if stddev is not None:
        ratio = float(np.percentile(errors / stddev[known], 68))
    return [len(errors), float(np.median(errors)), float(np.percentile(errors, 90)), ratio]


def turns(crowd: Crowd, kind: str) -> tuple[np.ndarray, ...]:
    """Rotations, their spread, angles and theirs, of the lifted or the true joints."""
    tracker, count = OrientationTracker(), len(crowd)
    rotation = np.full((count, len(NAMES), 3, 3), np.nan)
    spread = np.full((count, len(NAMES), 3), np.nan)
    angle, angle_spread = (np.full((count, len(ANGLES)), np.nan) for _ in range(2))
    for stamp_ns, ids, rows in crowd.moments():
        joints = crowd[kind][rows]
        stddev = crowd["stddev"][rows] if kind == "joints" else np.full(joints.shape[:2], EXACT_M)
        faces = faces_of(crowd, rows) if kind == "joints" else None
        found = tracker.update(stamp_ns, ids, joints, stddev, faces)
        angles = joint_angles(joints, stddev, found)
        rotation[rows], spread[rows] = found.rotation, found.stddev_rad
        angle[rows], angle_spread[rows] = angles.angle_rad, angles.stddev_rad
    return rotation, spread, angle, angle_spread


def faces_of(crowd: Crowd, rows: np.ndarray) -> Faces:
    joints, placed = crowd["joints"][rows], np.isfinite(crowd["root"][rows, 0])
    depth_m = np.where(placed, joints[:, HEAD_TOP, 2], np.nan)
    trunk_m = np.linalg.norm(joints[:, THORAX] - joints[:, 0], axis=-1)
    return Faces(crowd["face"][rows], depth_m, trunk_m, np.eye(3))


def vectors_of(rotation: np.ndarray) -> np.ndarray:
    """(..., 3, 3) -> (..., 3) rad, axis times angle."""
    trace = np.trace(rotation, axis1=-2, axis2=-1)
    angle = np.arccos(np.clip((trace - 1) / 2, -1, 1))
    axis = np.stack(
        [rotation[..., i, j] - rotation[..., j, i] for i, j in ((2, 1), (0, 2), (1, 0))], axis=-1
    )
    length = np.linalg.norm(axis, axis=-1)
    return axis * (angle / np.where(length > 1e-9, length, 1.0))[..., None]


def orientation_tables(crowd: Crowd, used: np.ndarray) -> Iterator[str]:
    rotation, spread, angle, angle_spread = turns(crowd, "joints")
    true, true_spread, true_angle, _ = turns(crowd, "truth")
    error = np.degrees(vectors_of(np.swapaxes(rotation, -1, -2) @ true))
    spread = np.degrees(np.where(np.isfinite(true_spread), spread, np.nan))
    yield from table("segment, axis", "images", "median, °", "p90, °", "68 % of errors / stddev")
    for number, name in enumerate(NAMES):
        if name.startswith("right"):
            continue
        for axis in range(3):
            stddev = spread[used, number, axis]
            errors = np.where(np.isfinite(stddev), error[used, number, axis], np.nan)
            yield row(f"{name}, {'xyz'[axis]}", *spread_of(errors, stddev))
    off = np.degrees((angle - true_angle + np.pi) % (2 * np.pi) - np.pi)
    yield from table("angle", "images", "median, °", "p90, °", "68 % of errors / stddev")
    for number, name in enumerate(ANGLES):
        if not name.startswith("right"):
            stddev = np.degrees(angle_spread[used, number])
            yield row(name, *spread_of(off[used, number], stddev))
    placed = np.where(np.isfinite(crowd["root"][:, :1]), crowd["joints"][:, HEAD_TOP], np.nan)
    with np.errstate(invalid="ignore"):
        head = NAMES.index("head")
        seen = heads(rotation[:, head], np.radians(spread[:, head]), placed, crowd.up)
        exact = np.full((len(crowd), 3), 0.01)
        there = heads(true[:, head], exact, crowd["truth"][:, HEAD_TOP], crowd.up)
    yaw = (seen.yaw_rad - there.yaw_rad + np.pi) % (2 * np.pi) - np.pi
    yield from table("head", "images", "median, °", "p90, °", "68 % of errors / stddev")
    for name, errors, stddev in (
        ("yaw", yaw, seen.yaw_stddev_rad),
        ("pitch", seen.pitch_rad - there.pitch_rad, seen.pitch_stddev_rad),
    ):
        yield row(name, *spread_of(np.degrees(errors[used]), np.degrees(stddev[used])))
    yield from calibration(
        "looking_at_camera", seen.looking_at_camera[used], there.looking_at_camera[used] > 0.5
    )


def calibration(name: str, probability: np.ndarray, true: np.ndarray) -> Iterator[str]:
    known = np.isfinite(probability)
    probability, true = probability[known], true[known]
    yield from table(name, "images", "mean probability", "true share")
    for low, high in ((0, 0.1), (0.1, 0.3), (0.3, 0.5), (0.5, 0.7), (0.7, 0.9), (0.9, 1.01)):
        inside = (probability >= low) & (probability < high)
        if inside.any():
            shares = (float(probability[inside].mean()), float(true[inside].mean()))
            yield row(f"{low} to {min(high, 1)}", int(inside.sum()), *shares)


def upright_table(crowd: Crowd, used: np.ndarray) -> Iterator[str]:
    seen = facing(crowd["joints"], crowd["stddev"], crowd.up)
    true = facing(crowd["truth"], np.full(crowd["stddev"].shape, EXACT_M), crowd.up)
    off = np.degrees(signed_angle(seen.direction, true.direction, crowd.up))
    yield from table("answer", "images", "median", "p90", "68 % of errors / stddev")
    yield row("facing, °", *spread_of(off[used], np.degrees(seen.stddev_rad[used])))
    flips = float((np.abs(off[used & np.isfinite(off)]) > 90).mean())
    yield row("facing off by more than 90°, share", "", flips, "", "")
    moved = in_plane((crowd["truth_after"][:, 0] - crowd["truth_before"][:, 0]) / 0.2, crowd.up)
    velocity = in_plane(crowd["velocity"], crowd.up)
    yield row("velocity, m/s", *spread_of(np.linalg.norm(velocity - moved, axis=1)[used]))
    speeds = np.linalg.norm(velocity, axis=1) - np.linalg.norm(moved, axis=1)
    yield row("speed, m/s", *spread_of(speeds[used]))
    placed = np.isfinite(crowd["root"][:, 0])
    over = heights(crowd["truth"], crowd.up) + crowd.camera_height_m[:, None]
    for floor, height in (("known floor", crowd.camera_height_m), ("own ankle", np.nan)):
        own = heights(crowd["joints"], crowd.up)
        found = height_over_floor(own, height, placed)
        for name, joints in (("head", [HEAD_TOP]), ("hands", WRISTS)):
            errors = (found - over)[used][:, joints].ravel()
            yield row(f"height of {name}, {floor}, m", *spread_of(errors))


def posture_features(crowd: Crowd) -> np.ndarray:
    """(N, F)."""
    tracker, out = PostureFeatures(), np.full((len(crowd), len(FEATURES)), np.nan)
    for stamp_ns, ids, rows in crowd.moments():
        up, joints = crowd.up[rows], crowd["joints"][rows]
        front = facing(joints, crowd["stddev"][rows], up)
        speed = approach(crowd["root"][rows], crowd["velocity"][rows], up).speed
        over = heights(joints, up)
        out[rows] = tracker.update(stamp_ns, ids, joints, over, up, front.direction, speed)
    return out


def posture_tables(
    crowd: Crowd, features: np.ndarray, labels: np.ndarray, used: np.ndarray
) -> Iterator[str]:
    tracker = PostureTracker()
    index, chance = np.full(len(crowd), -1), np.full((len(crowd), len(POSTURES)), np.nan)
    fallen = np.full(len(crowd), np.nan)
    for stamp_ns, ids, rows in crowd.moments():
        found = tracker.update(
            stamp_ns, ids, features[rows], crowd["state"][rows] == TrackState.TRACKED
        )
        index[rows], chance[rows], fallen[rows] = found.index, found.probability, found.fallen
    told = used & (index >= 0) & (labels >= 0) & (labels < FALLING)
    for kind, some in (("recorded", ~crowd.built), ("built", crowd.built)):
        some = some & told
        yield from table(f"posture, {kind}", "images", "precision", "recall", *POSTURES)
        for number, name in enumerate(POSTURES):
            true, taken = some & (labels == number), some & (index == number)
            if true.any():
                both = int((true & taken).sum())
                shares = (both / max(1, int(taken.sum())), both / int(true.sum()))
                counts = np.bincount(index[true], minlength=len(POSTURES)).tolist()
                yield row(name, int(true.sum()), *shares, *counts)
        best = chance[some].max(axis=1)
        yield from calibration(
            f"most likely posture, {kind}", best, chance[some].argmax(axis=1) == labels[some]
        )
    falls = [(a, b) for a, b in crowd.events(labels == FALLING) if used[a] and crowd.built[a]]
    alarms = crowd.events((fallen > 0.5) & used)
    late = [crowd.stamp_ns[a] - crowd.stamp_ns[e - 1] for _, e in falls for a, _ in alarms]
    delays = [d / 1e6 for d in late if -4e8 < d < 1.5e9]
    true_fall = crowd.near(labels == FALLING, 1.5)
    false = [a for a, _ in alarms if not true_fall[a]]
    recorded_h = float((used & ~crowd.built).sum() * EVERY / 30 / 3600)
    outside = sum(not crowd.built[a] for a in false)
    yield from table("falls", "found", "false in built", "false/h recorded", "delay, ms")
    found_falls = sum((fallen[a : e + 15] > 0.5).any() for a, e in falls)
    delay = float(np.median(delays)) if delays else float("nan")
    yield row(
        len(falls), int(found_falls), len(false) - outside, outside / max(recorded_h, 1e-9), delay
    )


def gesture_tables(crowd: Crowd) -> Iterator[str]:
    """Gestures on all people: nothing was fitted on half of them."""
    seen, true = (_gestures(crowd, kind) for kind in ("joints", "truth"))
    hours = float((~crowd.built).sum() * EVERY / 30 / 3600)
    yield from table(
        "gesture", "built", "found", "delay, ms", "precision in built", f"false in {hours:.2f} h"
    )
    for number, name in enumerate(GESTURES):
        shown = crowd["label"] == BUILT_GESTURES.index(name)
        stretched = name in ("point", "stop")
        if stretched:
            # Which of the two a stretched arm is, depends on where the camera stands.
            shown = np.isin(crowd["label"], [BUILT_GESTURES.index(n) for n in ("point", "stop")])
        shown &= np.array([s.source == "gestures" for s in crowd.sequences])[crowd.sequence]
        columns = [GESTURES.index(n) for n in ("point", "stop")] if stretched else [number]
        active = np.asarray(seen[2][:, columns].any(axis=1))
        events = crowd.events(shown)
        first = [np.flatnonzero(active[a : e + 3]) for a, e in events]
        delays = [
            crowd.stamp_ns[a + f[0]] - crowd.stamp_ns[a]
            for (a, _), f in zip(events, first, strict=True)
            if len(f)
        ]
        possible = crowd.near(true[2][:, number] | (true[0][:, number] > ENDS), 0.5)
        begun = [a for a, _ in crowd.events(seen[2][:, number])]
        own = [
            a
            for a in begun
            if crowd.built[a] and crowd.sequences[crowd.sequence[a]].source == "gestures"
        ]
        right = [a for a in own if possible[a] or crowd.near(shown, 0.6)[a]]
        false = [a for a in begun if not crowd.built[a] and not possible[a]]
        delay = float(np.median(delays)) / 1e6 if delays else float("nan")
        share = len(delays) / max(1, len(events))
        yield row(name, len(events), share, delay, len(right) / max(1, len(own)), len(false))


def gesture_shares(crowd: Crowd) -> Iterator[str]:
    """How many images with a probability show the gesture, of people who were not fitted on."""
    (_, chance, _), (true, _, _) = (_gestures(crowd, kind) for kind in ("joints", "truth"))
    shown, sure = shows(crowd, true)
    sure &= ~crowd.fits
    yield from table("probability", *GESTURES)
    for low in SHARES:
        cells: list[object] = []
        for number in range(len(GESTURES)):
            inside = sure & (chance[:, number] >= low) & (chance[:, number] < low + 0.2)
            cells.append(
                f"{shown[inside, number].mean():.2f} of {inside.sum()}" if inside.any() else ""
            )
        yield row(f"{low} to {low + 0.2:.1f}", *cells)


def _gestures(crowd: Crowd, kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N, G) evidence, probabilities and whether they go on, of the lifted or the true joints."""
    tracker, shape = GestureTracker(), (len(crowd), len(GESTURES))
    evidence, chance, active = np.zeros(shape), np.zeros(shape), np.zeros(shape, dtype=bool)
    for stamp_ns, ids, rows in crowd.moments():
        joints, up = crowd[kind][rows], crowd.up[rows]
        front = facing(joints, crowd["stddev"][rows], up).direction
        placed = seen = np.ones(len(rows), bool)
        if kind == "joints":
            placed = np.isfinite(crowd["root"][rows, 0])
            seen = crowd["state"][rows] == TrackState.TRACKED
        over = heights(joints, up)
        right = cross(front, up)
        found = tracker.update(stamp_ns, ids, joints, over, front, right, placed, seen)
        evidence[rows], chance[rows] = found.evidence, found.probability
        active[rows] = found.active
    return np.nan_to_num(evidence), np.nan_to_num(chance), active


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mocap", required=True, metavar="DIR", help="folder of npz files")
    parser.add_argument("--cache", required=True, type=Path, metavar="DIR")
    parser.add_argument("--minutes", type=float, default=30.0, help="of recorded motion (30)")
    parser.add_argument("--fit", action="store_true", help="fit the table of postures anew")
    args = parser.parse_args()
    kinds = sequences(args.mocap, args.cache, args.minutes)
    print(machine())
    np.seterr(invalid="ignore", divide="ignore")
    crowd = Crowd([*kinds["recorded"], *kinds["postures"]])
    labels, features = crowd.postures(EVERY), posture_features(crowd)
    tracked = crowd["state"] == TrackState.TRACKED
    if args.fit:
        fit_postures(features, labels, tracked & crowd.fits)
        made = Crowd(kinds["gestures"])
        shown, sure = shows(made, _gestures(made, "truth")[0])
        used = sure & made.fits
        fit_gestures(_gestures(made, "joints")[0][used], shown[used])
        return
    used = tracked & ~crowd.fits
    print(*upright_table(crowd, used & ~crowd.built), sep="\n")
    print(*orientation_tables(crowd, used & ~crowd.built), sep="\n")
    print(*posture_tables(crowd, features, labels, used), sep="\n")
    print(*gesture_tables(Crowd([*kinds["recorded"], *kinds["gestures"]])), sep="\n")
    print(*gesture_shares(Crowd(kinds["gestures"])), sep="\n")


if __name__ == "__main__":
    main()
