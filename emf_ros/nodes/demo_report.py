"""The results of the demo: figures, a recording and an overlay video."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ..io.outputs import OutputError, write_text
from ..io.progress import track
from ..io.recordings import Recording
from ..io.render.video import MAX_HOLD_S, RenderError, playback_rate_hz, render_recording
from ..io.video import frames_of, losses, open_source
from ..runtime.machine import machine
from .demo_listener import Listener

#: Names of the files that a run writes.
FILES = ("skeletons.npz", "overlay.mp4", "summary.json")


def percentile(values: list[float], q: float) -> float:
    """A percentile of the finite values; NaN where there are none."""
    finite = [v for v in values if np.isfinite(v)]
    return float(np.percentile(finite, q)) if finite else float("nan")


def tell(sentence: str) -> None:
    """Print a sentence on stderr."""
    print(f"demo: {sentence}", file=sys.stderr)


def summarise(
    args: argparse.Namespace, listener: Listener, recording: Recording, video: Path, count: int
) -> dict[str, Any]:
    """The figures of a run, as written to summary.json.

    Args:
        args: of the command line.
        listener: has collected the messages.
        recording: the poses of the run.
        video: the file.
        count: number of frames of the video; 0 where it is not known.
    """
    seconds = max(listener.last_at - listener.first_at, 1e-9)
    stages = np.array(listener.stages_ms).reshape(-1, 3)
    passed = [count or listener.images, listener.images, listener.keypoint_messages]
    passed.append(listener.messages)
    return {
        "video": str(video),
        "machine": machine(),
        "preset": args.preset,
        "variant": args.variant,
        "lag": args.lag,
        "images": listener.images,
        "skeleton_messages": listener.messages,
        "marker_messages": listener.marker_messages,
        "dropped": {
            name: max(0, before - after)
            for name, before, after in zip(
                ("source", "detector", "lifter"), passed, passed[1:], strict=False
            )
        },
        "rate_hz": round((listener.messages - 1) / seconds if listener.messages > 1 else 0.0, 2),
        "latency_ms": {f"p{q}": round(percentile(listener.latencies_ms, q), 1) for q in (50, 95)},
        "stages_ms_p50": {
            name: round(percentile(list(stages[:, i]), 50), 1)
            for i, name in enumerate(("detect", "queue", "lift"))
        },
        "people": {
            str(i): {"messages": n, "share": round(n / max(listener.messages, 1), 3)}
            for i, n in sorted(listener.frames_of_id.items())
        },
        "poses": len(recording),
        "poses_with_root": int(recording.root_valid.sum()),
    }


def render_overlay(
    recording: Recording, video: Path, rate_hz: float | None, path: Path, topic: str = ""
) -> None:
    """Write the overlay video.

    Args:
        recording: the poses, with the numbers of their frames.
        video: the file, a folder of images, or a bag.
        rate_hz: mean rate of the frames, Hz; None for that of the file.
        path: of the overlay.
        topic: of the images of a bag; empty where it has only one.

    Raises:
        RenderError, OutputError: it cannot be written.
    """
    source = open_source(video, rate_hz, topic)
    frames = track(frames_of(source), f"rendering {path.name}", source.count or None)
    try:
        render_recording(recording, frames, path, playback_rate_hz(source), hold_s=MAX_HOLD_S)
        for sentence in losses(source):
            tell(sentence)
    finally:
        source.close()


def report(
    args: argparse.Namespace,
    listener: Listener,
    video: Path,
    count: int,
    out: Path,
    exit_code: int,
) -> int:
    """Write the files of a run and print its figures.

    Args:
        args, listener, video, count: as of `summarise`.
        out: folder of the files.
        exit_code: of the nodes.

    Returns:
        exit code of the demo.
    """
    recording = listener.recording()
    recording.save(out / "skeletons.npz")
    summary = summarise(args, listener, recording, video, count)
    write_text(out / "summary.json", json.dumps(summary, indent=1) + "\n")
    dropped = summary["dropped"]
    print(
        f"dropped: {dropped['source']} of {count or listener.images} frames by the source, to keep "
        f"the time; {dropped['detector']} by the detector, which takes the newest; "
        f"{dropped['lifter']} by the lifter, merged into the next or still to come"
    )
    for track_id, entry in summary["people"].items():
        print(f"person {track_id}: in {entry['messages']} messages ({100 * entry['share']:.0f} %)")
    if not args.no_render:
        try:
            render_overlay(recording, video, args.rate, out / "overlay.mp4", args.topic)
        except (RenderError, OutputError) as error:
            tell(f"no overlay: {error}")
            return 1
        except KeyboardInterrupt:
            tell(f"interrupted: {out} has skeletons.npz and summary.json, and no new overlay.mp4")
            return 130
    # Ctrl-C goes to the nodes, too.
    if exit_code not in (0, -signal.SIGINT):
        tell(f"the nodes ended with exit code {exit_code}")
        return 1
    if not listener.messages:
        tell("no skeleton message arrived")
        return 1
    latency = summary["latency_ms"]
    print(f"wrote {out}/skeletons.npz, {'' if args.no_render else 'overlay.mp4, '}summary.json")
    print(
        f"{listener.messages} skeleton messages, {summary['rate_hz']:.1f} Hz, "
        f"p50 {latency['p50']:.0f} ms, p95 {latency['p95']:.0f} ms"
    )
    return 0
