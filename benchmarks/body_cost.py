"""CPU time and message sizes of the answers about eight people.

python benchmarks/body_cost.py --cache DIR

DIR is that of `benchmarks/body.py`: lifted people with gestures and postures, eight at a time. Time
is that of the thread, so that other programs do not count; their use of the caches does.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rclpy.serialization import serialize_message
from simulated_people import load
from std_msgs.msg import Header

from emf_ros.body.tracker import BodyTracker
from emf_ros.nodes.body_messages import BodyMarkers, body_states_msg
from emf_ros.runtime.machine import machine
from emf_ros.types import Frame3D

#: Number of people in an image.
PEOPLE = 8
#: Number of images of each eight people, and of rounds of which the median counts.
IMAGES, ROUNDS = 60, 15
#: Time between two images, ns.
STEP_NS = 100_000_000


def crowds(cache: Path) -> list[list[Frame3D]]:
    """Images of eight people each, of sequences that are long enough."""
    found = [s for kind in ("gestures", "postures") for s in load(cache / f"{kind}.npz")]
    found = [s for s in found if len(s.stamp_ns) >= IMAGES]
    out = []
    for start in range(0, min(len(found), 6 * PEOPLE) - PEOPLE + 1, PEOPLE):
        frames = []
        for row in range(IMAGES):
            people = [s.pose(row) for s in found[start : start + PEOPLE]]
            for number, person in enumerate(people):
                person.track_id = number
            frames.append(Frame3D(row * STEP_NS, 0, people, 0.0))
        out.append(frames)
    return out


def milliseconds(work: Callable[[list[Frame3D]], None], groups: list[list[Frame3D]]) -> float:
    """Median CPU time of an image, ms."""
    times = []
    for _ in range(ROUNDS):
        start = time.thread_time()
        for frames in groups:
            work(frames)
        times.append(1000 * (time.thread_time() - start) / (len(groups) * IMAGES))
    return float(np.median(times))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", required=True, type=Path, metavar="DIR")
    groups = crowds(parser.parse_args().cache)
    print(machine())
    up = np.array([0.0, -1.0, 0.0])
    trackers = [BodyTracker(up, 1.0) for _ in groups]
    made = [
        [tracker.update(frame) for frame in frames]
        for tracker, frames in zip(trackers, groups, strict=True)
    ]
    header = Header(frame_id="camera_color_optical_frame")
    of_frames = {id(frames): answers for frames, answers in zip(groups, made, strict=True)}
    poses = {id(f): {p.track_id: p for p in f.people} for frames in groups for f in frames}

    def answers(frames: list[Frame3D]) -> None:
        tracker = BodyTracker(up, 1.0)
        for frame in frames:
            tracker.update(frame)

    def messages(frames: list[Frame3D]) -> None:
        for found in of_frames[id(frames)]:
            body_states_msg(found, header)

    def markers(frames: list[Frame3D]) -> None:
        shown = BodyMarkers()
        for frame, found in zip(frames, of_frames[id(frames)], strict=True):
            shown.update(found, poses[id(frame)], up, header)

    print("| eight people, an image | ms of CPU |\n|---|---|")
    for name, work in (
        ("answers", answers),
        ("message body_states", messages),
        ("markers", markers),
    ):
        print(f"| {name} | {milliseconds(work, groups):.2f} |")
    sizes = [len(serialize_message(body_states_msg(found, header))) for a in made for found in a]
    alone = [
        len(serialize_message(body_states_msg(found[:1], header))) for a in made for found in a
    ]
    print("\n| message body_states | bytes, median | largest |\n|---|---|---|")
    for name, values in (("one person", alone), ("eight people", sizes)):
        print(f"| {name} | {int(np.median(values))} | {max(values)} |")


if __name__ == "__main__":
    main()
