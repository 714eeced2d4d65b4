"""`emf-ros export`, `import-published` and `models`: files of weights, and what presets cost."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from ..io.outputs import check_file
from . import arguments
from .console import CommandError, say

#: Endings of exported files: `model.export.FORMATS`, here so that the command starts without torch.
EXPORT_ENDINGS = {"onnx": ".onnx", "torchscript": ".torchscript", "torch-export": ".pt2"}


def run_export(args: argparse.Namespace) -> None:
    """Export weights, and compare the file with torch.

    Raises:
        CommandError: the weights cannot be read, or the export fails.
    """
    weights = arguments.weights_path(args)
    ending = EXPORT_ENDINGS[args.format]
    name = f"{args.preset}{'_fp16' if args.half else ''}{ending}"
    out = name if args.out is None else args.out
    if out and os.path.isdir(out):
        out = os.path.join(out, name)
    out = check_file(out, (weights,))
    other_endings = {".safetensors", *EXPORT_ENDINGS.values()} - {ending}
    if out.suffix.lower() in other_endings:
        raise CommandError(f"cannot write {out}: the name of this format ends in {ending}")

    import torch

    from ..lift.onnx_engine import HALF_SUFFIX
    from ..model.checkpoint import WeightsError, load_weights
    from ..model.export import ExportError, export_checked
    from ..model.presets import get_preset

    try:
        get_preset(args.preset)
        lifter = load_weights(weights)
        torch.set_num_threads(args.threads or torch.get_num_threads())
        say(f"exporting {weights}, and comparing {out} with torch")
        difference = export_checked(lifter, out, args.format, args.half)
        half = out.with_name(out.stem + HALF_SUFFIX)
        if out.suffix == ".onnx" and not args.half and half.exists():
            say(f"a GPU takes {half}, which stays as it was: export with --half, too")
    except (WeightsError, ExportError, ValueError) as error:
        raise CommandError(str(error)) from None
    print(
        f"{out}: {out.stat().st_size / 1e6:.1f} MB, within {difference:.1g} of torch "
        "at batches of 1, 3 and 8"
    )


def run_import_published(args: argparse.Namespace) -> None:
    """Put EMF in front of a published TCPFormer.

    Raises:
        CommandError: the checkpoint cannot be used.
    """
    from dataclasses import replace

    from ..model.checkpoint import save_weights
    from ..model.published import lifter_from_published, load_published
    from ..model.published_file import PublishedError

    check_file(args.out, (args.checkpoint,), ".safetensors")
    try:
        say(f"reading {args.checkpoint}")
        sizes = load_published(args.checkpoint, frames=args.frames, heads=args.heads).sizes
        # Training and nodes normalise by a virtual camera; weights trained on pixels adapt to it.
        config = replace(sizes.lifter_config(), normalization="virtual_camera")
        lifter = lifter_from_published(args.checkpoint, config)
        save_weights(args.out, lifter, {"imported": Path(args.checkpoint).name})
    except (PublishedError, ValueError) as error:
        raise CommandError(str(error)) from None
    print(
        f"{args.out}: {config.layers} layers, d {config.dim}, T {config.frames}; continue with: "
        f"emf-ros train --init {args.out}"
    )


def run_models(args: argparse.Namespace) -> None:
    """Print the presets, measured on this machine."""
    from ..runtime.machine import machine
    from .model_table import lines

    print(f"measured on {machine()}\n")
    for line in lines(args.threads, args.seconds):
        print(line, flush=True)


def add_parsers(commands: Any) -> None:
    """Add the commands; `commands` is what `ArgumentParser.add_subparsers` returned."""
    export = commands.add_parser(
        "export",
        help="weights to ONNX, TorchScript or torch.export",
        epilog="Example: emf-ros export --preset lite --format onnx",
    )
    arguments.add_weights(export)
    export.add_argument(
        "--format", default="onnx", choices=tuple(EXPORT_ENDINGS), help="format of the file (onnx)"
    )
    export.add_argument("--half", action="store_true", help="float16 inside, float32 outside")
    arguments.add_threads(export, "CPU threads of the comparison")
    export.add_argument("--out", metavar="FILE", help="file or folder (the preset's name, here)")
    export.set_defaults(run=run_export)

    published = commands.add_parser(
        "import-published",
        help="put EMF in front of a published TCPFormer, to train on",
        epilog="Example: emf-ros import-published best_epoch.pth.tr --out init.safetensors",
    )
    published.add_argument("checkpoint", help="the published file (.pth.tr)")
    published.add_argument(
        "--frames", type=arguments.positive_int, help="T (three for each proxy in the file)"
    )
    published.add_argument(
        "--heads", type=arguments.positive_int, default=8, help="attention heads (8)"
    )
    published.add_argument("--out", required=True, metavar="FILE.safetensors", help="file to write")
    published.set_defaults(run=run_import_published)

    models = commands.add_parser(
        "models",
        help="size, arithmetic and CPU time of the presets",
        epilog="Example: emf-ros models --threads 1",
    )
    arguments.add_threads(models, "CPU threads (2)")
    models.add_argument(
        "--seconds",
        type=arguments.positive_number,
        default=2.0,
        help="measuring time of each preset (2)",
    )
    models.set_defaults(run=run_models)
