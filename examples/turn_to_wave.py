"""Turn the robot towards a person who waves: python3 turn_to_wave.py VIDEO"""

import math
import sys

from emf_ros import Camera, Person, SkeletonTracker
from emf_ros.io.video import frames_of, open_source


def turn(people: list[Person]) -> float:
    """Speed of the robot's turn, rad/s, positive to the left."""
    for person in people:
        if person.body and any(g.name == "wave" for g in person.body.gestures):
            bearing = math.atan2(person.root[0], person.root[2])  # rad, positive to the right
            return 0.0 if math.isnan(bearing) else -0.8 * bearing
    return 0.0


if __name__ == "__main__":
    video = open_source(sys.argv[1])
    with SkeletonTracker(Camera.from_fov(*video.size, 60)) as tracker:
        for _, stamp, image in frames_of(video):
            print(f"{stamp:.3f} turn at {turn(tracker(image, stamp)):+.2f} rad/s")
