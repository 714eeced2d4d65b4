"""Drive the robot to the place that a person points at: python3 drive_to_point.py VIDEO"""

import sys

import numpy as np

from emf_ros import Camera, Person, SkeletonTracker
from emf_ros.io.video import frames_of, open_source
from emf_ros.lift.config import PipelineConfig
from emf_ros.lift.ground import GroundPlane


def goal(people: list[Person]) -> np.ndarray | None:
    """(3,) m in the camera's frame, on the floor."""
    bodies = [person.body for person in people if person.body]
    # An arm stretched towards the camera has a direction, too: it says "stop".
    if any(gesture.name == "stop" for body in bodies for gesture in body.gestures):
        return None
    for aim in (body.pointing for body in bodies):
        if aim is not None and aim.stddev_rad < 0.3 and np.isfinite(aim.target).all():
            return aim.target
    return None


if __name__ == "__main__":
    # The camera is 1.2 m over the floor and looks down by 5 degrees.
    config = PipelineConfig(ground=GroundPlane(1.2, np.radians(5)))
    video = open_source(sys.argv[1])
    with SkeletonTracker(Camera.from_fov(*video.size, 60), config=config) as tracker:
        for _, stamp, image in frames_of(video):
            print(f"{stamp:.3f} goal", goal(tracker(image, stamp)))
