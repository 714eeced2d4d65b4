"""Fetches what a set-up needs, and prints the paths: `python -m emf_ros.downloads`."""

from __future__ import annotations

import argparse
import importlib.util
import sys

from ..detect.mediapipe_bundle import ensure_pose_task
from ..detect.weights import VARIANTS, ensure_onnx
from .cache import DownloadError
from .videos import ensure_demo_video


def main(arguments: list[str] | None = None) -> int:
    """Fetch the weights, and the demo video if it is asked for."""
    parser = argparse.ArgumentParser(description="Fetch BlazePose's weights into the cache.")
    parser.add_argument("--variant", default="full", choices=VARIANTS)
    parser.add_argument("--demo-video", action="store_true", help="fetch the demo video, too")
    options = parser.parse_args(arguments)
    try:
        if importlib.util.find_spec("mediapipe") is not None:
            print(ensure_pose_task(options.variant))
        for variant in (None, options.variant):
            print(ensure_onnx(variant))
        if options.demo_video:
            print(ensure_demo_video())
    except DownloadError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
