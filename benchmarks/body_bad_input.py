"""Answers about people under bad input: no intrinsics or floor, 5 Hz, a moving base without TF.

python benchmarks/body_bad_input.py --cache DIR [--people 20]

DIR is that of `benchmarks/body.py`. The keypoints of its built people are lifted anew, as a camera
of 10 or of 5 Hz sees them. A moving base is put into the poses: a robot that drives or turns, and
does not say so.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from built_motion import GESTURES as SHOWN
from simulated_people import IMAGE_SIZE, Lifted, load

from emf_ros.body.posture import POSTURES
from emf_ros.body.state import BodyState
from emf_ros.body.tracker import BodyTracker
from emf_ros.geometry.camera import Camera
from emf_ros.lift.config import PipelineConfig
from emf_ros.lift.engine import make_engine
from emf_ros.lift.pipeline import LiftPipeline
from emf_ros.lift.together import lift_together
from emf_ros.runtime.machine import machine
from emf_ros.skeletons import BLAZEPOSE33
from emf_ros.types import Frame2D, Frame3D, Pose2D, TrackState

#: Number of people who are lifted together.
TOGETHER = 8
#: Gestures that are reported, with what was shown; a stretched arm is one by the camera's place.
GESTURES = {
    "wave": ("wave",),
    "point or stop": ("point", "stop"),
    "raise_hand": ("raise_hand",),
    "hands_up": ("hands_up",),
}
#: Time after a gesture in which it still counts, rows of 10 Hz.
LATE = 3

#: The state in each row of a sequence; None where there is none.
States = list[BodyState | None]


def lifted_anew(people: list[Lifted], every: int, known: bool) -> list[list[Frame3D | None]]:
    """The poses of each sequence by row, of every `every`-th image.

    Args:
        people: the sequences, with keypoints at 10 Hz.
        every: 1 for 10 Hz, 2 for 5 Hz.
        known: whether the intrinsics are known.
    """
    engine, out = make_engine("lite", None, "cpu"), []
    for start in range(0, len(people), TOGETHER):
        part = people[start : start + TOGETHER]
        pipelines = [LiftPipeline(engine, PipelineConfig()) for _ in part]
        for pipeline, s in zip(pipelines, part, strict=True):
            fov = float(np.degrees(2 * np.arctan(IMAGE_SIZE[0] / 2 / s.focal)))
            pipeline.set_camera(Camera.from_fov(*IMAGE_SIZE, fov) if known else None)
        frames: list[list[Frame3D | None]] = [[None] * len(s.stamp_ns) for s in part]
        for row in range(0, max(len(s.stamp_ns) for s in part), every):
            due = [i for i, s in enumerate(part) if row < len(s.stamp_ns)]
            used = [i for i in due if pipelines[i].observe(_image(part[i], row))]
            results = lift_together([pipelines[i] for i in used])
            for i, result in zip(used, results, strict=True):
                frames[i][row] = result
        out += frames
    return out


def _image(s: Lifted, row: int) -> Frame2D:
    points = s.keypoints[row]
    shown = points[:, 2] > 0
    people = [Pose2D(points, float(points[shown, 2].mean()), 1)] if shown.any() else []
    return Frame2D(int(s.stamp_ns[row]), "camera", BLAZEPOSE33.name, IMAGE_SIZE, people)


def answers(
    people: list[Lifted],
    frames: list[list[Frame3D | None]],
    tracker: Callable[[Lifted], BodyTracker],
) -> list[States]:
    out = []
    for s, own in zip(people, frames, strict=True):
        bodies = tracker(s)
        states: list[BodyState | None] = [None] * len(own)
        for row, frame in enumerate(own):
            if frame is not None and any(p.state == TrackState.TRACKED for p in frame.people):
                found = bodies.update(replace(frame, scene=None))
                states[row] = found[0] if found else None
        out.append(states)
    return out


def known_floor(s: Lifted) -> BodyTracker:
    return BodyTracker(s.up, s.camera_height)


def no_floor(s: Lifted) -> BodyTracker:
    return BodyTracker()


def posture_cells(people: list[Lifted], states: list[States]) -> list[str]:
    """Share of the right postures, and of the images with one and with metres."""
    right, told, metres, count = 0, 0, 0, 0
    for s, own in zip(people, states, strict=True):
        for label, state in zip(s.label.tolist(), own, strict=True):
            if state is None or not 0 <= label < len(POSTURES):
                continue
            count += 1
            told += bool(state.posture)
            right += state.posture == POSTURES[label]
            metres += bool(np.isfinite(state.speed))
    return [
        str(count),
        f"{told / count:.2f}",
        f"{right / max(1, told):.2f}",
        f"{metres / count:.2f}",
    ]


def gesture_cells(people: list[Lifted], states: list[States]) -> list[str]:
    """Found share of each gesture, and the number of gestures in images that show none."""
    found = {name: [0, 0] for name in GESTURES}
    false = 0
    for s, own in zip(people, states, strict=True):
        names = [{g.name for g in state.gestures} if state else set() for state in own]
        edges = np.flatnonzero(np.diff(s.label, prepend=-9, append=-9))
        for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            shown = SHOWN[max(int(s.label[start]), 0)]
            said = set().union(*names[start : end + LATE])
            for name, members in GESTURES.items():
                if shown in members:
                    found[name][0] += bool(said & {*members})
                    found[name][1] += 1
            if shown in ("come_here", "arms_crossed"):
                false += bool(said)
    return [*(f"{a / max(1, b):.2f} of {b}" for a, b in found.values()), str(false)]


def moved(frame: Frame3D, up: np.ndarray, drive_m_s: float, turn_rad_s: float) -> Frame3D:
    """The frame of a robot that moves: people have its velocity, too. Places stay."""
    forward = np.array([0.0, 0.0, 1.0]) - up[2] * up
    forward /= np.linalg.norm(forward)
    people = []
    for person in frame.people:
        own = -drive_m_s * forward - turn_rad_s * np.cross(up, person.root)
        people.append(replace(person, velocity=person.velocity + own))
    return replace(frame, people=people)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", required=True, type=Path, metavar="DIR")
    parser.add_argument("--people", type=int, default=20, help="of each kind (20)")
    args = parser.parse_args()
    postures = load(args.cache / "postures.npz")[: args.people]
    gestures = load(args.cache / "gestures.npz")[: args.people]
    print(machine())
    print("| input | images | with posture | right | with metres", *GESTURES, "false |", sep=" | ")
    both = (postures, gestures)
    of_10_hz = [lifted_anew(people, 1, True) for people in both]
    cases = {
        "10 Hz, floor and intrinsics known": (of_10_hz, known_floor),
        "5 Hz": ([lifted_anew(people, 2, True) for people in both], known_floor),
        "floor unknown": (of_10_hz, no_floor),
        "floor and intrinsics unknown": ([lifted_anew(p, 1, False) for p in both], no_floor),
    }
    for name, (frames, tracker) in cases.items():
        cells = posture_cells(postures, answers(postures, frames[0], tracker))
        cells += gesture_cells(gestures, answers(gestures, frames[1], tracker))
        print("|", " | ".join([name, *cells]), "|")
    for drive, turn in ((0.3, 0.0), (0.6, 0.0), (1.0, 0.0), (0.0, 0.3), (0.0, 0.6)):
        driven = [
            [f if f is None else moved(f, s.up, drive, turn) for f in own]
            for s, own in zip(postures, of_10_hz[0], strict=True)
        ]
        cells = posture_cells(postures, answers(postures, driven, known_floor))
        print("|", " | ".join([f"drives {drive} m/s, turns {turn} rad/s, no TF", *cells]), "|")


if __name__ == "__main__":
    main()
