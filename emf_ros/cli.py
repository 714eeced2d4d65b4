"""The command `emf-ros`: the package without ROS."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from . import __version__
from .train.formats import FormatError
from .train.formats.command import add_parser as add_mocap_parser

RATE_HELP = (
    "pictures a second of a folder (30) or of a stream without times; a video with times is played "
    "at this mean rate (as recorded)"
)


class CommandError(RuntimeError):
    """What the user asked for cannot be done; the message says why."""


def _say(notes: Sequence[str]) -> None:
    """What the user must know, beside the results."""
    for note in notes:
        print(note, file=sys.stderr)


def _lift(args: argparse.Namespace) -> None:
    from .calibration import choose_camera
    from .camera import CameraError
    from .lift.engine import EngineError, make_engine
    from .lift.offline import lift_recording, lift_video
    from .recording import RecordingError, load_recording
    from .video import VideoError, losses, open_source

    lost: list[str] = []
    try:
        engine = make_engine(args.preset, args.weights, args.device)
        print(f"lifting with {engine.description}", file=sys.stderr)
        if Path(args.source).suffix.lower() == ".npz":
            keypoints = load_recording(args.source)
            if args.camera_info or args.fov is not None or args.rectified:
                keypoints.camera, notes = choose_camera(
                    keypoints.image_size, args.camera_info, args.fov, rectified=args.rectified
                )
                _say(notes)
            recording, counts = lift_recording(keypoints, engine, args.lag, args.people)
        else:
            source = open_source(args.source, args.rate)
            if source.notice:
                print(source.notice, file=sys.stderr)
            camera, notes = choose_camera(
                source.size, args.camera_info, args.fov, source.pixel_aspect, args.rectified
            )
            _say(notes)
            recording, counts = lift_video(
                source, camera, engine, args.lag, args.people, args.variant
            )
            lost = losses(source)
        recording.save(args.out)
    except (CameraError, EngineError, RecordingError, VideoError) as error:
        raise CommandError(str(error)) from None
    except OSError as error:
        raise CommandError(f"cannot write {args.out}: {error}") from None
    for reason, number in sorted(counts.items()):
        print(f"{reason}: {number}", file=sys.stderr)
    for sentence in lost:
        print(sentence, file=sys.stderr)
    people = len(set(recording.track_id.tolist()))
    print(f"{args.out}: {len(recording)} poses of {people} people")


def _train(args: argparse.Namespace) -> None:
    from .model.checkpoint import WeightsError
    from .train.card import finish
    from .train.mocap import MocapError
    from .train.trainer import TrainConfig, Trainer, TrainingError

    try:
        config = TrainConfig(
            preset=args.preset,
            mocap=args.mocap,
            out=args.out,
            validation=tuple(s for s in args.validation.split(",") if s),
            budget_minutes=args.budget,
            steps=args.steps,
            init=args.init,
            seed=args.seed,
        ).changed(args.set)
        trainer = Trainer(config, args.device, args.threads)
        first = trainer.processes.first
        if first:
            print(trainer.summary(), file=sys.stderr)
        done = trainer.train(args.minutes or float("inf"))
        trainer.processes.leave()
        if not first:
            # Some of these processes abort while Python goes down after gloo was used (torch 2.13),
            # and torchrun then kills the first one, which still has the weights to write.
            sys.stderr.flush()
            os._exit(0)
        if done:
            finish(trainer)
            print(f"weights and model card in {args.out}")
        else:
            print(f"{100 * trainer.progress():.0f} % done; run the same command to go on")
    except (MocapError, TrainingError, WeightsError, ValueError) as error:
        raise CommandError(str(error)) from None
    except OSError as error:
        raise CommandError(f"cannot write {args.out}: {error}") from None


def _eval(args: argparse.Namespace) -> None:
    import json

    from .model.checkpoint import WeightsError
    from .paths import share_folder
    from .train.evaluate import EvaluationError, evaluate_file
    from .train.mocap import MocapError
    from .train.report import plots, tables

    if args.video:
        _eval_video(args)
        return
    weights = args.weights or share_folder("models") / f"{args.preset}.safetensors"
    subjects = tuple(s for s in args.subjects.split(",") if s)
    try:
        report = evaluate_file(
            weights, args.mocap, subjects, args.trained_too, args.windows, args.device
        )
        for line in tables(report):
            print(line)
        if args.out:
            out = Path(args.out)
            out.mkdir(parents=True, exist_ok=True)
            (out / "report.json").write_text(json.dumps(report, indent=1))
            (out / "report.md").write_text("\n".join(tables(report)))
            names = [path.name for path in plots(report, out)]
            print(f"{out}: report.json, report.md, {', '.join(names)}", file=sys.stderr)
    except (EvaluationError, MocapError, WeightsError, ValueError) as error:
        raise CommandError(str(error)) from None
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CommandError(f"cannot write {args.out}: {error}") from None


def _eval_video(args: argparse.Namespace) -> None:
    import json

    from .calibration import choose_camera
    from .camera import CameraError
    from .lift.engine import EngineError, make_engine
    from .train.evaluate import EvaluationError
    from .train.video import VARIATIONS, Truth, VariedSource, evaluate_video, video_table
    from .video import VideoError, losses, open_source

    if args.varied and args.truth:
        # Mirrored, slowed or cut, the video shows another motion than the truth.
        raise CommandError("--truth is of the video as it is: leave out --varied")
    try:
        truth = Truth.load(args.truth) if args.truth else None
        engine = make_engine(args.preset, args.weights, args.device)
        reports: dict[str, dict] = {}
        for name in VARIATIONS if args.varied else ("as it is",):
            source = open_source(args.video, args.rate)
            if source.notice:
                print(source.notice, file=sys.stderr)
            camera, notes = choose_camera(
                source.size, args.camera_info, args.fov, source.pixel_aspect, args.rectified
            )
            if not reports:
                _say(notes)
            varied = VariedSource(source, VARIATIONS[name])
            reports[name] = evaluate_video(
                varied,
                VARIATIONS[name].camera(camera),
                engine,
                args.lag,
                variant=args.variant,
                truth=truth,
            )
            for sentence in losses(source):
                print(sentence, file=sys.stderr)
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
        try:
            Path(args.out).mkdir(parents=True, exist_ok=True)
            text = json.dumps(reports if args.varied else report, indent=1)
            (Path(args.out) / "video.json").write_text(text)
        except OSError as error:
            raise CommandError(f"cannot write {args.out}: {error}") from None


def _export(args: argparse.Namespace) -> None:
    import torch

    from .model.checkpoint import WeightsError, load_weights
    from .model.export import FORMATS, ExportError, check_export, export
    from .model.presets import get_preset
    from .paths import share_folder

    try:
        get_preset(args.preset)
        weights = args.weights or share_folder("models") / f"{args.preset}.safetensors"
        lifter = load_weights(weights)
        name = f"{args.preset}{'_fp16' if args.half else ''}{FORMATS[args.format]}"
        out = Path(args.out or name)
        if out.is_dir():
            out = out / name
        torch.set_num_threads(args.threads or torch.get_num_threads())
        export(lifter, out, args.format, args.half)
        difference = check_export(lifter, out, args.format, args.half)
    except (WeightsError, ExportError, ValueError) as error:
        raise CommandError(str(error)) from None
    except OSError as error:
        raise CommandError(f"cannot write {args.out}: {error}") from None
    print(
        f"{out}: {out.stat().st_size / 1e6:.1f} MB, within {difference:.1g} of torch "
        "at batches of 1, 3 and 8"
    )


def _import_published(args: argparse.Namespace) -> None:
    from dataclasses import replace

    from .model.checkpoint import save_weights
    from .model.published import PublishedError, lifter_from_published, load_published

    try:
        sizes = load_published(args.checkpoint, frames=args.frames, heads=args.heads).sizes
        # Normalised as our training and our nodes do it; what was learned in pixels adapts.
        config = replace(sizes.lifter_config(), normalization="virtual_camera")
        lifter = lifter_from_published(args.checkpoint, config)
        save_weights(args.out, lifter, {"imported": Path(args.checkpoint).name})
    except (PublishedError, ValueError) as error:
        raise CommandError(str(error)) from None
    except OSError as error:
        raise CommandError(f"cannot write {args.out}: {error}") from None
    print(
        f"{args.out}: {config.layers} layers, d {config.dim}, T {config.frames}; to be trained on: "
        f"emf-ros train --init {args.out}"
    )


def _models(args: argparse.Namespace) -> None:
    from .machine import machine
    from .model_table import lines

    print(f"measured on {machine()}\n")
    for line in lines(args.threads, args.seconds):
        print(line, flush=True)


def _render(args: argparse.Namespace) -> None:
    from .progress import track
    from .recording import RecordingError, load_recording
    from .render import RenderError, playback_rate_hz, render_recording
    from .video import VideoError, frames_of, losses, open_source

    try:
        recording = load_recording(args.recording)
        source = open_source(args.video, args.rate)
        if source.notice:
            print(source.notice, file=sys.stderr)
        shown = track(frames_of(source), "rendering", source.count or None)
        frames = ((stamp, picture) for _, stamp, picture in shown)
        render_recording(recording, frames, args.out, playback_rate_hz(source))
        for sentence in losses(source):
            print(sentence, file=sys.stderr)
    except (RecordingError, VideoError, RenderError) as error:
        raise CommandError(str(error)) from None
    print(args.out)


def add_camera(command: argparse.ArgumentParser) -> None:
    """The arguments by which a command is told the intrinsics of its video."""
    camera = command.add_mutually_exclusive_group()
    camera.add_argument(
        "--camera-info", metavar="FILE", help="calibration file (docs/calibration.md)"
    )
    camera.add_argument(
        "--fov",
        type=float,
        metavar="DEG",
        help="horizontal field of view (default: a guess across the longer side)",
    )
    command.add_argument(
        "--rectified",
        action="store_true",
        help="the images are rectified: take the file's P, without distortion",
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("emf-ros", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)

    lift = commands.add_parser("lift", help="a video, or recorded keypoints, to 3D skeletons")
    lift.add_argument(
        "source", help="video file, folder of images, webcam's number, or npz of 2D keypoints"
    )
    lift.add_argument("--rate", type=float, metavar="HZ", help=RATE_HELP)
    add_camera(lift)
    lift.add_argument("--preset", default="lite", help="size of the model (lite)")
    lift.add_argument("--weights", help="a weights file in place of the preset's")
    lift.add_argument("--device", default="auto", choices=("auto", "cuda", "cpu"))
    lift.add_argument("--lag", type=int, default=0, help="frames behind the newest (0)")
    lift.add_argument("--people", type=int, default=2, help="how many are looked for (2)")
    lift.add_argument("--variant", default="full", help="size of the 2D detector (full)")
    lift.add_argument("--out", required=True, metavar="FILE.npz")
    lift.set_defaults(run=_lift)

    render = commands.add_parser("render", help="a recording and its video to one mp4 to look at")
    render.add_argument("recording")
    render.add_argument("video", help="video file or folder of images that was lifted")
    render.add_argument("--rate", type=float, metavar="HZ", help=f"as for lift: {RATE_HELP}")
    render.add_argument("--out", required=True, metavar="FILE.mp4")
    render.set_defaults(run=_render)

    add_mocap_parser(commands)

    train = commands.add_parser("train", help="motion capture to weights; goes on where it stopped")
    train.add_argument("--mocap", required=True, metavar="DIR", help="folder of npz files")
    train.add_argument("--out", required=True, metavar="DIR")
    train.add_argument("--preset", default="lite")
    train.add_argument("--budget", type=float, default=60.0, help="minutes of the whole run (60)")
    train.add_argument("--steps", type=int, default=0, help="length in steps in place of minutes")
    train.add_argument("--minutes", type=float, help="train for so long now, then stop")
    train.add_argument(
        "--validation", default="", metavar="SUBJECT,...", help="hold these subjects back"
    )
    train.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SETTING=VALUE",
        help="any other setting: learning_rate=1e-3, diversity.tilt=0, lifter.layers=4, ...",
    )
    train.add_argument("--device", default="auto", choices=("auto", "cuda", "cpu"))
    train.add_argument("--threads", type=int, help="CPU threads")
    train.add_argument(
        "--init",
        default="",
        metavar="FILE[,FILE...]",
        help="weights to go on from; of several, their mean",
    )
    train.add_argument("--seed", type=int, default=0)
    train.set_defaults(run=_train)

    evaluate = commands.add_parser("eval", help="how good weights are on subjects not trained on")
    what = evaluate.add_mutually_exclusive_group(required=True)
    what.add_argument("--mocap", metavar="DIR", help="folder of npz files")
    what.add_argument("--video", help="a video of people, beside MediaPipe's own 3D points")
    evaluate.add_argument("--truth", metavar="FILE.npz", help="joints of the video's person")
    evaluate.add_argument(
        "--varied",
        action="store_true",
        help="the video also mirrored, cropped, slowed and shrunk",
    )
    evaluate.add_argument("--rate", type=float, metavar="HZ", help=f"as for lift: {RATE_HELP}")
    add_camera(evaluate)
    evaluate.add_argument("--variant", default="full", help="of the video's detector (full)")
    evaluate.add_argument("--lag", type=int, default=0, help="of the video's poses (0)")
    evaluate.add_argument("--preset", default="lite", help="which of the shipped weights (lite)")
    evaluate.add_argument("--weights", metavar="FILE", help="weights in place of the preset's")
    evaluate.add_argument(
        "--subjects", default="", metavar="SUBJECT,...", help="these alone (those held back)"
    )
    evaluate.add_argument(
        "--trained-too", action="store_true", help="also on subjects that were trained on"
    )
    evaluate.add_argument("--windows", type=int, default=1536, help="per kind of keypoints (1536)")
    evaluate.add_argument("--device", default="auto", choices=("auto", "cuda", "cpu"))
    evaluate.add_argument("--out", metavar="DIR", help="save the report and its plots")
    evaluate.set_defaults(run=_eval)

    export = commands.add_parser("export", help="weights to ONNX, TorchScript or torch.export")
    export.add_argument("--preset", default="lite", help="which of the shipped weights (lite)")
    export.add_argument("--weights", metavar="FILE", help="weights in place of the preset's")
    export.add_argument("--format", default="onnx", choices=("onnx", "torchscript", "torch-export"))
    export.add_argument("--half", action="store_true", help="float16 inside, float32 outside")
    export.add_argument("--threads", type=int, help="CPU threads of the check")
    export.add_argument("--out", metavar="FILE", help="file or folder (the preset's name, here)")
    export.set_defaults(run=_export)

    published = commands.add_parser(
        "import-published", help="a published TCPFormer checkpoint with EMF in front, to train on"
    )
    published.add_argument("checkpoint", help="the published file (.pth.tr)")
    published.add_argument("--frames", type=int, help="T (three for each proxy in the file)")
    published.add_argument("--heads", type=int, default=8, help="attention heads (8)")
    published.add_argument("--out", required=True, metavar="FILE.safetensors")
    published.set_defaults(run=_import_published)

    models = commands.add_parser("models", help="the presets: size, arithmetic, time on this CPU")
    models.add_argument("--threads", type=int, help="CPU threads (2)")
    models.add_argument("--seconds", type=float, default=2.0, help="spent on each figure (2)")
    models.set_defaults(run=_models)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    try:
        # A command's exit status, where it has one besides 0.
        return int(args.run(args) or 0)
    except (CommandError, FormatError) as error:
        print(f"emf-ros: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Who reads has seen enough, as `head` does; nothing more may be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


if __name__ == "__main__":
    sys.exit(main())
