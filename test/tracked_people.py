"""People for the tests of the tracker: detections, and images that show their colours."""

import numpy as np

from emf_ros.types import Pose2D

FRAME_NS = 33_333_333
#: (33, 2) px, of a person about 350 px tall.
BODY = np.random.default_rng(0).normal(0, (25, 60), (33, 2))


def person(x, y=300.0, score=0.9, jitter=None):
    points = BODY + (x, y)
    if jitter is not None:
        points = points + jitter.normal(0, 2, points.shape)
    return Pose2D(np.concatenate([points, np.full((33, 1), score)], axis=-1), score)


RED = (180, 30, 30)
BLUE = (30, 30, 180)
GREEN = (30, 150, 30)


def painted(people):
    """An image of people (x, colour), the last in front."""
    image = np.full((600, 1200, 3), 128, np.uint8)
    for x, colour in people:
        image[:, max(int(x) - 60, 0) : max(int(x) + 60, 0)] = colour
    return image


def dressed(red, blue):
    """An image of a person in red at x = `red`, and in front of it one in blue."""
    return painted([(red, RED), (blue, BLUE)])
