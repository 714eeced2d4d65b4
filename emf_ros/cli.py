"""The command `emf-ros`: the package without ROS."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from . import __version__


class CommandError(RuntimeError):
    """What the user asked for cannot be done; the message says why."""


def _lift(args: argparse.Namespace) -> None:
    from .camera import Camera, CameraError
    from .lift.engine import EngineError, make_engine
    from .lift.offline import lift_recording, lift_video
    from .recording import RecordingError, load_recording
    from .video import VideoError, open_source

    try:
        engine = make_engine(args.preset, args.weights, args.device)
        print(f"lifting with {engine.description}", file=sys.stderr)
        if Path(args.source).suffix.lower() == ".npz":
            keypoints = load_recording(args.source)
            if args.camera_info:
                keypoints.camera = Camera.from_yaml(args.camera_info)
            elif args.fov is not None:
                keypoints.camera = Camera.from_fov(*keypoints.image_size, args.fov)
            recording, counts = lift_recording(keypoints, engine, args.lag, args.people)
        else:
            source = open_source(args.source)
            width, height = source.size
            if args.camera_info:
                camera = Camera.from_yaml(args.camera_info).scaled_to(width, height)
            else:
                fov = 60.0 if args.fov is None else args.fov
                if args.fov is None:
                    print(
                        f"no --camera-info and no --fov: assuming {fov:g} degrees, on which all "
                        "distances depend",
                        file=sys.stderr,
                    )
                camera = Camera.from_fov(width, height, fov)
            recording, counts = lift_video(
                source, camera, engine, args.lag, args.people, args.variant
            )
        recording.save(args.out)
    except (CameraError, EngineError, RecordingError, VideoError) as error:
        raise CommandError(str(error)) from None
    except OSError as error:
        raise CommandError(f"cannot write {args.out}: {error}") from None
    for reason, number in sorted(counts.items()):
        print(f"{reason}: {number}", file=sys.stderr)
    people = len(set(recording.track_id.tolist()))
    print(f"{args.out}: {len(recording)} poses of {people} people")


def _train(args: argparse.Namespace) -> None:
    from .train.card import finish
    from .train.mocap import MocapError
    from .train.trainer import TrainConfig, Trainer

    config = TrainConfig(
        preset=args.preset,
        mocap=args.mocap,
        out=args.out,
        budget_minutes=args.budget,
        seed=args.seed,
    )
    try:
        trainer = Trainer(config, args.device, args.threads)
        done = trainer.train(args.minutes or args.budget)
        if done:
            finish(trainer)
            print(f"weights and model card in {args.out}")
        else:
            spent = trainer.trained_s / 60
            print(f"{spent:.1f} of {args.budget:g} minutes; run the same command to go on")
    except (MocapError, ValueError) as error:
        raise CommandError(str(error)) from None


def _render(args: argparse.Namespace) -> None:
    from .recording import RecordingError, load_recording
    from .render import RenderError, render_recording
    from .video import VideoError, frames_of, open_source

    try:
        recording = load_recording(args.recording)
        source = open_source(args.video)
        frames = ((stamp, picture) for _, stamp, picture in frames_of(source))
        render_recording(recording, frames, args.out, source.rate_hz)
    except (RecordingError, VideoError, RenderError) as error:
        raise CommandError(str(error)) from None
    print(args.out)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("emf-ros", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)

    lift = commands.add_parser("lift", help="a video, or recorded keypoints, to 3D skeletons")
    lift.add_argument("source", help="video file, folder of images, or npz of 2D keypoints")
    camera = lift.add_mutually_exclusive_group()
    camera.add_argument("--camera-info", metavar="YAML", help="intrinsics of camera_calibration")
    camera.add_argument("--fov", type=float, metavar="DEG", help="horizontal field of view")
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
    render.add_argument("video")
    render.add_argument("--out", required=True, metavar="FILE.mp4")
    render.set_defaults(run=_render)

    train = commands.add_parser("train", help="motion capture to weights; goes on where it stopped")
    train.add_argument("--mocap", required=True, metavar="DIR", help="folder of npz files")
    train.add_argument("--out", required=True, metavar="DIR")
    train.add_argument("--preset", default="lite")
    train.add_argument("--budget", type=float, default=60.0, help="minutes of the whole run (60)")
    train.add_argument("--minutes", type=float, help="train for so long now, then stop")
    train.add_argument("--device", default="auto", choices=("auto", "cuda", "cpu"))
    train.add_argument("--threads", type=int, help="CPU threads")
    train.add_argument("--seed", type=int, default=0)
    train.set_defaults(run=_train)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    try:
        args.run(args)
    except CommandError as error:
        print(f"emf-ros: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
