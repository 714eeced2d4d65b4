"""Id switches on the demo video, and on composites in which its two people cross.

python benchmarks/tracking.py                                  # all of it, some ten minutes
python benchmarks/tracking.py --people 5 --rates 10 --seeds 1

The detector runs once, and a file keeps its detections. A composite shows copies of the two real
people, mirrored, shifted in time, moved, and scaled by their distance, for --seconds at irregular
stamps. An occluded person loses the occluded keypoints, and with most of them occluded the whole
detection. The simulated detector adds jitter, missed people, low scores, left/right swaps, and
false positives of a frame or two. The images, for the appearance, are pasted from the video, each
person dyed differently.

Reappearances, switches and breaks are counted per minute. A reappearance follows an occlusion of at
least a quarter of a second. A switch is an id other than the person's last one. A person that was
out of the image for longer than a second is a new person. A switch is to a new id, or to an id
that was another person's last one (an exchange). A newcomer with such an id is an exchange, too. A
break is a time without a report of a visible person. MOTA is 1 - (missed + false positives +
switches) / (visible people). IDF1 is the share of all reports that have each person's one best id
(Ristani et al., 2016). People that the simulated detector misses count against both.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter

import numpy as np
from crossing_scenes import (
    NANOSECONDS,
    PATHS,
    RATE_HZ,
    SHRUNK,
    SIZE,
    SOURCES,
    Frame,
    Scene,
    Source,
    demo_detections,
    demo_pictures,
    labelled,
    shrunk,
)

from emf_ros.people import PeopleTracker
from emf_ros.reasons import Reason
from emf_ros.runtime.machine import load, machine
from emf_ros.skeletons import BLAZEPOSE33
from emf_ros.track import Tracker
from emf_ros.track.association import assign
from emf_ros.types import Pose2D

#: Minimum time of an occlusion before a reappearance, s.
MIN_OCCLUSION_S = 0.25


# ---------------------------------------------------------------------------------- measures


class Score:
    """Counts over one scene of `people` people."""

    def __init__(self, people: int) -> None:
        self.people = people
        self.visible = self.missed = self.false_positives = self.breaks = self.reappearances = 0
        self.to_new = self.exchanges = 0
        self.seconds: list[float] = []
        self._ids: dict[int, int] = {}
        self._owner: dict[int, int] = {}
        self._there: dict[int, bool] = {}
        self._seen: dict[int, tuple[int, int]] = {}
        self._frames = 0
        self._both: Counter[tuple[int, int]] = Counter()
        self._reported = 0
        self.first_ns = self.last_ns = -1

    def add(self, frame: Frame, found: list[tuple[int, Pose2D]]) -> None:
        persons = {id(d): w for d, w in zip(frame.detections, frame.persons, strict=True)}
        ids = {persons[id(d)]: number for number, d in found}
        self._reported += len(found)
        self.false_positives += sum(persons[id(d)] < 0 for _, d in found)
        self.visible += len(frame.visible)
        for person in frame.visible:
            number, stamp_ns = self._seen.get(person, (self._frames, frame.stamp_ns))
            occluded_s = (frame.stamp_ns - stamp_ns) / NANOSECONDS
            self.reappearances += occluded_s > MIN_OCCLUSION_S and self._frames - number > 1
            self._seen[person] = self._frames, frame.stamp_ns
            if person not in ids:
                self.missed += 1
                self._there[person] = False
                continue
            # Of numbers that are equal but for multiples of the people, all are one.
            owner = self._owner.get(ids[person], person)
            if (owner - person) % self.people:
                self.exchanges += 1
            elif self._ids.get(person, ids[person]) != ids[person]:
                self.to_new += 1
            self._owner[ids[person]] = person
            self.breaks += not self._there.get(person, True) and person in self._ids
            self._ids[person], self._there[person] = ids[person], True
            self._both[person, ids[person]] += 1
        self._frames += 1
        if self.first_ns < 0:
            self.first_ns = frame.stamp_ns
        self.last_ns = frame.stamp_ns

    @property
    def minutes(self) -> float:
        return (self.last_ns - self.first_ns) / 60 / NANOSECONDS

    @property
    def mota(self) -> float:
        return (
            1 - (self.missed + self.false_positives + self.to_new + self.exchanges) / self.visible
        )

    @property
    def idf1(self) -> float:
        people, ids = (sorted({pair[i] for pair in self._both}) for i in (0, 1))
        table = np.array([[self._both[p, i] for i in ids] for p in people], dtype=float)
        right = sum(table[pair] for pair in assign(table, 0.5))
        return float(2 * right / (self.visible + self._reported))


def measure(scene: Scene, tracker: Tracker, with_images: bool, least_score: float) -> Score:
    score = Score(scene.people)
    for frame in scene.frames(with_images):
        kept = [(shrunk(d), w) for d, w in zip(frame.detections, frame.persons, strict=True)]
        kept = [(d, w) for d, w in kept if d.score >= least_score]
        frame.detections, frame.persons = [d for d, _ in kept], [w for _, w in kept]
        begin = time.process_time()
        if with_images:
            found = tracker.update(frame.detections, frame.stamp_ns, frame.image)
        else:
            found = tracker.update(frame.detections, frame.stamp_ns)
        score.seconds.append(time.process_time() - begin)
        score.add(frame, found)
    return score


HEADER = (
    "| people | Hz | | reappearances | to new ids | exchanges | breaks | MOTA | IDF1 "
    "| CPU ms, median, 99 % |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)


def row(people: int, rate: float, name: str, scores: list[Score]) -> str:
    minutes = sum(s.minutes for s in scores)
    times = 1000 * np.concatenate([s.seconds for s in scores])
    return (
        f"| {people} | {rate:g} | {name} | {sum(s.reappearances for s in scores) / minutes:.0f} "
        f"| {sum(s.to_new for s in scores) / minutes:.1f} "
        f"| {sum(s.exchanges for s in scores) / minutes:.1f} "
        f"| {sum(s.breaks for s in scores) / minutes:.1f} "
        f"| {np.mean([s.mota for s in scores]):.3f} | {np.mean([s.idf1 for s in scores]):.3f} "
        f"| {np.median(times):.2f}, {np.percentile(times, 99):.2f} |"
    )


def demo(found: list[list[Pose2D]], pictures: list[np.ndarray] | None) -> str:
    """The ids that each of the demo's people had, with their numbers of frames."""
    tracker = PeopleTracker(BLAZEPOSE33)
    ids: dict[str, Counter[int]] = {name: Counter() for name in (*PATHS, "false positives")}
    for index, (detections, people) in enumerate(zip(found, labelled(found), strict=True)):
        names = {id(d): name for name, d in people.items()}
        stamp_ns = round(index / RATE_HZ * NANOSECONDS)
        pairs = [(shrunk(d), names.get(id(d), "false positives")) for d in detections]
        image = pictures[index] if pictures else None
        size = (round(SIZE[0] * SHRUNK), round(SIZE[1] * SHRUNK))
        for d in tracker.update_keypoints([d for d, _ in pairs], size, stamp_ns, image):
            ids[next(n for other, n in pairs if other.keypoints is d.keypoints)][d.track_id] += 1
    out = "; ".join(f"{name}: {dict(c)}" for name, c in ids.items())
    counts = {Reason(key).value: count for key, count in tracker.counts.items()}
    return f"{out}; rejected: {counts}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--people", type=int, nargs="+", default=[2, 5, 10, 20])
    parser.add_argument("--rates", type=float, nargs="+", default=[30.0, 10.0, 5.0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()

    found, pictures = demo_detections(), demo_pictures()
    people = list(labelled(found))
    print(f"{machine()}; {load()}\n")
    print("ids on the demo, with their numbers of frames")
    print("  keypoints alone  ", demo(found, None))
    print("  with appearance  ", demo(found, pictures))
    print()
    sources = {name: Source(name, people, pictures) for name in SOURCES}
    print(HEADER)
    for count in args.people:
        for rate in args.rates:
            for name, with_images in (("keypoints", False), ("with appearance", True)):
                scores = [
                    measure(
                        Scene(sources, count, rate, args.seconds, seed), Tracker(), with_images, 0.2
                    )
                    for seed in range(args.seeds)
                ]
                print(row(count, rate, name, scores), flush=True)


if __name__ == "__main__":
    main()
