"""The C library's heap: what is kept for the next image, and what a node at rest gives back."""

from __future__ import annotations

import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ros_session import stamp_ns, wait_for

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="the C library is not glibc: its heap is left alone"
)

#: Program that prints its memory, MiB: before images, when they are freed, and after giving back.
PROGRAM = """
import numpy as np
from emf_ros.runtime.heap import give_back_freed_memory, keep_freed_memory
from resident import resident_heap_mib
keep_freed_memory()
said = [resident_heap_mib("self")]
images, kept = [], []
for _ in range(20):
    images.append(np.ones(8 * 2**20, np.uint8))
    kept.append(np.ones(2**16, np.uint8))
del images
said.append(resident_heap_mib("self"))
give_back_freed_memory()
said.append(resident_heap_mib("self"))
print(*said)
"""


def test_freed_images_are_kept_until_they_are_given_back() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent,
    )
    before, freed, given_back = map(float, done.stdout.split())
    assert freed - before > 120
    assert given_back - before < 40


def test_a_disabled_source_gives_back_what_it_has_freed(
    ros: Any, start_node: Any, demo_video: Path
) -> None:
    from resident import resident_heap_mib
    from sensor_msgs.msg import Image
    from std_srvs.srv import SetBool

    process = start_node("video_source", source=demo_video, loop=True)
    images = ros.listen(Image, process.topic("image"))
    service = process.topic("video_source/enable")
    given_back, enabled_ns = [], 0
    for _ in range(4):
        # Older images may be on their way.
        wait_for(
            lambda a=enabled_ns: sum(stamp_ns(image) > a for image in list(images.messages)) > 3,
            "images",
        )
        playing = resident_heap_mib(process.pid)
        assert ros.call(SetBool, service, SetBool.Request(data=False)).success
        given_back.append(playing - resident_heap_mib(process.pid))
        images.messages.clear()
        enabled_ns = time.time_ns()
        assert ros.call(SetBool, service, SetBool.Request(data=True)).success
    # Decoder and images are of 40 MiB. Without giving back nothing is less.
    assert min(given_back[1:]) > 15, given_back
