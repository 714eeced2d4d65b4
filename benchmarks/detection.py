"""Recall, error and time of each detector.

python benchmarks/detection.py                        # all cases, some ten minutes
python benchmarks/detection.py --people 10 --model /models/rtmo-s.onnx
taskset -c 0 python benchmarks/detection.py           # one core, and one thread, for all

The pseudo-truth is MediaPipe heavy. A clip is either the demo video, or a composite: people of the
video, cut out by MediaPipe's own masks, side by side before its background. Their truth is heavy's
on the original image. All detectors take turns on each image, so that other load of the machine
slows them down alike.

A person is detected if the median distance of the twelve joints of the body is under
`MAX_DISTANCE` of the height. Any other detection, and a second one of a person, is a false
positive. On the demo itself false positives are not counted: nearly all are people that heavy
misses. Ratios are of the median times. The first images of a run fill caches and start threads, and
are not timed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from emf_ros.detect.factory import make_detector
from emf_ros.detect.mediapipe_bundle import ensure_pose_task
from emf_ros.detect.protocol import Detector, DetectorError, body_joints
from emf_ros.downloads.cache import DownloadError
from emf_ros.downloads.videos import ensure_demo_video
from emf_ros.io.video import frames_of, open_source
from emf_ros.runtime.machine import load, machine
from emf_ros.skeletons import BLAZEPOSE33, Layout
from emf_ros.track import QualityGate
from emf_ros.track.association import assign
from emf_ros.types import Pose2D

SIZES = ((1768, 994), (640, 360))
RATE_HZ = 30.0
MIN_SCORE = 0.4
#: Maximum median distance of a person's detection, as a share of the height.
MAX_DISTANCE = 0.2
UNTIMED = 5
BODY = body_joints(BLAZEPOSE33)
HIPS = [BLAZEPOSE33.index("left_hip"), BLAZEPOSE33.index("right_hip")]
#: Where the demo's people are wholly visible: first and last frame, left and right limit of the
#: middle of the body, px.
SOURCES = {"man": (20, 160, 300, 800), "woman": (66, 180, 180, 1500)}
#: By the number of people in a composite: their sizes, nearer and farther.
SCALES = {0: (1.0, 1.0), 1: (1.0, 1.0), 2: (1.0, 1.0), 5: (0.85, 0.85), 10: (0.65, 0.5)}
#: Row of the feet of a person of the size in the video, px.
FEET_Y = 930.0
#: Row of the horizon, px.
HORIZON_Y = 560.0
FRAMES = 90
#: Maximum number of people that detectors report on the empty background.
MAX_PEOPLE_ON_BACKGROUND = 5

BACKENDS = (
    ("blazepose", "lite"),
    ("blazepose", "full"),
    ("blazepose", "heavy"),
    ("mediapipe", "lite"),
    ("mediapipe", "full"),
    ("mediapipe", "heavy"),
)


@dataclass
class Clip:
    """Images with the true keypoints.

    Attributes:
        frames: (H, W, 3) uint8 RGB each.
        truth: per frame the keypoints (33, 3) of each person.
    """

    frames: list[np.ndarray]
    truth: list[list[np.ndarray]]

    def resized(self, size: tuple[int, int]) -> Clip:
        """The same at another (width, height)."""
        height, width = self.frames[0].shape[:2]
        if (width, height) == size:
            return self
        scale = np.array([size[0] / width, size[1] / height])
        frames = [cv2.resize(f, size, interpolation=cv2.INTER_AREA) for f in self.frames]
        truth = [
            [np.column_stack([(p[:, :2] + 0.5) * scale - 0.5, p[:, 2]]) for p in people]
            for people in self.truth
        ]
        return Clip(frames, truth)


@dataclass
class CutOut:
    """A real person.

    Attributes:
        keypoints: (33, 3) px from the cut's corner.
        picture: (h, w, 3) uint8 RGB.
        mask: (h, w) 0..1.
        corner: (x, y) px of the video, the cut's.
    """

    keypoints: np.ndarray
    picture: np.ndarray
    mask: np.ndarray
    corner: tuple[int, int]

    @property
    def hips_x(self) -> float:
        """px, from the cut's left edge."""
        return float(self.keypoints[HIPS, 0].mean())


def demo() -> tuple[Clip, dict[str, list[CutOut]], np.ndarray]:
    """The demo video with the pseudo-truth, its people cut out, and its background."""
    from mediapipe import Image, ImageFormat
    from mediapipe.tasks.python import BaseOptions, vision

    source = open_source(str(ensure_demo_video()))
    frames = [cv2.cvtColor(p, cv2.COLOR_BGR2RGB) for _, _, p in frames_of(source)]
    source.close()
    height, width = frames[0].shape[:2]
    landmarker = vision.PoseLandmarker.create_from_options(
        vision.PoseLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(ensure_pose_task("heavy"))),
            running_mode=vision.RunningMode.VIDEO,
            num_poses=2,
            output_segmentation_masks=True,
        )
    )
    gate = QualityGate(BLAZEPOSE33, min_score=MIN_SCORE)
    truth: list[list[np.ndarray]] = []
    people: dict[str, list[CutOut]] = {name: [] for name in SOURCES}
    empty = []
    for index, frame in enumerate(frames):
        result = landmarker.detect_for_video(
            Image(image_format=ImageFormat.SRGB, data=frame), round(1000 * index / RATE_HZ)
        )
        poses = [
            np.array([(p.x * width - 0.5, p.y * height - 0.5, p.visibility) for p in landmarks])
            for landmarks in result.pose_landmarks
        ]
        found = [Pose2D(pose, float(pose[BODY, 2].mean())) for pose in poses]
        plausible, _ = gate.select(found, (width, height))
        truth.append([d.keypoints for d in plausible])
        masks = [m.numpy_view().reshape(height, width) for m in result.segmentation_masks or ()]
        for detection, mask in zip(found, masks, strict=True):
            middle = detection.keypoints[BODY, 0].mean()
            for name, (first, last, left, right) in SOURCES.items():
                low, high = (
                    detection.keypoints[:, :2].min(axis=0),
                    detection.keypoints[:, :2].max(axis=0),
                )
                is_man = high[1] < 0.5 * height
                if first <= index <= last and left < middle < right and is_man == (name == "man"):
                    people[name].append(_cut_out(frame, mask, detection.keypoints, low, high))
        if index % 10 == 0:
            around = np.max(masks, axis=0) if masks else np.zeros((height, width), np.float32)
            near_person = cv2.dilate(around, np.ones((41, 41), np.uint8)) > 0.1
            empty.append(np.where(near_person[..., None], np.nan, frame.astype(np.float32)))
    landmarker.close()
    background = np.nan_to_num(np.nanmedian(empty, axis=0), nan=128).astype(np.uint8)
    return Clip(frames, truth), people, background


def _cut_out(
    frame: np.ndarray, mask: np.ndarray, keypoints: np.ndarray, low: np.ndarray, high: np.ndarray
) -> CutOut:
    margin = 0.15 * (high[1] - low[1])
    limit = np.array(frame.shape[1::-1])
    left, top = np.clip(low - margin, 0, limit).astype(int)
    right, bottom = np.clip(high + margin, 0, limit).astype(int)
    return CutOut(
        keypoints - (left, top, 0),
        frame[top:bottom, left:right].copy(),
        mask[top:bottom, left:right].astype(np.float32),
        (int(left), int(top)),
    )


def composite(people: dict[str, list[CutOut]], background: np.ndarray, count: int) -> Clip:
    """A clip of `count` people side by side, each walking on the spot and swaying a little."""
    random = np.random.default_rng(count)
    height, width = background.shape[:2]
    starts = random.integers(0, 1000, count)
    frames, truth = [], []
    for index in range(FRAMES):
        canvas, there = background.copy(), []
        # Those behind first.
        for number in sorted(range(count), key=lambda n: SCALES[count][n % 2]):
            cuts = people["man" if number % 4 == 2 else "woman"]
            place = (starts[number] + index) % (2 * len(cuts) - 2)
            cut = cuts[min(place, 2 * len(cuts) - 2 - place)]
            scale = SCALES[count][number % 2]
            x = (number + 0.5) / count * width
            x += 0.1 * width / count * np.sin(0.1 * index + starts[number])
            feet = HORIZON_Y + scale * (FEET_Y - HORIZON_Y)
            keypoints, _ = stand(canvas, cut, scale, x, feet, mirrored=bool(number % 3 == 1))
            there.append(keypoints)
        frames.append(canvas)
        truth.append(there)
    return Clip(frames, truth)


def stand(
    canvas: np.ndarray,
    cut: CutOut,
    scale: float,
    x: float,
    feet: float,
    mirrored: bool,
    dye: np.ndarray | float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a person.

    Args:
        canvas: (H, W, 3) uint8, drawn upon.
        scale: of the size in the video.
        x, feet: px, of the hips and of the lower foot.
        dye: (3,) gain of red, green and blue.

    Returns:
        keypoints (33, 3) and mask (H, W) 0..1.
    """
    picture, mask, keypoints, hips = cut.picture, cut.mask, cut.keypoints.copy(), cut.hips_x
    if mirrored:
        keypoints = keypoints[list(BLAZEPOSE33.mirror)]
        last = picture.shape[1] - 1
        keypoints[:, 0], hips = last - keypoints[:, 0], last - hips
        picture, mask = picture[:, ::-1], mask[:, ::-1]
    shift = np.array([x - scale * hips, feet - scale * keypoints[BODY, 1].max()])
    matrix = np.column_stack([scale * np.eye(2), shift])
    size = canvas.shape[1::-1]
    picture = (picture * dye).clip(0, 255).astype(np.uint8)
    alpha = cv2.warpAffine(np.ascontiguousarray(mask), matrix, size)
    drawn = cv2.warpAffine(picture, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    canvas[:] = (canvas + alpha[..., None] * (drawn.astype(np.float32) - canvas)).round()
    keypoints[:, :2] = scale * keypoints[:, :2] + shift
    return keypoints, alpha


def assigned(
    detections: list[Pose2D],
    truth: list[np.ndarray],
    layout: Layout,
    before: Collection[tuple[int, int]] = (),
) -> dict[tuple[int, int], np.ndarray]:
    """Assign detections to people.

    Pairs of the image `before` are kept while they are near enough, as in CLEAR MOT (Bernardin,
    Stiefelhagen, 2008).

    Returns:
        The distances of the body's joints (12,), as shares of the height, by the numbers of the
        person and of the detection.
    """
    mine = [layout.index(BLAZEPOSE33.joints[j]) for j in BODY]
    apart = np.full((len(truth), len(detections), len(BODY)), np.inf)
    for i, person in enumerate(truth):
        tall = float(np.ptp(person[:, 1]))
        for k, detection in enumerate(detections):
            offset = detection.keypoints[mine, :2] - person[BODY, :2]
            apart[i, k] = np.linalg.norm(offset, axis=1) / tall
    near = 1 - np.median(apart, axis=2) / MAX_DISTANCE
    near = np.maximum(near, 0.0)
    for pair in before:
        near[pair] += len(truth) * (near[pair] > 0)
    pairs = assign(near, 1e-6) if near.size else []
    return {pair: apart[pair] for pair in pairs}


@dataclass
class Figures:
    """Of one detector on one clip."""

    ms: list[float] = field(default_factory=list)
    people: int = 0
    found: int = 0
    late: list[int] = field(default_factory=lambda: [0, 0])
    false_positives: int = 0
    distances: list[np.ndarray] = field(default_factory=list)

    def add(
        self, detections: list[Pose2D], truth: list[np.ndarray], layout: Layout, is_late: bool
    ) -> None:
        """Add the detections of one image; `is_late`: it is of the last second."""
        pairs = assigned(detections, truth, layout)
        self.people += len(truth)
        self.found += len(pairs)
        if is_late:
            self.late[0] += len(pairs)
            self.late[1] += len(truth)
        self.false_positives += len(detections) - len(pairs)
        self.distances += pairs.values()

    def row(self, case: str, name: str, reference_ms: float, with_false_positives: bool) -> str:
        p50, p95 = np.percentile(self.ms, (50, 95))
        recall = f"{self.found / self.people:.3f}" if self.people else "-"
        if self.late[1]:
            recall += f", {self.late[0] / self.late[1]:.3f}"
        error = (
            "{:.1f} / {:.1f}".format(
                *(100 * np.nanpercentile(np.concatenate(self.distances), (50, 90)))
            )
            if self.distances
            else "-"
        )
        return (
            f"| {case} | {name} | {p50:.1f} / {p95:.1f} | {p50 / reference_ms:.2f} "
            f"| {recall} | {self.false_positives if with_false_positives else '-'} | {error} |"
        )


HEADER = (
    "| pictures | detector | ms p50 / p95 | to mediapipe full | recall, in the last second "
    "| false positives | error, % of the height, p50 / p90 |\n|---|---|---|---|---|---|---|"
)


def detectors(options: argparse.Namespace, people: int) -> Iterator[tuple[str, Detector]]:
    """Each detector with its name, set up anew."""
    for backend, variant in BACKENDS:
        if f"{backend} {variant}" in options.only or not options.only:
            detector = make_detector(backend, variant, people, MIN_SCORE, device="cpu")
            yield f"{backend} {variant}", detector
    for model in options.model:
        yield (
            model.stem,
            make_detector("onnx", "", people, MIN_SCORE, model=str(model), device="cpu"),
        )


def measure(clip: Clip, case: str, people: int, options: argparse.Namespace) -> None:
    """Print a row for each detector."""
    running = list(detectors(options, people))
    figures = {name: Figures() for name, _ in running}
    gates = {name: QualityGate(detector.layout, min_score=MIN_SCORE) for name, detector in running}
    size = clip.frames[0].shape[1::-1]
    for index, (frame, truth) in enumerate(zip(clip.frames, clip.truth, strict=True)):
        for name, detector in running:
            begin = time.perf_counter()
            found = detector.detect(frame, round(index * 1e9 / RATE_HZ))
            if index >= UNTIMED:
                figures[name].ms.append(1000 * (time.perf_counter() - begin))
            plausible, _ = gates[name].select(found, (size[0], size[1]))
            is_late = index >= len(clip.frames) - RATE_HZ
            figures[name].add(plausible, truth, detector.layout, is_late)
    for _, detector in running:
        detector.close()
    reference = figures.get("mediapipe full", next(iter(figures.values())))
    for name, of_it in figures.items():
        row = of_it.row(case, name, float(np.median(reference.ms)), "demo" not in case)
        print(row, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--people", type=int, nargs="*", default=list(SCALES), choices=list(SCALES))
    parser.add_argument("--only", nargs="*", default=[], help="such as 'blazepose full'")
    parser.add_argument("--model", type=Path, nargs="*", default=[], help="your own, detector onnx")
    parser.add_argument("--save", type=Path, help="a folder for a picture of each clip")
    options = parser.parse_args()
    try:
        video, people, background = demo()
        clips = [("the demo", 2, video), ("the demo, max_people 8", 8, video)] + [
            (
                f"{count} people",
                count or MAX_PEOPLE_ON_BACKGROUND,
                composite(people, background, count),
            )
            for count in options.people
        ]
        print(f"{machine()}; {load()}\n\n{HEADER}")
        for name, count, clip in clips:
            if options.save:
                options.save.mkdir(parents=True, exist_ok=True)
                middle = cv2.cvtColor(clip.frames[len(clip.frames) // 2], cv2.COLOR_RGB2BGR)
                cv2.imwrite(str(options.save / f"{name.replace(' ', '_')}.png"), middle)
            for size in SIZES:
                measure(clip.resized(size), f"{name}, {size[0]}x{size[1]}", count, options)
    except (DetectorError, DownloadError, ImportError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
