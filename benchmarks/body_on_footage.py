"""Answers about real people: two people beside marker motion capture, and the demo video.

python benchmarks/body_on_footage.py [--footage DIR]

DIR has recordings of keypoints with truth (`emf_ros.train.footage.read_footage`). The truth tells
when a person sits, the angles of knees and elbows, where the trunk faces, and the speed. It is
brought into the clock of the video first. The demo has no measured truth: a person who looked at it
wrote down what its people do (`SHOWN`).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from emf_ros.body.angles import inner_angle
from emf_ros.body.state import BodyState
from emf_ros.body.upright import facing, signed_angle
from emf_ros.downloads.videos import ensure_demo_video
from emf_ros.geometry.camera import Camera
from emf_ros.io.video import frames_of, open_source
from emf_ros.runtime.machine import machine
from emf_ros.session import Person, SkeletonTracker
from emf_ros.skeletons import BLAZEPOSE33, H36M17
from emf_ros.train.comparison import Poses, align
from emf_ros.train.footage import KeypointFootage, read_footage

#: Minimum flexion of both knees of a person who sits, degrees.
SITS_DEG = 65.0
#: Maximum speed of the knees of a person who has sat down, degrees/s.
STILL_DEG_S = 30.0
#: Maximum flexion of the knees of a person who stands, degrees.
STANDS_DEG = 25.0
#: Maximum time between a change of posture and its report, s.
NEAR_S = 1.0
#: The vertical of the laboratory.
UP = np.array([0.0, 1.0, 0.0])
#: Field of view of the demo's camera, degrees: its intrinsics are not known.
DEMO_FOV_DEG = 60.0

_SIDES = ("left", "right")


@dataclass(frozen=True)
class Shown:
    """What a person in the demo does for some time.

    Attributes:
        start_s, end_s: of the time, in which the person is whole in the image.
        facing_deg: lowest and highest turn from the trunk to the camera.
        on_the_ground: whether the person is in the lower part of the image.
    """

    who: str
    start_s: float
    end_s: float
    posture: str
    facing_deg: tuple[float, float]
    on_the_ground: bool


#: A woman crosses the meadow to the left. A man stands and swings his arms on a roof, turned to the
#: camera, until he turns to jump off.
SHOWN = (
    Shown("woman who walks past", 2.2, 6.4, "walking", (60.0, 120.0), True),
    Shown("man who stands on the roof", 1.6, 3.0, "standing", (-45.0, 45.0), False),
)
#: Row of the demo under which a person is on the ground, px.
GROUND_PX = 500.0


def row(*cells: object) -> str:
    return "| " + " | ".join(f"{c:.3g}" if isinstance(c, float) else str(c) for c in cells) + " |"


def head(*cells: str) -> Iterator[str]:
    yield ""
    yield row(*cells)
    yield "|" + "---|" * len(cells)


# -------------------------------------------------------------------------- motion capture


def tracked(footage: KeypointFootage) -> list[Person]:
    """The person of a recording in each image, at lag 0."""
    recording, people = footage.keypoints, []
    with SkeletonTracker(recording.camera) as tracker:
        for stamp, points in zip(recording.stamp, recording.keypoints_2d, strict=True):
            found = tracker.from_keypoints(
                [points], float(stamp), BLAZEPOSE33.name, recording.image_size
            )
            people += [person for person in found if person.body and person.state.name == "TRACKED"]
    return people


def _whole(joints: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(F, K, 3) of the known joints -> (F, 17, 3); the middles are those of the sides."""
    out = np.full((len(joints), len(H36M17), 3), np.nan)
    out[:, known] = joints
    for name, pair in (("pelvis", "hip"), ("thorax", "shoulder")):
        sides = [out[:, H36M17.index(f"{side}_{pair}")] for side in _SIDES]
        out[:, H36M17.index(name)] = 0.5 * (sides[0] + sides[1])
    return out


def _flexion_deg(joints: np.ndarray, names: tuple[str, str, str]) -> np.ndarray:
    """(F, 2) of the left and of the right side."""
    columns = [[H36M17.index(f"{side}_{name}") for side in _SIDES] for name in names]
    return 180.0 - np.degrees(inner_angle(*(joints[:, c] for c in columns)))


def _error_cells(errors: np.ndarray) -> tuple[float, float]:
    errors = np.abs(errors[np.isfinite(errors)])
    return float(np.median(errors)), float(np.percentile(errors, 90))


def _changes(sits: np.ndarray, stands: np.ndarray) -> list[tuple[int, str]]:
    """First images of each posture."""
    out, last = [], ""
    for index, name in enumerate(
        np.where(sits, "sitting", np.where(stands, "standing", "")).tolist()
    ):
        if name and name != last:
            if last:
                out.append((index, name))
            last = name
    return out


def against_markers(footage: KeypointFootage) -> Iterator[str]:
    """Rows of the table of a recording."""
    people = tracked(footage)
    stamps = np.array([person.stamp for person in people])
    rows, true, own = align(
        Poses(stamps, np.stack([person.joints for person in people])), footage.truth
    )
    known = footage.truth.known
    true, own = _whole(true, known), _whole(own, known)
    bodies: list[BodyState] = [people[index].body for index in rows]
    name = footage.name
    for joint, names in (
        ("knee", ("hip", "knee", "ankle")),
        ("elbow", ("shoulder", "elbow", "wrist")),
    ):
        said = [[body.angle(f"{side}_{joint}_flexion") for side in _SIDES] for body in bodies]
        errors = np.degrees(np.array(said)) - _flexion_deg(true, names)
        yield row(name, f"{joint} flexion, °", errors.size, *_error_cells(errors))
    spread = np.full((len(rows), len(H36M17)), 0.02)
    before, after = (facing(joints, spread, UP).direction for joints in (own, true))
    turns = np.degrees(signed_angle(before, after, UP))
    yield row(name, "facing, °", len(turns), *_error_cells(turns))
    pelvis = footage.truth.joints[:, [H36M17.index(f"{side}_hip") for side in _SIDES]].mean(axis=1)
    steps = np.linalg.norm(np.diff(pelvis[:, [0, 2]], axis=0), axis=-1)
    true_speed = float(np.nanmedian(steps / np.diff(footage.truth.stamp)))
    speed = float(np.nanmedian([body.speed for body in bodies]))
    yield row(name, f"median speed, m/s (true {true_speed:.2f})", len(rows), speed - true_speed, "")
    knees = _flexion_deg(true, ("hip", "knee", "ankle")).min(axis=1)
    still = np.abs(np.gradient(knees, stamps[rows])) < STILL_DEG_S
    sits, stands = (knees > SITS_DEG) & still, knees < STANDS_DEG
    postures = np.array([body.posture for body in bodies])
    for shown, postures_of in ((sits, ["sitting"]), (stands, ["standing", "walking"])):
        if shown.any():
            right = float(np.isin(postures[shown], postures_of).mean())
            yield row(
                name, f"{' or '.join(postures_of)}: share of images", int(shown.sum()), right, ""
            )
    late = []
    for index, posture in _changes(sits, stands):
        near = np.abs(stamps[rows] - stamps[rows][index]) < NEAR_S
        at = np.flatnonzero(near & (postures == posture))
        if len(at):
            late.append(1000 * (stamps[rows][at[0]] - stamps[rows][index]))
    if late:
        yield row(
            name,
            "report of sitting down and rising, ms late",
            len(late),
            *_error_cells(np.array(late)),
        )


# ------------------------------------------------------------------------------------- the demo


def on_the_demo() -> Iterator[str]:
    """Rows of the table of the demo."""
    video = open_source(str(ensure_demo_video()))
    seen: list[tuple[float, bool, BodyState]] = []
    alarms = 0
    with SkeletonTracker(Camera.from_fov(*video.size, DEMO_FOV_DEG)) as tracker:
        for _, stamp, image in frames_of(video):
            for person in tracker(image, stamp):
                if person.body is None or person.keypoints is None:
                    continue
                ground = float(np.nanmean(person.keypoints[:, 1])) > GROUND_PX
                seen.append((stamp, ground, person.body))
                alarms += person.body.fallen > 0.5
    for shown in SHOWN:
        bodies = [
            body
            for stamp, ground, body in seen
            if shown.start_s <= stamp <= shown.end_s and ground == shown.on_the_ground
        ]
        right = np.mean([body.posture == shown.posture for body in bodies])
        angle = np.degrees([body.facing_camera_rad for body in bodies])
        turned = np.mean((angle >= shown.facing_deg[0]) & (angle <= shown.facing_deg[1]))
        yield row(f"demo, {shown.who}", len(bodies), float(right), float(turned))
    yield row("demo, images with a reported fall (nobody falls)", len(seen), alarms, "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--footage", metavar="DIR", help="recordings of keypoints with truth")
    args = parser.parse_args()
    print(machine())
    if args.footage:
        print(*head("recording", "answer", "values", "median error", "90th percentile"), sep="\n")
        for footage in read_footage(args.footage):
            print(*against_markers(footage), sep="\n")
    print(*head("recording", "images", "right posture", "right facing"), sep="\n")
    print(*on_the_demo(), sep="\n")


if __name__ == "__main__":
    main()
