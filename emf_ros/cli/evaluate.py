"""`emf-ros eval`: the accuracy of weights, on motion capture or on a video."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ..io.outputs import check_folder, write_text
from . import arguments
from .console import CommandError, say
from .video import add_video, camera_of, open_video


def run(args: argparse.Namespace) -> None:
    """Evaluate, print tables, and save them where --out is given.

    Raises:
        CommandError: an input cannot be used.
    """
    if args.video:
        _evaluate_video(args)
    else:
        _evaluate_mocap(args)


def _evaluate_mocap(args: argparse.Namespace) -> None:
    from ..model.checkpoint import WeightsError
    from ..train.evaluate import EvaluationError, evaluate_file
    from ..train.mocap import MocapError
    from ..train.report import PLOTS, plots, tables

    weights = arguments.weights_path(args)
    if args.out is not None:
        names = ("report.json", "report.md", *(f"{name}.png" for name in PLOTS))
        check_folder(args.out, names, (args.mocap, weights))
    subjects = tuple(s for s in args.subjects.split(",") if s)
    try:
        say(f"evaluating {weights} on {args.windows} windows of each kind of keypoints")
        report = evaluate_file(
            weights, args.mocap, subjects, args.trained_too, args.windows, args.device
        )
        for line in tables(report):
            print(line)
        if args.out:
            out = Path(args.out)
            write_text(out / "report.json", json.dumps(report, indent=1))
            write_text(out / "report.md", "\n".join(tables(report)))
            drawn = [path.name for path in plots(report, out)]
            say(f"{out}: report.json, report.md, {', '.join(drawn)}")
    except (EvaluationError, MocapError, WeightsError, ValueError) as error:
        raise CommandError(str(error)) from None


def _evaluate_video(args: argparse.Namespace) -> None:
    from ..geometry.camera import CameraError
    from ..io.frame_source import VideoError
    from ..io.video import losses
    from ..lift.engine import EngineError, make_engine
    from ..train.evaluate import EvaluationError
    from ..train.video import VARIATIONS, Truth, VariedSource, evaluate_video, video_table

    if args.varied and args.truth:
        # Mirrored, slowed or cut, the video shows another motion than the truth.
        raise CommandError("--truth is of the unchanged video: leave out --varied")
    if args.out is not None:
        sources = (args.video, args.truth, args.camera_info, args.weights)
        check_folder(args.out, ("video.json",), sources)
    reports: dict[str, dict] = {}
    try:
        truth = Truth.load(args.truth) if args.truth else None
        engine = make_engine(args.preset, args.weights, args.device)
        for name in VARIATIONS if args.varied else ("as it is",):
            source = open_video(args.video, args)
            # Notes on the camera are the same for each variation.
            tell = (lambda _: None) if reports else say
            camera = camera_of(source.size, source.pixel_aspect, args, tell)
            variation = VARIATIONS[name]
            reports[name] = evaluate_video(
                VariedSource(source, variation),
                variation.camera(camera),
                engine,
                args.lag,
                variant=args.variant,
                truth=truth,
            )
            for sentence in losses(source):
                say(sentence)
    except (CameraError, EngineError, EvaluationError, VideoError) as error:
        raise CommandError(str(error)) from None
    for name, report in reports.items():
        if args.varied:
            print(f"{name}:\n")
        for line in video_table(report):
            print(line)
        if args.varied:
            print()
    if args.out:
        text = json.dumps(reports if args.varied else report, indent=1)
        write_text(Path(args.out) / "video.json", text)


def add_parser(commands: Any) -> None:
    """Add the command; `commands` is what `ArgumentParser.add_subparsers` returned."""
    evaluate = commands.add_parser(
        "eval", help="accuracy of weights on subjects outside the training, or on a video"
    )
    data = evaluate.add_mutually_exclusive_group(required=True)
    data.add_argument("--mocap", metavar="DIR", help="folder of npz files")
    data.add_argument("--video", help="a video of people, compared with BlazePose's 3D points")
    evaluate.add_argument("--truth", metavar="FILE.npz", help="true joints of the video's person")
    evaluate.add_argument(
        "--varied",
        action="store_true",
        help="also mirror, crop, slow down and shrink the video",
    )
    add_video(evaluate)
    arguments.add_variant(evaluate)
    arguments.add_lag(evaluate)
    arguments.add_weights(evaluate)
    evaluate.add_argument(
        "--subjects", default="", metavar="SUBJECT,...", help="only these (those held back)"
    )
    evaluate.add_argument(
        "--trained-too", action="store_true", help="also subjects of the training"
    )
    evaluate.add_argument(
        "--windows",
        type=arguments.positive_int,
        default=1536,
        help="number for each kind of keypoints (1536)",
    )
    arguments.add_device(evaluate)
    evaluate.add_argument("--out", metavar="DIR", help="save the report and its plots")
    evaluate.set_defaults(run=run)
