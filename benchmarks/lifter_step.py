"""One step of the lifter: everything between keypoints and metric skeletons, by number of people.

python benchmarks/lifter_step.py
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from emf_ros.camera import Camera
from emf_ros.lift.engine import Engine, OnnxEngine, TorchEngine, default_threads
from emf_ros.lift.pipeline import KeypointFrame, LiftPipeline, Person2D, PipelineConfig
from emf_ros.machine import load, machine
from emf_ros.paths import share_folder

CAMERA = Camera.from_fov(1280, 720, 60.0)


def walking(people: int, index: int) -> list[Person2D]:
    """Keypoints that move; what they show is of no matter to the time that a step takes."""
    rng = np.random.default_rng(7)
    out = []
    for i in range(people):
        keypoints = np.empty((17, 3))
        keypoints[:, :2] = rng.normal((640, 360), (60, 150), (17, 2))
        keypoints[:, 0] += 3 * index + 10 * i
        keypoints[:, 2] = 0.9
        out.append(Person2D(i + 1, keypoints))
    return out


def step_ms(engine: Engine, people: int, repeats: int) -> tuple[float, float]:
    """Median and 95th percentile of a step with full windows, ms."""
    pipeline = LiftPipeline(engine, PipelineConfig(max_people=people))
    pipeline.set_camera(CAMERA)
    times = []
    for index in range(engine.config.frames + repeats):
        frame = KeypointFrame(index * 33_333_333, "", "h36m17", CAMERA.size, walking(people, index))
        begin = time.perf_counter()
        result = pipeline.update(frame)
        times.append(1000 * (time.perf_counter() - begin))
        assert result is not None and len(result.people) == people
    measured = times[engine.config.frames :]
    return float(np.median(measured)), float(np.percentile(measured, 95))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="lite")
    parser.add_argument("--repeats", type=int, default=60)
    args = parser.parse_args()
    folder, threads = share_folder("models"), default_threads()
    print(f"lifter step, {args.preset}, {machine()}, {load()}")
    print(f"{'engine':<22}{'people':>7}{'p50 ms':>9}{'p95 ms':>9}{'ms a person':>13}")
    for name, engine in (
        (f"onnxruntime, {threads} threads", OnnxEngine(folder / f"{args.preset}.onnx", threads)),
        ("onnxruntime, 1 thread", OnnxEngine(folder / f"{args.preset}.onnx", 1)),
        (
            f"torch, {threads} threads",
            TorchEngine(folder / f"{args.preset}.safetensors", "cpu", threads),
        ),
    ):
        for people in (1, 2, 4, 8):
            p50, p95 = step_ms(engine, people, args.repeats)
            print(f"{name:<22}{people:>7}{p50:>9.1f}{p95:>9.1f}{p50 / people:>13.1f}")


if __name__ == "__main__":
    main()
