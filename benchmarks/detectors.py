"""The two detectors beside each other, on the demo video: time, and how far they agree.

python benchmarks/detectors.py                 # full, one thread, a minute or two
taskset -c 0 python benchmarks/detectors.py    # holds MediaPipe to one core too

Both look at each picture in turns, so that whatever else the machine does slows down both alike.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, field

import cv2
import numpy as np

from emf_ros.detect.base import Detection, DetectorError
from emf_ros.detect.blazepose import SEARCH_EVERY, BlazePoseDetector
from emf_ros.detect.mediapipe import MediaPipeDetector
from emf_ros.detect.weights import ModelUnavailable, ensure_demo_video
from emf_ros.machine import machine
from emf_ros.video import frames_of, open_source

SIZES = ((1768, 994), (640, 360))
MIN_SCORE = 0.4

#: Frames of the demo video in which one person is seen, and two; how often they are played, forth
#: and back; how many people are looked for.
CASES = (
    ("one person, 1 looked for", 20, 56, 3, 1),
    ("one person, 2 looked for", 20, 56, 3, 2),
    ("two people, 2 looked for", 58, 160, 1, 2),
    ("the whole video once, 2 looked for", 0, 230, 0, 2),
)
#: Two detections of one person are no further apart than this share of its height.
PAIRED = 0.2


@dataclass
class Figures:
    """Of one case: each detector's times, what it found, and the distances of what both found."""

    ms: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))
    cpu_ms: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))
    found: list[int] = field(default_factory=lambda: [0, 0])
    distances: list[np.ndarray] = field(default_factory=list)

    def compare(self, ours: list[Detection], theirs: list[Detection]) -> None:
        """Note (33,) distances of the keypoints, as shares of the person's height, per pair."""
        self.found[0] += len(ours)
        self.found[1] += len(theirs)
        for other in theirs:
            height = float(other.box()[3])
            apart = [
                np.linalg.norm(own.keypoints[:, :2] - other.keypoints[:, :2], axis=1) / height
                for own in ours
            ]
            if apart and np.median(best := min(apart, key=np.median)) < PAIRED:
                self.distances.append(best)

    def row(self, name: str) -> str:
        ours, theirs = (np.percentile(ms, (50, 95)) for ms in self.ms)
        cpu = [float(np.median(ms)) for ms in self.cpu_ms]
        apart = 100 * np.percentile(np.concatenate(self.distances), (50, 90))
        return (
            f"| {name} | {ours[0]:.1f} / {ours[1]:.1f} | {theirs[0]:.1f} / {theirs[1]:.1f} "
            f"| {ours[0] / theirs[0]:.2f} | {cpu[0] / cpu[1]:.2f} "
            f"| {self.found[0]} / {self.found[1]} | {apart[0]:.2f} / {apart[1]:.2f} |"
        )


def measure(
    frames: list[np.ndarray], people: int, variant: str, threads: int, search_every: int
) -> Figures:
    """Run both detectors on the frames."""
    ours = BlazePoseDetector(variant, people, MIN_SCORE, "cpu", threads, search_every)
    theirs = MediaPipeDetector(variant, people, MIN_SCORE)
    figures = Figures()
    for index, frame in enumerate(frames):
        found = []
        for which, detector in enumerate((ours, theirs)):
            begin, cpu = time.perf_counter(), time.process_time()
            found.append(detector.detect(frame, index * 33_333_333))
            # The first pictures of a run fill caches and start threads.
            if index >= 3:
                figures.ms[which].append(1000 * (time.perf_counter() - begin))
                figures.cpu_ms[which].append(1000 * (time.process_time() - cpu))
        figures.compare(*found)
    ours.close()
    theirs.close()
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variant", default="full", choices=("lite", "full", "heavy"))
    parser.add_argument("--threads", type=int, default=1, help="of blazepose; mediapipe takes all")
    parser.add_argument("--search-every", type=int, default=SEARCH_EVERY)
    options = parser.parse_args()
    try:
        source = open_source(ensure_demo_video())
        frames = [picture for _, _, picture in frames_of(source)]
        source.close()
        print(f"{machine()}\n{options.variant}, blazepose on {options.threads} threads\n")
        print(
            "| case | blazepose ms p50 / p95 | mediapipe | ratio | of CPU time | people found ",
            end="",
        )
        print("| apart, % of the height, p50 / p90 |\n|---|---|---|---|---|---|---|")
        for width, height in SIZES:
            small = [
                cv2.resize(
                    cv2.cvtColor(f, cv2.COLOR_BGR2RGB),
                    (width, height),
                    interpolation=cv2.INTER_AREA,
                )
                for f in frames
            ]
            for name, first, last, times, people in CASES:
                clip = small[first:last]
                figures = measure(
                    (clip + clip[-2:0:-1]) * times or clip,
                    people,
                    options.variant,
                    options.threads,
                    options.search_every,
                )
                print(figures.row(f"{width}x{height}, {name}"), flush=True)
    except (DetectorError, ModelUnavailable) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
