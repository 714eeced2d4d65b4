"""Id switches of crossing people, with a real detector.

python benchmarks/crossings.py                    # some five minutes
python benchmarks/crossings.py --people 5 --rates 10 --save crossing.mp4

The woman of the demo video is cut out, copied, mirrored, dyed and scaled. The copies walk across
the video's background from both sides. All of them meet within a second or two. Detector,
plausibility checks and tracker get every image, or every third one, as in a busy node. In
tracking.py detections are simulated. Here they are real: ROIs slide from one person to another, and
poses merge.

A person is visible while half of the own pixels are visible. A switch is an id other than the
person's last one. It is an exchange if another person had that id before, else a new id. The
figures are per minute of crossing.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from detection import FEET_Y, HORIZON_Y, CutOut, assigned, demo, stand

from emf_ros.detect.protocol import DetectorError
from emf_ros.downloads.cache import DownloadError
from emf_ros.io.render.overlay import draw_keypoints
from emf_ros.people import PeopleTracker
from emf_ros.runtime.machine import load, machine

RATE_HZ = 30
#: Time between the starts of the first and the last walker, frames.
STAGGER = 45
#: Minimum visible share of a visible person's pixels.
MIN_VISIBLE = 0.5


@dataclass
class Walker:
    """A copy of the woman.

    Attributes:
        start: frame.
        to_the_right: mirrored, as she walks to the left in the video.
        scale: of her size.
        middle: px, the middle of the way.
        dye: (3,) gain of red, green and blue.
    """

    start: int
    to_the_right: bool
    scale: float
    middle: float
    dye: np.ndarray


@dataclass
class Frame:
    """An image and the truth.

    Attributes:
        picture: (H, W, 3) uint8 RGB.
        people: keypoints (33, 3) of all people, by number.
        visible: numbers of the visible people.
    """

    picture: np.ndarray
    people: dict[int, np.ndarray]
    visible: set[int]


def crossing(cuts: list[CutOut], background: np.ndarray, count: int, seed: int) -> list[Frame]:
    """Frames of `count` people that cross."""
    random = np.random.default_rng([count, seed])
    width = background.shape[1]
    walkers = [
        Walker(
            round(STAGGER * number / max(count - 1, 1)),
            bool(number % 2),
            random.uniform(0.6, 1.0),
            width * random.uniform(0.4, 0.6),
            random.uniform(0.5, 1.5, 3),
        )
        for number in random.permutation(count)
    ]
    way = np.array([cut.corner[0] + cut.hips_x for cut in cuts])
    way -= (way[0] + way[-1]) / 2
    order = sorted(range(count), key=lambda n: walkers[n].scale)
    frames = []
    for index in range(len(cuts) + STAGGER):
        canvas, drawn = background.copy(), {}
        for number in order:
            walker = walkers[number]
            place = index - walker.start
            if not 0 <= place < len(cuts):
                continue
            x = walker.middle + (-1 if walker.to_the_right else 1) * walker.scale * way[place]
            feet = HORIZON_Y + walker.scale * (FEET_Y - HORIZON_Y)
            drawn[number] = stand(
                canvas, cuts[place], walker.scale, x, feet, walker.to_the_right, walker.dye
            )
        people = {number: keypoints for number, (keypoints, _) in drawn.items()}
        frames.append(Frame(canvas, people, _visible(drawn)))
    return frames


def _visible(drawn: dict[int, tuple[np.ndarray, np.ndarray]]) -> set[int]:
    """The visible ones of the people, which are in the order of drawing."""
    people = set()
    masks = {number: mask[::4, ::4] for number, (_, mask) in drawn.items()}
    numbers = list(drawn)
    for place, number in enumerate(numbers):
        seen = masks[number].copy()
        for nearer in numbers[place + 1 :]:
            seen *= 1 - masks[nearer]
        if seen.sum() >= MIN_VISIBLE * masks[number].sum() > 0:
            people.add(number)
    return people


@dataclass
class Score:
    """Counts over scenes."""

    seconds: float = 0.0
    visible: int = 0
    missed: int = 0
    false_positives: int = 0
    new: int = 0
    exchanged: int = 0
    _last: dict[int, int] = field(default_factory=dict)
    _owner: dict[int, int] = field(default_factory=dict)

    def add(self, ids: dict[int, int], visible: set[int], reported: int) -> None:
        """Add an image: the ids of the detected people, by the person's number."""
        self.visible += len(visible)
        self.missed += len(visible - set(ids))
        self.false_positives += reported - len(ids)
        for number in visible & set(ids):
            track_id = ids[number]
            if self._last.get(number, track_id) != track_id:
                if self._owner.get(track_id, number) != number:
                    self.exchanged += 1
                else:
                    self.new += 1
            self._last[number] = track_id
            self._owner[track_id] = number

    def owner(self, track_id: int) -> int:
        """The number of the person with this id; -1 without one."""
        number = self._owner.get(track_id, -1)
        return number if self._last.get(number) == track_id else -1

    def anew(self) -> None:
        """Begin another scene with other people."""
        self._last, self._owner = {}, {}


def follow(
    scenes: list[list[Frame]], backend: str, people: int, rate_hz: int, save: Path | None
) -> Score:
    """Run detector, plausibility checks and tracker on scenes."""
    score, writer = Score(), None
    for frames in scenes:
        tracker = PeopleTracker.make(backend, "full", people, device="cpu")
        score.anew()
        for index in range(0, len(frames), RATE_HZ // rate_hz):
            frame, stamp_ns = frames[index], round(index / RATE_HZ * 1e9)
            size = frame.picture.shape[1], frame.picture.shape[0]
            tracked = tracker.update(frame.picture, stamp_ns)
            numbers = list(frame.people)
            before = [
                (numbers.index(owner), k)
                for k, person in enumerate(tracked)
                if (owner := score.owner(person.track_id)) in numbers
            ]
            pairs = assigned(tracked, list(frame.people.values()), tracker.layout, before)
            ids = {numbers[i]: tracked[k].track_id for i, k in pairs}
            score.add(ids, frame.visible, len(tracked))
            if save:
                writer = writer or cv2.VideoWriter(
                    str(save), cv2.VideoWriter.fourcc(*"mp4v"), rate_hz, size
                )
                shown = cv2.cvtColor(frame.picture, cv2.COLOR_RGB2BGR)
                poses = np.array([d.keypoints for d in tracked]).reshape(-1, len(tracker.layout), 3)
                draw_keypoints(
                    shown, poses, np.array([d.track_id for d in tracked], int), tracker.layout
                )
                writer.write(shown)
        score.seconds += len(frames) / RATE_HZ
        tracker.close()
    if writer:
        writer.release()
    return score


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--people", type=int, nargs="+", default=[2, 5])
    parser.add_argument("--rates", type=int, nargs="+", default=[30, 10])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--backends", nargs="+", default=["blazepose", "mediapipe"])
    parser.add_argument("--save", type=Path, help="write a video of the last run")
    options = parser.parse_args()
    try:
        _, everyone, background = demo()
        print(f"{machine()}; {load()}\n")
        print(
            "| people | Hz | detector | seconds | visible | missed | false positives "
            "| new ids a minute | exchanges a minute |\n" + "|---" * 9 + "|"
        )
        for count in options.people:
            scenes = [crossing(everyone["woman"], background, count, s) for s in options.seeds]
            for rate_hz in options.rates:
                for backend in options.backends:
                    score = follow(scenes, backend, 8, rate_hz, options.save)
                    minutes = score.seconds / 60
                    print(
                        f"| {count} | {rate_hz} | {backend} | {score.seconds:.0f} "
                        f"| {score.visible} | {score.missed / score.visible:.3f} "
                        f"| {score.false_positives / score.visible:.3f} "
                        f"| {score.new / minutes:.1f} "
                        f"| {score.exchanged / minutes:.1f} |",
                        flush=True,
                    )
    except (DetectorError, DownloadError, ImportError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
