"""The whole graph on a video: a view in the browser, figures, a recording and an overlay video.

The nodes run in one process, as demo.launch.py starts them. Their messages arrive over DDS.
The demo writes `skeletons.npz`, `overlay.mp4` and `summary.json`.
"""

from __future__ import annotations

import argparse
import math
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import rclpy
import yaml
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

from ..cli.arguments import OneLineParser, add_topic, lag_or_auto, number, whole_number
from ..cli.video import add_camera, camera_of, open_video
from ..detect.weights import ensure_onnx
from ..downloads.cache import DownloadError
from ..downloads.videos import ensure_demo_video
from ..geometry.camera import CameraError
from ..io.frame_source import VideoError
from ..io.outputs import OutputError, check_folder
from ..io.video import times_of
from .composed import CAMERA
from .demo_listener import Listener
from .demo_report import FILES, percentile, report, tell
from .demo_view import DemoView
from .params import KeypointDetectorParams, VideoSourceParams

#: Maximum time until the nodes are ready, s: far more than a busy machine takes.
READY_TIMEOUT_S = 180.0

#: Time after the end of the nodes in which messages still arrive, s.
DRAIN_S = 0.5

#: Maximum time that the nodes take to stop, s. After it they are killed.
STOP_S = 15.0


def _start(namespace: str, folder: Path, parameters: dict[str, dict]) -> subprocess.Popen:
    """Start the nodes with a parameters file, which is written into the folder.

    On a command line, `#` and `: ` in a value would be read as YAML.

    Args:
        namespace: of the nodes.
        folder: for the parameters file.
        parameters: of each node, by its name.
    """
    path = folder / "parameters.yaml"
    sections = {f"/**/{node}": {"ros__parameters": own} for node, own in parameters.items()}
    path.write_text(yaml.safe_dump(sections, allow_unicode=True), encoding="utf-8")
    command = [sys.executable, "-m", "emf_ros.nodes.composed", CAMERA, "--ros-args"]
    command += ["-r", f"__ns:={namespace}", "--log-level", "warn", "--params-file", str(path)]
    return subprocess.Popen(command)


def _stop(process: subprocess.Popen) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=STOP_S)
    except subprocess.TimeoutExpired:
        tell(f"{process.args!r} did not stop within {STOP_S:g} s")
        process.kill()
        process.wait()


def play(args: argparse.Namespace) -> int:
    out = check_folder(args.out, FILES, (args.video, args.camera_info))
    video = Path(args.video) if args.video else ensure_demo_video()
    for network in (None, args.variant):
        ensure_onnx(network)
    source = open_video(str(video), args, tell)
    size, rate_hz, count, times_s = source.size, source.rate_hz, source.count, times_of(source)
    source.close()
    camera = camera_of(source, args, tell)
    # The source takes the same intrinsics. A guess is said here, and not once more by the source.
    intrinsics: dict[str, object] = {
        "fov_deg": math.degrees(2 * math.atan(size[0] / (2 * camera.matrix[0, 0])))
    }
    if args.camera_info:
        intrinsics = {"camera_info_file": args.camera_info, "rectified": args.rectified}
    elif source.camera is not None and args.fov is None:
        intrinsics = {"rectified": args.rectified}

    # A namespace of its own, and no network: other nodes and demos are not disturbed.
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    namespace = f"/emf_demo_{os.getpid()}"
    rclpy.init()
    listener = Listener(namespace, "blazepose33", camera, times_s)
    executor = SingleThreadedExecutor()
    executor.add_node(listener)
    view = None if args.no_view else DemoView.open(namespace, executor)
    begin = time.monotonic()
    process: subprocess.Popen | None = None
    parameter_folder = tempfile.TemporaryDirectory(prefix="emf_ros_demo_")
    parameters: dict[str, dict] = {
        "video_source": {
            "source": str(video.resolve()),
            "source_topic": args.topic,
            "exit_at_end": True,
            "start_when_subscribed": True,
            "rate_hz": float(args.rate or 0.0),
            **intrinsics,
        },
        "keypoint_detector": {"variant": args.variant, "max_people": args.people},
        "skeleton_lifter": {
            "preset": args.preset,
            "device": args.device,
            "lag": int(args.lag) if args.lag.isdecimal() else args.lag,
            "max_people": args.people,
        },
    }
    try:
        process = _start(namespace, Path(parameter_folder.name), parameters)
        while not listener.images:
            executor.spin_once(timeout_sec=0.1)
            if process.poll() is not None:
                tell("the nodes have ended at their start; their message is above")
                return 1
            if time.monotonic() - begin > READY_TIMEOUT_S:
                tell(f"the nodes were not ready within {READY_TIMEOUT_S:g} s")
                return 1
        print(
            f"nodes ready after {time.monotonic() - begin:.1f} s; playing {video.name}: "
            f"{size[0]}x{size[1]}, {rate_hz:.4g} Hz, {count or '?'} frames",
            flush=True,
        )
        _listen(listener, executor, process)
    except (KeyboardInterrupt, ExternalShutdownException):
        tell("stopped early")
    finally:
        if process is not None:
            _stop(process)
        parameter_folder.cleanup()
        executor.shutdown()
        if view is not None:
            view.end_live()
        listener.destroy_node()
        rclpy.try_shutdown()
    assert process is not None
    code = report(args, listener, video, count, out, process.returncode)
    if view is not None:
        view.show_recording(
            out / FILES[0],
            lambda: open_video(str(video), args, lambda text: None),
            f"{Path(sys.executable).with_name('emf-ros')} view {shlex.quote(str(out / FILES[0]))} "
            f"--video {shlex.quote(str(video))}"
            + (f" --topic {shlex.quote(args.topic)}" if args.topic else ""),
        )
    return code


def _listen(
    listener: Listener, executor: SingleThreadedExecutor, process: subprocess.Popen
) -> None:
    """Spin until the nodes have ended and the last messages have arrived; print a line a second."""
    next_line = time.monotonic() + 1.0
    before = (0, 0, 0)
    drain_until: float | None = None
    while drain_until is None or time.monotonic() < drain_until:
        executor.spin_once(timeout_sec=0.05)
        now = time.monotonic()
        if drain_until is None and process.poll() is not None:
            drain_until = now + DRAIN_S
        if now < next_line or drain_until is not None:
            continue
        next_line += 1.0
        present = (listener.images, listener.keypoint_messages, listener.messages)
        images, keypoints, skeletons = (a - b for a, b in zip(present, before, strict=True))
        before = present
        if not images:
            # The video has ended; the nodes work on its last frames.
            continue
        recent = listener.latencies_ms[-max(skeletons, 1) :]
        print(
            f"images {images:3d} Hz   keypoints {keypoints:3d} Hz   "
            f"skeletons {skeletons:3d} Hz   people {listener.people}   "
            f"latency p50 {percentile(recent, 50):4.0f} ms  "
            f"p95 {percentile(recent, 95):4.0f} ms",
            flush=True,
        )


def _limit(name: str) -> float:
    """Upper limit of a parameter of the source or the detector."""
    specs = {**VideoSourceParams.specs(), **KeypointDetectorParams.specs()}
    high = specs[name].high
    assert high is not None
    return high


def main(argv: list[str] | None = None) -> int:
    parser = OneLineParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--video",
        help="a video file, bag or folder of images (default: two people, fetched at set-up)",
    )
    parser.add_argument("--out", default="demo_out")
    add_camera(parser)
    add_topic(parser, "images")
    parser.add_argument("--preset", default="lite")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--variant", default="full", help="size of the 2D detector")
    parser.add_argument(
        "--lag", type=lag_or_auto, default="0", help="frames behind the newest, or auto"
    )
    parser.add_argument(
        "--people",
        type=whole_number(1, int(_limit("max_people"))),
        default=8,
        help="maximum number (8)",
    )
    parser.add_argument(
        "--rate",
        type=number(0.0, _limit("rate_hz"), above=True),
        help="mean number of images a second (default: as recorded)",
    )
    parser.add_argument("--no-view", action="store_true", help="no view in a web browser")
    parser.add_argument("--no-render", action="store_true", help="figures and npz only")
    args = parser.parse_args(argv)
    try:
        return play(args)
    except (CameraError, VideoError, DownloadError, OutputError) as error:
        tell(f"{error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
