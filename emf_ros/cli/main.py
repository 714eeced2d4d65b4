"""The command `emf-ros`: the package without ROS."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from .. import __version__
from ..io.outputs import OutputError, check_file, check_folder, write_text
from ..train.formats import FormatError
from ..train.formats.command import add_parser as add_mocap_parser
from . import arguments
from .interrupt import signals_as_interrupts, stop_request

RATE_HELP = (
    "pictures a second of a folder (30) or of a stream without times; a video with times is played "
    "at this mean rate (as recorded)"
)


class CommandError(RuntimeError):
    """What the user asked for cannot be done; the message says why."""


class Interrupted(RuntimeError):
    """A signal ended the command early; the message says what was kept.

    Args:
        number: of the signal.
    """

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number


#: Endings of exported files: `model.export.FORMATS`, here so that the command starts without torch.
_EXPORT_ENDINGS = {"onnx": ".onnx", "torchscript": ".torchscript", "torch-export": ".pt2"}


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _lift(args: argparse.Namespace) -> None:
    from ..geometry.camera import CameraError
    from ..io.calibration import choose_camera
    from ..io.recordings import RecordingError, load_recording
    from ..io.video import IMAGE_SUFFIXES, VideoError, losses, open_source
    from ..lift.engine import EngineError, make_engine
    from ..lift.offline import lift_recording, lift_video

    sources = (args.source, args.weights, args.camera_info)
    check_file(args.out, sources, ".npz", IMAGE_SUFFIXES)
    recorded = Path(args.source).suffix.lower() == ".npz"
    stopped_at: int | None = None

    def stopping(done: int) -> bool:
        nonlocal stopped_at
        if stop():
            stopped_at = done
        return stop()

    lost: list[str] = []
    try:
        if recorded:
            keypoints = load_recording(args.source)
            size, total = keypoints.image_size, len(set(keypoints.stamp.tolist()))
            pixel_aspect = 1.0
        else:
            source = open_source(args.source, args.rate)
            if source.notice:
                _say(source.notice)
            size, total, pixel_aspect = source.size, source.count, source.pixel_aspect
        camera = keypoints.camera if recorded else None
        if not recorded or args.camera_info or args.fov is not None or args.rectified:
            camera, notes = choose_camera(
                size, args.camera_info, args.fov, pixel_aspect, args.rectified
            )
            for note in notes:
                _say(note)
        engine = make_engine(args.preset, args.weights, args.device)
        _say(f"lifting with {engine.description}")
        with stop_request("picture") as stop:
            if recorded:
                keypoints.camera = camera
                recording, counts = lift_recording(
                    keypoints, engine, args.lag, args.people, stopping=stopping
                )
            else:
                recording, counts = lift_video(
                    source,
                    camera,
                    engine,
                    args.lag,
                    args.people,
                    args.variant,
                    stopping=stopping,
                )
                lost = losses(source)
    except (CameraError, EngineError, RecordingError, VideoError) as error:
        raise CommandError(str(error)) from None
    for reason, number in sorted(counts.items()):
        _say(f"{reason}: {number}")
    for sentence in lost:
        _say(sentence)
    # At the end, where they are still seen after the progress.
    for note in keypoints.notes if recorded else ():
        _say(f"note: {args.source}: {note}")
    if stopped_at == 0:
        raise Interrupted(f"interrupted: nothing was written to {args.out}", stop.signal)
    recording.save(args.out)
    if stopped_at is not None:
        pictures = f"{stopped_at} of {total}" if total else str(stopped_at)
        raise Interrupted(f"interrupted: {pictures} pictures are in {args.out}", stop.signal)
    people = len(set(recording.track_id.tolist()))
    print(f"{args.out}: {len(recording)} poses of {people} people")


def _train(args: argparse.Namespace) -> None:
    from ..model.checkpoint import WeightsError
    from ..train.card import finish
    from ..train.mocap import MocapError
    from ..train.settings import TrainConfig
    from ..train.trainer import Trainer
    from ..train.training_log import TrainingError

    inits = [path.strip() for path in args.init.split(",") if path.strip()]
    names = [f"{args.preset}{ending}" for ending in Trainer.ENDINGS]
    check_folder(args.out, names, [args.mocap, *inits])
    finishing = False
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
            _say(trainer.summary())
        with stop_request("step") as stop:
            done = trainer.train(args.minutes or float("inf"), stop)
        trainer.processes.leave()
        if not first:
            # Some of these processes abort while Python goes down after gloo was used (torch 2.13),
            # and torchrun then kills the first one, which still has the weights to write.
            sys.stderr.flush()
            os._exit(0)
        go_on = f"{100 * trainer.progress():.0f} % done; run the same command to go on"
        if done:
            finishing = True
            _say("calibrating, exporting and evaluating the weights; this takes minutes")
            finish(trainer)
            print(f"weights and model card in {args.out}")
        elif stop():
            raise Interrupted(
                f"interrupted: step {trainer.step} is saved in {trainer.state_path}; {go_on}",
                stop.signal,
            )
        else:
            print(go_on)
    except (MocapError, TrainingError, WeightsError, ValueError) as error:
        raise CommandError(str(error)) from None
    except KeyboardInterrupt as interrupt:
        if finishing:
            kept = f"all training is saved in {trainer.state_path}; run the same command to finish"
        else:
            kept = f"what was saved in {args.out} before is kept; run the same command to go on"
        raise Interrupted(f"interrupted: {kept}", _signal_of(interrupt)) from None


def _eval(args: argparse.Namespace) -> None:
    import json

    from ..io.paths import share_folder
    from ..model.checkpoint import WeightsError
    from ..train.evaluate import EvaluationError, evaluate_file
    from ..train.mocap import MocapError
    from ..train.report import PLOTS, plots, tables

    if args.video:
        _eval_video(args)
        return
    weights = args.weights or share_folder("models") / f"{args.preset}.safetensors"
    if args.out is not None:
        names = ("report.json", "report.md", *(f"{name}.png" for name in PLOTS))
        check_folder(args.out, names, (args.mocap, weights))
    subjects = tuple(s for s in args.subjects.split(",") if s)
    try:
        _say(f"evaluating {weights} on {args.windows} windows of each kind of keypoints")
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
            _say(f"{out}: report.json, report.md, {', '.join(drawn)}")
    except (EvaluationError, MocapError, WeightsError, ValueError) as error:
        raise CommandError(str(error)) from None


def _eval_video(args: argparse.Namespace) -> None:
    import json

    from ..geometry.camera import CameraError
    from ..io.calibration import choose_camera
    from ..io.video import VideoError, losses, open_source
    from ..lift.engine import EngineError, make_engine
    from ..train.evaluate import EvaluationError
    from ..train.video import VARIATIONS, Truth, VariedSource, evaluate_video, video_table

    if args.varied and args.truth:
        # Mirrored, slowed or cut, the video shows another motion than the truth.
        raise CommandError("--truth is of the video as it is: leave out --varied")
    if args.out is not None:
        sources = (args.video, args.truth, args.camera_info, args.weights)
        check_folder(args.out, ("video.json",), sources)
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
                for note in notes:
                    _say(note)
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
        text = json.dumps(reports if args.varied else report, indent=1)
        write_text(Path(args.out) / "video.json", text)


def _export(args: argparse.Namespace) -> None:
    from ..io.paths import share_folder

    weights = args.weights or share_folder("models") / f"{args.preset}.safetensors"
    ending = _EXPORT_ENDINGS[args.format]
    name = f"{args.preset}{'_fp16' if args.half else ''}{ending}"
    out = name if args.out is None else args.out
    if out and os.path.isdir(out):
        out = os.path.join(out, name)
    out = check_file(out, (weights,))
    of_others = {".safetensors", *_EXPORT_ENDINGS.values()} - {ending}
    if out.suffix.lower() in of_others:
        raise CommandError(f"cannot write {out}: the name of this format ends in {ending}")

    import torch

    from ..model.checkpoint import WeightsError, load_weights
    from ..model.export import ExportError, check_export, export
    from ..model.presets import get_preset

    try:
        get_preset(args.preset)
        lifter = load_weights(weights)
        torch.set_num_threads(args.threads or torch.get_num_threads())
        _say(f"exporting {weights}")
        export(lifter, out, args.format, args.half)
        _say(f"comparing {out} with torch")
        difference = check_export(lifter, out, args.format, args.half)
    except (WeightsError, ExportError, ValueError) as error:
        raise CommandError(str(error)) from None
    print(
        f"{out}: {out.stat().st_size / 1e6:.1f} MB, within {difference:.1g} of torch "
        "at batches of 1, 3 and 8"
    )


def _import_published(args: argparse.Namespace) -> None:
    from dataclasses import replace

    from ..model.checkpoint import save_weights
    from ..model.published import PublishedError, lifter_from_published, load_published

    check_file(args.out, (args.checkpoint,), ".safetensors")
    try:
        _say(f"reading {args.checkpoint}")
        sizes = load_published(args.checkpoint, frames=args.frames, heads=args.heads).sizes
        # Normalised as our training and our nodes do it; what was learned in pixels adapts.
        config = replace(sizes.lifter_config(), normalization="virtual_camera")
        lifter = lifter_from_published(args.checkpoint, config)
        save_weights(args.out, lifter, {"imported": Path(args.checkpoint).name})
    except (PublishedError, ValueError) as error:
        raise CommandError(str(error)) from None
    print(
        f"{args.out}: {config.layers} layers, d {config.dim}, T {config.frames}; to be trained on: "
        f"emf-ros train --init {args.out}"
    )


def _models(args: argparse.Namespace) -> None:
    from ..runtime.machine import machine
    from .model_table import lines

    print(f"measured on {machine()}\n")
    for line in lines(args.threads, args.seconds):
        print(line, flush=True)


def _render(args: argparse.Namespace) -> None:
    from ..io.progress import track
    from ..io.recordings import RecordingError, load_recording
    from ..io.render.video import RenderError, playback_rate_hz, render_recording
    from ..io.video import IMAGE_SUFFIXES, VideoError, frames_of, losses, open_source

    check_file(args.out, (args.recording, args.video), ".mp4", IMAGE_SUFFIXES)
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
        "--camera-info", metavar="FILE", help="calibration file (docs/reference/calibration.md)"
    )
    camera.add_argument(
        "--fov",
        type=arguments.field_of_view,
        metavar="DEG",
        help="horizontal field of view (default: a guess across the longer side)",
    )
    command.add_argument(
        "--rectified",
        action="store_true",
        help="the images are rectified: take the file's P, without distortion",
    )


def _parser() -> argparse.ArgumentParser:
    parser = arguments.OneLineParser("emf-ros", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)

    lift = commands.add_parser("lift", help="a video, or recorded keypoints, to 3D skeletons")
    lift.add_argument(
        "source", help="video file, folder of images, webcam's number, or npz of 2D keypoints"
    )
    lift.add_argument("--rate", type=arguments.positive_number, metavar="HZ", help=RATE_HELP)
    add_camera(lift)
    lift.add_argument("--preset", default="lite", help="size of the model (lite)")
    lift.add_argument("--weights", help="a weights file in place of the preset's")
    lift.add_argument("--device", default="auto", choices=("auto", "cuda", "cpu"))
    lift.add_argument(
        "--lag",
        type=arguments.frames_of_lag,
        default=0,
        metavar="FRAMES",
        help="frames after a picture that its pose takes into account (0); the last pictures have "
        "fewer",
    )
    lift.add_argument(
        "--people",
        type=arguments.count_of_people,
        default=2,
        help="maximum number of people, 1 to 256 (2)",
    )
    lift.add_argument("--variant", default="full", help="size of the 2D detector (full)")
    lift.add_argument(
        "--out", required=True, metavar="FILE.npz", help="in a folder that exists; no input"
    )
    lift.set_defaults(run=_lift)

    render = commands.add_parser("render", help="a recording and its video to one mp4 to look at")
    render.add_argument("recording")
    render.add_argument("video", help="video file or folder of images that was lifted")
    render.add_argument(
        "--rate", type=arguments.positive_number, metavar="HZ", help=f"as for lift: {RATE_HELP}"
    )
    render.add_argument(
        "--out", required=True, metavar="FILE.mp4", help="in a folder that exists; no input"
    )
    render.set_defaults(run=_render)

    add_mocap_parser(commands)

    train = commands.add_parser("train", help="motion capture to weights; goes on where it stopped")
    train.add_argument("--mocap", required=True, metavar="DIR", help="folder of npz files")
    train.add_argument("--out", required=True, metavar="DIR")
    train.add_argument("--preset", default="lite")
    train.add_argument(
        "--budget",
        type=arguments.positive_number,
        default=60.0,
        help="minutes of the whole run (60)",
    )
    train.add_argument(
        "--steps",
        type=arguments.whole_number(0),
        default=0,
        help="length of the run in steps; 0 leaves it to --budget (0)",
    )
    train.add_argument(
        "--minutes", type=arguments.positive_number, help="minutes to train now, then stop"
    )
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
    train.add_argument("--threads", type=arguments.count_of_threads, help="CPU threads")
    train.add_argument(
        "--init",
        default="",
        metavar="FILE[,FILE...]",
        help="weights to go on from; of several, their mean",
    )
    train.add_argument("--seed", type=arguments.seed, default=0)
    train.set_defaults(run=_train)

    evaluate = commands.add_parser("eval", help="how good weights are on subjects not trained on")
    what = evaluate.add_mutually_exclusive_group(required=True)
    what.add_argument("--mocap", metavar="DIR", help="folder of npz files")
    what.add_argument("--video", help="a video of people, beside BlazePose's own 3D points")
    evaluate.add_argument("--truth", metavar="FILE.npz", help="joints of the video's person")
    evaluate.add_argument(
        "--varied",
        action="store_true",
        help="the video also mirrored, cropped, slowed and shrunk",
    )
    evaluate.add_argument(
        "--rate", type=arguments.positive_number, metavar="HZ", help=f"as for lift: {RATE_HELP}"
    )
    add_camera(evaluate)
    evaluate.add_argument("--variant", default="full", help="of the video's detector (full)")
    evaluate.add_argument(
        "--lag", type=arguments.frames_of_lag, default=0, help="of the video's poses (0)"
    )
    evaluate.add_argument("--preset", default="lite", help="which of the shipped weights (lite)")
    evaluate.add_argument("--weights", metavar="FILE", help="weights in place of the preset's")
    evaluate.add_argument(
        "--subjects", default="", metavar="SUBJECT,...", help="these alone (those held back)"
    )
    evaluate.add_argument(
        "--trained-too", action="store_true", help="also on subjects that were trained on"
    )
    evaluate.add_argument(
        "--windows",
        type=arguments.positive_int,
        default=1536,
        help="per kind of keypoints (1536)",
    )
    evaluate.add_argument("--device", default="auto", choices=("auto", "cuda", "cpu"))
    evaluate.add_argument("--out", metavar="DIR", help="save the report and its plots")
    evaluate.set_defaults(run=_eval)

    export = commands.add_parser("export", help="weights to ONNX, TorchScript or torch.export")
    export.add_argument("--preset", default="lite", help="which of the shipped weights (lite)")
    export.add_argument("--weights", metavar="FILE", help="weights in place of the preset's")
    export.add_argument("--format", default="onnx", choices=("onnx", "torchscript", "torch-export"))
    export.add_argument("--half", action="store_true", help="float16 inside, float32 outside")
    export.add_argument(
        "--threads", type=arguments.count_of_threads, help="CPU threads of the check"
    )
    export.add_argument("--out", metavar="FILE", help="file or folder (the preset's name, here)")
    export.set_defaults(run=_export)

    published = commands.add_parser(
        "import-published", help="a published TCPFormer checkpoint with EMF in front, to train on"
    )
    published.add_argument("checkpoint", help="the published file (.pth.tr)")
    published.add_argument(
        "--frames", type=arguments.positive_int, help="T (three for each proxy in the file)"
    )
    published.add_argument(
        "--heads", type=arguments.positive_int, default=8, help="attention heads (8)"
    )
    published.add_argument("--out", required=True, metavar="FILE.safetensors")
    published.set_defaults(run=_import_published)

    models = commands.add_parser("models", help="the presets: size, arithmetic, time on this CPU")
    models.add_argument("--threads", type=arguments.count_of_threads, help="CPU threads (2)")
    models.add_argument(
        "--seconds",
        type=arguments.positive_number,
        default=2.0,
        help="spent on each figure (2)",
    )
    models.set_defaults(run=_models)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    try:
        with signals_as_interrupts():
            # A command's exit status, where it has one besides 0.
            return int(args.run(args) or 0)
    except (CommandError, FormatError, OutputError) as error:
        _say(f"emf-ros: {error}")
        return 1
    except Interrupted as interrupt:
        _say(f"emf-ros: {interrupt}")
        return 128 + interrupt.number
    except KeyboardInterrupt as interrupt:
        out = getattr(args, "out", None)
        _say("emf-ros: interrupted" + (f": {out} is as it was before" if out else ""))
        return 128 + _signal_of(interrupt)
    except BrokenPipeError:
        # Who reads has seen enough, as `head` does; nothing more may be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _signal_of(interrupt: KeyboardInterrupt) -> int:
    """The number of the signal that interrupted."""
    return int(interrupt.args[0]) if interrupt.args else int(signal.SIGINT)
