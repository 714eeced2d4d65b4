"""`emf-ros eval`: the accuracy of weights, on motion capture, real footage or a video."""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..io.outputs import check_folder, write_text
from . import arguments
from .console import CommandError, say
from .video import add_video, camera_of, open_video

#: Folder of recordings of keypoints with truth that is evaluated where it exists and no other data
#: are given.
_DEFAULT_FOOTAGE = "footage"


def run(args: argparse.Namespace) -> None:
    """Evaluate, print tables, and save them where --out is given.

    Raises:
        CommandError: an input cannot be used.
    """
    if args.truth and not args.video:
        raise CommandError("--truth belongs to a video: add --video")
    if args.mocap:
        _evaluate_mocap(args)
    elif args.video:
        _evaluate_video(args)
    else:
        _evaluate_footage(args)


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


def _evaluate_footage(args: argparse.Namespace) -> None:
    """All real people with truth: the four cameras, and a folder of keypoints."""
    from ..geometry.camera import CameraError
    from ..io.video import VideoError
    from ..lift.engine import EngineError, make_engine
    from ..train.comparison import Errors, error_table
    from ..train.evaluate import EvaluationError
    from ..train.footage import Footage, all_footage, evaluate_footage, read_footage

    if args.out is not None:
        check_folder(args.out, ("footage.json", "footage.md"), (args.footage, args.weights))
    errors: dict[tuple[str, str], Errors] = {}
    try:
        engine = make_engine(args.preset, args.weights, args.device)
        footage: Iterator[Footage]
        if args.footage is not None:
            footage = read_footage(args.footage, args.variant)
        else:
            folder = _DEFAULT_FOOTAGE if os.path.isdir(_DEFAULT_FOOTAGE) else None
            if folder is None:
                say(f"without the folder {_DEFAULT_FOOTAGE!r}, which is not here (--footage DIR)")
            footage = all_footage(folder, args.variant)

        def told() -> Iterator[Footage]:
            for recording in footage:
                for note in recording.truth.notes():
                    say(f"{recording.name}: {note}")
                yield recording

        errors = evaluate_footage(told(), engine, (args.lag,), args.variant)
    except (CameraError, EngineError, EvaluationError, VideoError) as error:
        raise CommandError(str(error)) from None
    if not errors:
        raise CommandError("there is no footage: give --footage DIR or --video FILE --truth FILE")
    lines = list(error_table(errors))
    print(*lines, sep="\n")
    if args.out:
        out = Path(args.out)
        rows = [{"recording": r, "method": m, **vars(e)} for (r, m), e in errors.items()]
        write_text(out / "footage.json", _json(rows))
        write_text(out / "footage.md", "\n".join(lines))


def _json(report: Any) -> str:
    """JSON, in which unknown figures are null."""

    def known(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: known(item) for key, item in value.items()}
        if isinstance(value, list):
            return [known(item) for item in value]
        return None if isinstance(value, float) and math.isnan(value) else value

    return json.dumps(known(report), indent=1)


def _evaluate_video(args: argparse.Namespace) -> None:
    from ..geometry.camera import CameraError
    from ..io.frame_source import VideoError
    from ..io.video import losses
    from ..lift.engine import EngineError, make_engine
    from ..train.comparison import Errors, error_table
    from ..train.evaluate import EvaluationError
    from ..train.footage import video_errors
    from ..train.truth import Truth
    from ..train.varied_video import VARIATIONS, VariedSource
    from ..train.video import lift_tracks, video_report, video_table

    if args.varied and args.truth:
        # Mirrored, slowed or cut, the video shows another motion than the truth.
        raise CommandError("--truth is of the unchanged video: leave out --varied")
    if args.out is not None:
        sources = (args.video, args.truth, args.camera_info, args.weights)
        check_folder(args.out, ("video.json",), sources)
    reports: dict[str, dict] = {}
    errors: dict[tuple[str, str], Errors] = {}
    try:
        truth = Truth.load(args.truth) if args.truth else None
        for note in truth.notes() if truth is not None else ():
            say(note)
        engine = make_engine(args.preset, args.weights, args.device)
        for name in VARIATIONS if args.varied else ("as it is",):
            source = open_video(args.video, args)
            # Notes on the camera are the same for each variation.
            tell = (lambda _: None) if reports else say
            camera = camera_of(source, args, tell)
            varied = VariedSource(source, VARIATIONS[name])
            camera = VARIATIONS[name].camera(camera)
            tracks = lift_tracks(varied, camera, engine, args.lag, variant=args.variant)
            reports[name] = video_report(tracks, varied.rate_hz)
            for sentence in losses(source):
                say(sentence)
        if truth is not None:
            for method, found in video_errors(tracks, truth, args.lag):
                errors[Path(args.video).name, method] = found
                reports[name].setdefault("errors", {})[method] = vars(found)
    except (CameraError, EngineError, EvaluationError, VideoError) as error:
        raise CommandError(str(error)) from None
    for name, report in reports.items():
        if args.varied:
            print(f"{name}:\n")
        for line in video_table(report):
            print(line)
        if args.varied:
            print()
    if errors:
        print("", *error_table(errors), sep="\n")
    if args.out:
        text = _json(reports if args.varied else report)
        write_text(Path(args.out) / "video.json", text)


def add_parser(commands: Any) -> None:
    """Add the command; `commands` is what `ArgumentParser.add_subparsers` returned."""
    evaluate = commands.add_parser(
        "eval",
        help="accuracy of weights on real people with truth, motion capture or a video",
        description="Without --mocap, --footage or --video: on the recording of four cameras, "
        f"which is downloaded, and on the folder {_DEFAULT_FOOTAGE!r} where it exists.",
        epilog="Example: emf-ros eval --video video.mp4 --fov 70",
    )
    data = evaluate.add_mutually_exclusive_group()
    data.add_argument(
        "--mocap", metavar="DIR", help="folder of npz files: subjects outside the training"
    )
    data.add_argument(
        "--footage", metavar="DIR", help="folder of npz files: keypoints of real people, and truth"
    )
    data.add_argument("--video", help="a video of people, compared with BlazePose's 3D points")
    evaluate.add_argument(
        "--truth", metavar="FILE", help=".trc or .npz file: true joints of a person in the video"
    )
    evaluate.add_argument(
        "--varied",
        action="store_true",
        help="also mirror, crop, slow down and shrink the video",
    )
    add_video(evaluate)
    arguments.add_topic(evaluate, "images")
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
        help="number of windows for each kind of keypoints (1536)",
    )
    arguments.add_device(evaluate)
    evaluate.add_argument("--out", metavar="DIR", help="save the report and its plots")
    evaluate.set_defaults(run=run)
