"""People that are visible in part: errors, and whether the stated spreads match them.

python benchmarks/partial_people.py --mocap DIR [--weights FILE] [--people 300]

Motion capture is seen through random cameras by a simulated detector. Parts of the body are then
removed, and the live pipeline lifts the rest. A "missing" part has no keypoints. A "guessed" part
has wrong keypoints with low scores, as BlazePose reports what it cannot see. In the row "close"
only the edges of the image remove anything: the camera is 0.5 to 1 m away from the person.

Columns of the root: median relative error of the distance, its bias, share of the people with a
root, share of the errors along the ray within one stated standard deviation, and share of the
people with an error over 15 % and over twice the stated standard deviation.

Columns of the joints: mean number per person, MPJPE relative to the pelvis, median stated standard
deviation, and share of the errors along an axis within it.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
import torch

from emf_ros.geometry.camera import Camera
from emf_ros.lift.config import PipelineConfig
from emf_ros.lift.engine import Engine, make_engine
from emf_ros.lift.pipeline import LiftPipeline
from emf_ros.runtime.machine import machine
from emf_ros.skeletons import H36M17
from emf_ros.train.detector_errors import DetectorErrors, Failure
from emf_ros.train.mocap import WindowSampler, load_mocap
from emf_ros.train.synthesis import CameraRanges, Synthesizer
from emf_ros.types import Frame2D, Pose2D

HEAD = ("nose", "head_top", "thorax")
SHOULDERS = ("left_shoulder", "right_shoulder")
ARMS = ("left_elbow", "right_elbow", "left_wrist", "right_wrist")
HIPS = ("pelvis", "left_hip", "right_hip")
LEGS = ("left_knee", "right_knee", "left_ankle", "right_ankle")
TRUNK = (*SHOULDERS, "thorax", "spine", *HIPS)
#: Seen joints by name of the row. Without hips there is neither pelvis nor spine.
PARTS = {
    "whole": H36M17.joints,
    "no feet": tuple(j for j in H36M17.joints if not j.endswith("ankle")),
    "upper body": (*HEAD, *TRUNK, *ARMS),
    "bust and arms": (*HEAD, *SHOULDERS, *ARMS),
    "bust": (*HEAD, *SHOULDERS, "left_elbow", "right_elbow"),
    "trunk": TRUNK,
    "legs": (*HIPS, *LEGS),
    "one side": tuple(j for j in H36M17.joints if not j.startswith("left_")),
}
#: Score of a guessed keypoint.
GUESS_SCORE = 0.05
#: Standard deviation of a guessed keypoint's error, as a share of the person's size.
GUESS_ERROR = 0.1
#: Frames per second of the keypoints.
RATE_HZ = 30.0
#: Minimum and maximum distance in the row "close", m.
CLOSE_M = (0.5, 1.0)


def filmed(
    mocap: str, people: int, frames: int, seed: int, close: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rays (P, T, 17, 2), scores (P, T, 17), and truth (P, T, 17, 3) m in the camera's frame."""
    device = torch.device("cpu")
    # Only this benchmark removes anything.
    errors = replace(DetectorErrors(), missing=Failure(0.0, 1.0))
    cameras = replace(CameraRanges(), replicated_start=0.0)
    if close:
        cameras = replace(cameras, distance_m=CLOSE_M, pitch_deg=(-10.0, 10.0))
    synthesizer = Synthesizer(device, seed, cameras, errors)
    clips = load_mocap(mocap, "validation")
    sampler = WindowSampler(clips, RATE_HZ, device)
    motion = sampler.draw(people, frames, synthesizer.generator, (0.7, 1.4))
    batch = synthesizer.batch(motion)
    return batch.rays.double().numpy(), batch.scores.double().numpy(), batch.joints.double().numpy()


def partly(
    rays: np.ndarray, scores: np.ndarray, seen: tuple[str, ...], guessed: bool, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rays and scores of which only the joints named in `seen` are left."""
    missing = np.array([j not in seen for j in H36M17.joints])
    scores = np.where(missing, GUESS_SCORE if guessed else 0.0, scores)
    size = np.linalg.norm(np.ptp(rays, axis=2), axis=-1)[:, :, None, None]
    # The errors of guesses hardly change from image to image.
    error = np.random.default_rng(seed).normal(scale=GUESS_ERROR, size=(len(rays), 1, 17, 2))
    return np.where(missing[:, None], rays + size * error, rays), scores


def lifted(engine: Engine, rays: np.ndarray, scores: np.ndarray) -> list:
    """The person of each row in the last image; None without a pose."""
    camera = Camera(np.array([[1000.0, 0, 0], [0, 1000.0, 0], [0, 0, 1]]), (100_000, 100_000))
    config = PipelineConfig(max_people=len(rays), swap_correction=False)
    pipeline = LiftPipeline(engine, config)
    pipeline.set_camera(camera)
    for t in range(rays.shape[1]):
        keypoints = np.concatenate([1000.0 * rays[:, t], scores[:, t, :, None]], axis=-1)
        keypoints[scores[:, t] == 0] = (np.nan, np.nan, 0.0)
        people = [Pose2D(k, track_id=i) for i, k in enumerate(keypoints)]
        stamp_ns = round(t / RATE_HZ * 1e9)
        pipeline.observe(Frame2D(stamp_ns, "", H36M17.name, camera.size, people))
    result = pipeline.lift()
    found = {p.track_id: p for p in result.people} if result is not None else {}
    return [found.get(i) for i in range(len(rays))]


def figures(people: list, truth: np.ndarray) -> list[float]:
    """The columns of the table, from truth (P, 17, 3)."""
    off, spread, joint_off, joint_spread, given = [], [], [], [], []
    for person, true in zip(people, truth, strict=True):
        if person is None:
            continue
        known = np.isfinite(person.joints).all(axis=-1)
        given.append(known.sum())
        if person.root_valid:
            ray = person.root / np.linalg.norm(person.root)
            distance = np.linalg.norm(true[0])
            off.append((np.linalg.norm(person.root) - distance) / distance)
            spread.append(np.sqrt(ray @ person.root_covariance @ ray) / distance)
        if known.any():
            own = person.joints[known] - (person.root if person.root_valid else 0.0)
            moved = np.flatnonzero(known)
            joint_off.append((own - (true[moved] - true[0]))[moved > 0])
            joint_spread.append(person.stddev[known][moved > 0])
    away, stated = np.array(off), np.array(spread)
    errors, spreads = np.concatenate(joint_off), np.concatenate(joint_spread)
    return [
        100 * float(np.median(np.abs(away))) if len(away) else np.nan,
        100 * float(np.median(away)) if len(away) else np.nan,
        100 * len(away) / len(truth),
        100 * float((np.abs(away) < stated).mean()) if len(away) else np.nan,
        100 * float(((np.abs(away) > 0.15) & (stated < 0.5 * np.abs(away))).mean())
        if len(away)
        else np.nan,
        float(np.mean(given)),
        1000 * float(np.linalg.norm(errors, axis=-1).mean()),
        1000 * float(np.median(spreads)),
        100 * float((np.abs(errors) < spreads[:, None]).mean()),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mocap", required=True, help="folder of motion capture")
    parser.add_argument("--preset", default="lite")
    parser.add_argument("--weights", help="in place of the preset's")
    parser.add_argument("--people", type=int, default=300, help="of each row (300)")
    parser.add_argument("--seed", type=int, default=3)
    args = parser.parse_args()
    engine = make_engine(args.preset, args.weights, "cpu")
    print(f"{machine()}; {engine.description}\n")
    head = ["seen", "root off, %", "bias, %", "given, %", "inside, %", "overconfident, %"]
    head += ["joints given", "MPJPE, mm", "stddev, mm", "inside, %"]
    print(f"| {' | '.join(head)} |\n|{' --- |' * len(head)}")
    frames = engine.config.frames + 4
    rays, scores, truth = filmed(args.mocap, args.people, frames, args.seed)

    def row(title: str, rays: np.ndarray, scores: np.ndarray, truth: np.ndarray) -> None:
        values = figures(lifted(engine, rays, scores), truth[:, -1])
        print(f"| {title} | {' | '.join(f'{v:.1f}' for v in values)} |", flush=True)

    for guessed in (False, True):
        for name, seen in PARTS.items():
            if name == "whole" and guessed:
                continue
            title = f"{name}, rest {'guessed' if guessed else 'missing'}"
            row(title, *partly(rays, scores, seen, guessed, args.seed), truth)
    row("close", *filmed(args.mocap, args.people, frames, args.seed, close=True))


if __name__ == "__main__":
    main()
