"""The whole graph on a video, and what came out: figures, a recording, a picture of it.

Starts the three nodes as processes of their own, as a launch file would, listens to what they
publish over DDS, and writes `skeletons.npz`, `overlay.mp4` and `summary.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import rclpy
import yaml
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo
from visualization_msgs.msg import MarkerArray

from emf_ros_msgs.msg import Skeleton2DArray, Skeleton3DArray

from ..cli.arguments import OneLineParser, lag_or_auto, number, whole_number
from ..cli.video import add_camera, camera_of, open_video
from ..detect.weights import ensure_onnx
from ..downloads.cache import DownloadError
from ..downloads.videos import ensure_demo_video
from ..geometry.camera import Camera, CameraError
from ..io.frame_source import VideoError
from ..io.outputs import OutputError, check_folder, write_text
from ..io.progress import track
from ..io.render.video import RenderError, playback_rate_hz, render_recording
from ..io.video import frames_of, losses, open_source
from ..lift.offline import PoseCollector
from ..runtime.machine import machine
from ..skeletons import get_layout
from ..types import TrackState
from . import conversions
from .qos import RELIABLE_QOS, SENSOR_QOS
from .running import use_large_shared_memory

READY_TIMEOUT_S = 90.0
DRAIN_S = 2.0

#: Names of the files that a run writes.
FILES = ("skeletons.npz", "overlay.mp4", "summary.json")

#: Maximum number of people of the detector's parameter max_people.
MAX_PEOPLE = 20

#: Maximum rate of the source's parameter rate_hz, Hz.
MAX_RATE_HZ = 240.0

#: A node that takes longer to stop is killed, and the demo has failed.
STOP_S = 15.0

#: A person stays in the overlay for so long after the last message, as a live view would show it.
HOLD_S = 0.4


class Listener(Node):
    """Collects what the nodes publish, and times it.

    Args:
        namespace: of the nodes.
        layout: of the keypoints.
        camera: the intrinsics.
        times_s: (N,) s since the first, rising; when each picture of the video is due.
    """

    def __init__(
        self, namespace: str, layout: str, camera: Camera, times_s: np.ndarray | None
    ) -> None:
        super().__init__("demo_listener", namespace=namespace)
        self._times_s = times_s
        self.collector = PoseCollector(get_layout(layout), camera.size, camera)
        self.first_ns: int | None = None
        self.latencies_ms: list[float] = []
        self.stages_ms: list[tuple[float, float, float]] = []
        self.messages = self.keypoint_messages = self.marker_messages = 0
        self._stamps_ns: set[int] = set()
        self.people = 0
        self.frames_of_id: Counter[int] = Counter()
        self.first_at = self.last_at = 0.0
        self.create_subscription(CameraInfo, "camera_info", self._on_info, RELIABLE_QOS)
        self.create_subscription(Skeleton2DArray, "keypoints", self._on_keypoints, SENSOR_QOS)
        self.create_subscription(Skeleton3DArray, "skeletons", self._on_skeletons, RELIABLE_QOS)
        self.create_subscription(MarkerArray, "markers", self._on_markers, RELIABLE_QOS)

    @property
    def images(self) -> int:
        """How many there were, as far as anything was heard of them."""
        return len(self._stamps_ns)

    def _on_info(self, message: CameraInfo) -> None:
        self._since_first(conversions.stamp_ns(message.header.stamp))

    def _on_keypoints(self, message: Skeleton2DArray) -> None:
        self.keypoint_messages += 1
        frame = conversions.keypoint_frame(message)
        number = self._number_at(self._since_first(frame.stamp_ns) / 1e9)
        self.collector.keypoints(frame.stamp_ns, number, frame.people)

    def _number_at(self, time_s: float) -> int:
        """The number of the video's picture that is due nearest to this time; -1: not known."""
        return -1 if self._times_s is None else int(np.abs(self._times_s - time_s).argmin())

    def _since_first(self, stamp_ns: int) -> int:
        """Nanoseconds since the first image.

        The detector sees the first one, but the source may not have found this node yet: then its
        camera_info is not heard here, and the first that is heard of it are its keypoints.
        """
        self._stamps_ns.add(stamp_ns)
        if self.first_ns is None:
            self.first_ns = stamp_ns
        return stamp_ns - self.first_ns

    def _on_skeletons(self, message: Skeleton3DArray) -> None:
        now_ns = self.get_clock().now().nanoseconds
        result = conversions.skeletons_from_msg(message)
        self.last_at = time.monotonic()
        self.first_at = self.first_at or self.last_at
        self.messages += 1
        self.latencies_ms.append((now_ns - result.stamp_ns) / 1e6)
        self.stages_ms.append((message.detect_ms, message.queue_ms, message.lift_ms))
        ids = [person.track_id for person in result.people if person.state != TrackState.ENDED]
        self.people = len(ids)
        self.frames_of_id.update(ids)
        self.collector.poses(result)

    def _on_markers(self, message: MarkerArray) -> None:
        self.marker_messages += 1


def _start(node: str, namespace: str, folder: Path, **parameters: object) -> subprocess.Popen:
    """Start a node; its parameters go through a file in this folder.

    On a command line a `#` or `: ` in a value would be taken for YAML.
    """
    path = folder / f"{node}.yaml"
    text = yaml.safe_dump({"/**": {"ros__parameters": parameters}}, allow_unicode=True)
    path.write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", f"emf_ros.nodes.{node}", "--ros-args"]
    command += ["-r", f"__ns:={namespace}", "--log-level", "warn", "--params-file", str(path)]
    return subprocess.Popen(command)


def _stop(processes: list[subprocess.Popen]) -> None:
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
    for process in processes:
        try:
            process.wait(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            print(f"demo: {process.args!r} did not stop within {STOP_S:g} s", file=sys.stderr)
            process.kill()
            process.wait()


def _percentile(values: list[float], q: float) -> float:
    finite = [v for v in values if np.isfinite(v)]
    return float(np.percentile(finite, q)) if finite else float("nan")


def _tell(sentence: str) -> None:
    print(f"demo: {sentence}", file=sys.stderr)


def play(args: argparse.Namespace) -> int:
    out = check_folder(args.out, FILES, (args.video, args.camera_info))
    video = Path(args.video) if args.video else ensure_demo_video()
    for network in (None, args.variant):
        ensure_onnx(network)
    source = open_video(str(video), args, _tell)
    size, rate_hz, count, times_s = source.size, source.rate_hz, source.count, source.times()
    source.close()
    camera = camera_of(size, source.pixel_aspect, args, _tell)
    # The source chooses by the same rules.
    intrinsics: dict[str, object] = {"fov_deg": "auto" if args.fov is None else float(args.fov)}
    if args.camera_info:
        intrinsics |= {"camera_info_file": args.camera_info, "rectified": args.rectified}

    # Alone on this machine, whatever else runs: a namespace of its own, and nothing on the network.
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    use_large_shared_memory()
    namespace = f"/emf_demo_{os.getpid()}"
    rclpy.init()
    listener = Listener(namespace, "blazepose33", camera, times_s)
    executor = SingleThreadedExecutor()
    executor.add_node(listener)
    processes: list[subprocess.Popen] = []
    begin = time.monotonic()
    parameter_folder = tempfile.TemporaryDirectory(prefix="emf_ros_demo_")
    parameter_files = Path(parameter_folder.name)
    try:
        processes.append(
            _start(
                "keypoint_detector",
                namespace,
                parameter_files,
                variant=args.variant,
                max_people=args.people,
            )
        )
        processes.append(
            _start(
                "skeleton_lifter",
                namespace,
                parameter_files,
                preset=args.preset,
                device=args.device,
                lag=int(args.lag) if args.lag.isdecimal() else args.lag,
                max_people=args.people,
            )
        )
        while not (
            listener.count_subscribers("image")
            and listener.count_publishers("skeletons")
            and listener.count_subscribers("keypoints") >= 2
        ):
            executor.spin_once(timeout_sec=0.1)
            if any(p.poll() is not None for p in processes):
                print(
                    "demo: a node has ended at its start; its message stands above", file=sys.stderr
                )
                return 1
            if time.monotonic() - begin > READY_TIMEOUT_S:
                print(
                    f"demo: the nodes were not ready within {READY_TIMEOUT_S:g} s", file=sys.stderr
                )
                return 1
        print(
            f"nodes ready after {time.monotonic() - begin:.1f} s; playing {video.name}: "
            f"{size[0]}x{size[1]}, {rate_hz:.4g} Hz, {count or '?'} frames",
            flush=True,
        )
        player = _start(
            "video_source",
            namespace,
            parameter_files,
            source=str(video.resolve()),
            exit_at_end=True,
            start_when_subscribed=True,
            rate_hz=float(args.rate or 0.0),
            **intrinsics,
        )
        processes.append(player)
        _listen(listener, executor, player, processes)
    except (KeyboardInterrupt, ExternalShutdownException):
        print("demo: stopped early", file=sys.stderr)
    finally:
        _stop(processes)
        parameter_folder.cleanup()
        failed = [p.returncode for p in processes if p.returncode not in (0, -signal.SIGINT)]
        executor.shutdown()
        listener.destroy_node()
        rclpy.try_shutdown()
    return _report(args, listener, video, count, out, failed)


def _listen(
    listener: Listener,
    executor: SingleThreadedExecutor,
    player: subprocess.Popen,
    processes: list[subprocess.Popen],
) -> None:
    """Spin until the video has ended and what was under way has come; a line every second."""
    next_line = time.monotonic() + 1.0
    before = (0, 0, 0)
    drain_until: float | None = None
    while drain_until is None or time.monotonic() < drain_until:
        executor.spin_once(timeout_sec=0.05)
        now = time.monotonic()
        if drain_until is None and player.poll() is not None:
            drain_until = now + DRAIN_S
        if any(p.poll() is not None for p in processes if p is not player):
            print("demo: a node has died", file=sys.stderr)
            return
        if now >= next_line and drain_until is None:
            present = (listener.images, listener.keypoint_messages, listener.messages)
            images, keypoints, skeletons = (a - b for a, b in zip(present, before, strict=True))
            recent = listener.latencies_ms[-max(skeletons, 1) :]
            print(
                f"images {images:3d} Hz   keypoints {keypoints:3d} Hz   "
                f"skeletons {skeletons:3d} Hz   people {listener.people}   "
                f"latency p50 {_percentile(recent, 50):4.0f} ms  "
                f"p95 {_percentile(recent, 95):4.0f} ms",
                flush=True,
            )
            before, next_line = present, next_line + 1.0


def _report(
    args: argparse.Namespace,
    listener: Listener,
    video: Path,
    count: int,
    out: Path,
    failed: list[int],
) -> int:
    recording = listener.collector.writer.recording()
    recording.save(out / "skeletons.npz")
    seconds = max(listener.last_at - listener.first_at, 1e-9)
    rate = (listener.messages - 1) / seconds if listener.messages > 1 else 0.0
    p50, p95 = (_percentile(listener.latencies_ms, q) for q in (50, 95))
    stages = np.array(listener.stages_ms).reshape(-1, 3)
    total = max(listener.messages, 1)
    passed = [count or listener.images, listener.images, listener.keypoint_messages]
    passed.append(listener.messages)
    dropped = {
        name: max(0, before - after)
        for name, before, after in zip(
            ("source", "detector", "lifter"), passed, passed[1:], strict=False
        )
    }
    summary = {
        "video": str(video),
        "machine": machine(),
        "preset": args.preset,
        "variant": args.variant,
        "lag": args.lag,
        "images": listener.images,
        "skeleton_messages": listener.messages,
        "marker_messages": listener.marker_messages,
        "dropped": dropped,
        "rate_hz": round(rate, 2),
        "latency_ms": {"p50": round(p50, 1), "p95": round(p95, 1)},
        "stages_ms_p50": {
            name: round(_percentile(list(stages[:, i]), 50), 1)
            for i, name in enumerate(("detect", "queue", "lift"))
        },
        "people": {
            str(i): {"messages": n, "share": round(n / total, 3)}
            for i, n in sorted(listener.frames_of_id.items())
        },
        "poses": len(recording),
        "poses_with_root": int(recording.root_valid.sum()),
    }
    write_text(out / "summary.json", json.dumps(summary, indent=1) + "\n")
    print(
        f"dropped: {dropped['source']} of {passed[0]} frames by the source, which was late; "
        f"{dropped['detector']} by the detector, which takes the newest; "
        f"{dropped['lifter']} by the lifter, merged into the next or still to come"
    )
    for track_id, entry in summary["people"].items():
        print(f"person {track_id}: in {entry['messages']} messages ({100 * entry['share']:.0f} %)")
    if not args.no_render:
        source = open_source(video, args.rate)
        # Counted from the video's beginning, for the captions.
        shifted = replace(recording, stamp=recording.stamp - (listener.first_ns or 0) / 1e9)
        shown = track(frames_of(source), "rendering overlay.mp4", source.count or None)
        frames = ((stamp, picture) for _, stamp, picture in shown)
        try:
            rate_hz = playback_rate_hz(source)
            render_recording(shifted, frames, out / "overlay.mp4", rate_hz, hold_s=HOLD_S)
            for sentence in losses(source):
                _tell(sentence)
        except (RenderError, OutputError) as error:
            print(f"demo: no overlay: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print(
                f"demo: interrupted: {out} has skeletons.npz and summary.json, and no new "
                "overlay.mp4",
                file=sys.stderr,
            )
            return 130
        finally:
            source.close()
    if failed:
        print(f"demo: nodes ended with exit codes {failed}", file=sys.stderr)
        return 1
    if not listener.messages:
        print("demo: no skeleton message came", file=sys.stderr)
        return 1
    print(f"wrote {out}/skeletons.npz, {'' if args.no_render else 'overlay.mp4, '}summary.json")
    print(
        f"{listener.messages} skeleton messages, {rate:.1f} Hz, p50 {p50:.0f} ms, p95 {p95:.0f} ms"
    )
    return 0


def main(argv: list[str] | None = None) -> int:
    parser = OneLineParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--video", help="a video file or folder of images (default: two people, fetched at set-up)"
    )
    parser.add_argument("--out", default="demo_out")
    add_camera(parser)
    parser.add_argument("--preset", default="lite")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--variant", default="full", help="size of the 2D detector")
    parser.add_argument(
        "--lag", type=lag_or_auto, default="0", help="frames behind the newest, or auto"
    )
    parser.add_argument(
        "--people", type=whole_number(1, MAX_PEOPLE), default=8, help="maximum number (8)"
    )
    parser.add_argument(
        "--rate",
        type=number(0.0, MAX_RATE_HZ, above=True),
        help="mean number of images a second (default: as recorded)",
    )
    parser.add_argument("--no-render", action="store_true", help="figures and npz only")
    args = parser.parse_args(argv)
    try:
        return play(args)
    except (CameraError, VideoError, DownloadError, OutputError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
