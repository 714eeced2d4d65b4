"""Programs with the node video_source and a detector in one process.

`keeps` has a detector that keeps each image for some periods, and tells whether it has changed.
`unplugged` has a camera that is unplugged after some frames, and comes back.
`slow` has a video that is decoded more slowly than it plays.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from typing import Any

import numpy as np

from emf_ros.io.frame_source import VideoError
from emf_ros.nodes import video_source
from emf_ros.nodes.running import run

#: Time for which an image is kept, s.
KEEP_S = 0.3
#: Number of frames until the camera is unplugged.
FRAMES = 6
#: Rate of the camera, Hz.
RATE_HZ = 20.0


class Keeper:
    """A detector that takes its time, and reads the image at the end of it."""

    synchronous = False

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._busy = False

    def is_wanted(self) -> bool:
        return True

    def wait_idle(self, timeout_s: float) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: not self._busy, max(0.0, timeout_s))
            return not self._busy

    def submit(self, image: object) -> None:
        self._busy = True
        threading.Thread(target=self._keep, args=(image, image.data.tobytes())).start()

    def _keep(self, image: object, before: bytes) -> None:
        stamp = image.header.stamp
        time.sleep(KEEP_S)
        intact = image.data.tobytes() == before and image.header.stamp == stamp
        print("intact" if intact else "overwritten", before[0], flush=True)
        with self._changed:
            self._busy = False
            self._changed.notify_all()


class Camera:
    """A camera of grey frames, which gets lost; the first two attempts to open it again fail."""

    live, size, pixel_aspect, rate_hz, count, notice = True, (64, 48), 1.0, RATE_HZ, 0, ""
    camera = None
    opened = 0

    def __init__(self, source: str, *settings: Any) -> None:
        Camera.opened += 1
        if Camera.opened in (2, 3):
            raise VideoError(f"cannot open the camera {source}")
        self.unreadable, self.other_sizes = 0, Counter()
        self._next, self._begin_s = 0, time.monotonic()

    def grab(self) -> tuple[int, float] | None:
        if self._next == FRAMES and Camera.opened == 1:
            return None
        time.sleep(1 / RATE_HZ)
        self._next += 1
        return self._next - 1, time.monotonic() - self._begin_s

    def retrieve(self, into: np.ndarray | None = None) -> np.ndarray:
        return np.full((48, 64, 3), self._next, np.uint8)

    def times(self) -> None:
        return None

    def rewind(self) -> bool:
        return False

    def close(self) -> None:
        return None


class SlowVideo(Camera):
    """A video of which each frame takes five periods to decode."""

    live = False

    def grab(self) -> tuple[int, float] | None:
        time.sleep(5 / RATE_HZ)
        self._next += 1
        return self._next - 1, (self._next - 1) / RATE_HZ


def main() -> int:
    if sys.argv[1] == "slow":
        video_source.open_source = SlowVideo
    if sys.argv[1] == "unplugged":
        # There is no camera to unplug on a machine that tests.
        video_source.open_source, video_source.RETRY_S = Camera, 0.1
    return run(lambda: [video_source.VideoSource(Keeper())])


if __name__ == "__main__":
    sys.exit(main())
