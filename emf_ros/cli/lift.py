"""`emf-ros lift`: a video, a bag or recorded keypoints to files with 3D skeletons."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..io.formats.catalog import WRITABLE
from . import arguments
from .console import CommandError, Interrupted, raise_last, say
from .interrupt import StopRequest, stop_request
from .video import add_video

if TYPE_CHECKING:
    from ..batch.jobs import Job, Outcome
    from ..batch.lifting import LiftSettings
    from ..lift.engine import Engine


class _Stop:
    """Asked before each frame; remembers where lifting stopped.

    Attributes:
        at: number of frames lifted before the stop; None while there was no stop.
    """

    def __init__(self, request: StopRequest) -> None:
        self._request = request
        self.at: int | None = None

    def __call__(self, done: int) -> bool:
        stop = self._request()
        if stop:
            self.at = done
        return stop


def run(args: argparse.Namespace) -> None:
    """Lift and save.

    Raises:
        CommandError: an input cannot be used, or a source of a batch failed.
        Interrupted: a signal ended it; the recording holds what was lifted before.
    """
    from ..batch.cluster import ClusterError
    from ..geometry.camera import CameraError
    from ..io.bags import BagError
    from ..io.frame_source import VideoError
    from ..io.recordings import RecordingError
    from ..io.render.video import RenderError
    from ..lift.engine import EngineError

    try:
        if args.out_folder is not None:
            _lift_batch(args)
        else:
            _lift_one(args)
    except (
        BagError,
        CameraError,
        ClusterError,
        EngineError,
        RecordingError,
        RenderError,
        VideoError,
    ) as error:
        raise CommandError(str(error)) from None


def _lift_one(args: argparse.Namespace) -> None:
    from ..batch.lifting import check_outputs, check_shown, lift_source, write_outputs

    if not args.out:
        raise CommandError("give --out FILE, or --out-folder DIR for several sources")
    if len(args.source) > 1:
        raise CommandError("several sources need --out-folder DIR in place of --out")
    for option in ("jobs", "to", "cluster"):
        if getattr(args, option):
            raise CommandError(f"--{option} belongs to --out-folder")
    (source,) = args.source
    settings = settings_of(args)

    def engine() -> Engine:
        made = settings.engine()
        say(f"lifting with {made.description}")
        return made

    check_outputs(args.out, [source, args.weights, args.camera_info, args.model or None])
    check_shown(args.out, source, args.topic)
    with stop_request("frame") as request:
        stop = _Stop(request)
        lifted = lift_source(source, settings, engine, say, stopping=stop)
    # They come last, since the progress would hide them.
    for sentence in (*lifted.rejections(), *lifted.sentences):
        say(sentence)
    if stop.at == 0:
        names = ", ".join(args.out)
        raise Interrupted(f"interrupted: nothing was written to {names}", request.signal)
    recording = lifted.recording
    written, errors = write_outputs(recording, args.out, source, settings, say)
    names = ", ".join(map(str, written))
    if stop.at is not None and written:
        for error in errors:
            say(str(error))
        frames = f"{stop.at} of {lifted.total}" if lifted.total else str(stop.at)
        raise Interrupted(f"interrupted: {frames} frames are in {names}", request.signal)
    if written:
        count = len(set(recording.track_id.tolist()))
        people = "1 person" if count == 1 else f"{count} people"
        print(f"{names}: {len(recording)} poses of {people}")
    raise_last(errors)


def _lift_batch(args: argparse.Namespace) -> None:
    from ..batch import batch, cluster, workers
    from ..io.formats.registry import format_of
    from ..io.progress import say as print_beside_a_bar
    from ..runtime.onnx import available_cores

    if args.out:
        raise CommandError("--out and --out-folder exclude each other")
    if args.jobs and args.cluster:
        raise CommandError("--jobs and --cluster exclude each other")
    known = (*WRITABLE, ".mp4")
    formats = [
        f".{word.strip().lower().lstrip('.')}" for word in args.to.split(",") if word.strip()
    ]
    for suffix in formats:
        if suffix not in known:
            raise CommandError(f"--to {suffix[1:]}: known are {', '.join(s[1:] for s in known)}")
        if suffix in WRITABLE:
            format_of(f"--to {suffix}", to_write=True)
    settings = settings_of(args)
    beside = [suffix for suffix in formats if suffix != ".npz"]
    jobs = batch.plan(args.source, args.out_folder, beside, settings, say)

    def runner(due: Sequence[Job]) -> Iterator[Outcome]:
        if args.cluster:
            return cluster.outcomes(due, settings, args.cluster)
        return workers.outcomes(due, settings, args.jobs or available_cores())

    with stop_request("source") as request:
        report = batch.run(jobs, args.out_folder, settings, runner, print_beside_a_bar, request)
    if report.before:
        say(f"{report.before} of {len(jobs)} sources were done before")
    if request() and report.left:
        done = report.before + report.done
        raise Interrupted(
            f"interrupted: {done} of {len(jobs)} sources are in {args.out_folder}; the same "
            "command goes on",
            request.signal,
        )
    if report.failed:
        left = f", and {report.left} were not tried" if report.left else ""
        last = report.failed[-1]
        why = f": {last.error}" if last.fatal else ""
        raise CommandError(f"{len(report.failed)} of {len(jobs)} sources failed{left}{why}")


def settings_of(args: argparse.Namespace) -> LiftSettings:
    """The settings that the options give."""
    from ..batch.lifting import LiftSettings

    return LiftSettings(
        preset=args.preset,
        weights=args.weights,
        device=args.device,
        detector=args.detector,
        variant=args.variant,
        model=args.model,
        people=args.people,
        lag=args.lag,
        rate_hz=args.rate,
        topic=args.topic,
        camera_info=args.camera_info,
        fov_deg=args.fov,
        rectified=args.rectified,
        body=args.body,
    )


def add_parser(commands: Any) -> None:
    """Add the command; `commands` is what `ArgumentParser.add_subparsers` returned."""
    lift = commands.add_parser(
        "lift",
        help="a video, a bag or recorded keypoints to 3D skeletons",
        epilog="Example: emf-ros lift video.mp4 --fov 70 --out skeletons.npz",
    )
    lift.add_argument(
        "source",
        nargs="+",
        help="video file, folder of images, bag of ROS 2, webcam's number, or recorded 2D "
        f"keypoints ({arguments.readable()}); with --out-folder also folders of these",
    )
    add_video(lift)
    arguments.add_topic(lift, "images, or of the keypoints,")
    lift.add_argument(
        "--detector",
        default="blazepose",
        choices=("blazepose", "mediapipe", "onnx"),
        help="the 2D detector (blazepose)",
    )
    arguments.add_variant(lift)
    lift.add_argument("--model", default="", metavar="FILE", help=".onnx file of --detector onnx")
    arguments.add_weights(lift)
    arguments.add_device(lift)
    arguments.add_lag(lift)
    lift.add_argument(
        "--people",
        type=arguments.count_of_people,
        default=8,
        help="maximum number of people, 1 to 256 (8)",
    )
    lift.add_argument(
        "--body",
        action="store_true",
        help="also record facing, posture, gestures, orientations and angles",
    )
    arguments.add_outputs(
        lift, f"{arguments.writable()}, or .mp4 for a video with both views", required=False
    )
    lift.add_argument(
        "--out-folder",
        metavar="DIR",
        help="lift many sources on all cores, an npz each; goes on where it was interrupted",
    )
    lift.add_argument(
        "--to", default="", metavar="ENDING,...", help="with --out-folder: more formats"
    )
    lift.add_argument(
        "--jobs",
        type=arguments.count_of_threads,
        help="with --out-folder: number of processes (one for each core)",
    )
    lift.add_argument(
        "--cluster",
        default="",
        metavar="ADDRESS",
        help="with --out-folder: the Ray cluster to lift on, such as 10.0.0.1:6379 or auto",
    )
    lift.set_defaults(run=run)
