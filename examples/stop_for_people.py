"""Stop for people who are near, approach or have fallen: python3 stop_for_people.py VIDEO"""

import math
import sys

import numpy as np

from emf_ros import Camera, Person, SkeletonTracker
from emf_ros.io.video import frames_of, open_source


def command(people: list[Person]) -> str:
    for person in people:
        body = person.body
        if body is None:
            continue  # the track has ended
        # Where the person was last, also while nothing of the person is seen.
        distance_m = np.linalg.norm(person.last_root)
        if math.isnan(distance_m):
            return f"stop: the place of person {person.id} is not known"
        if distance_m < 1.0:
            return f"stop: person {person.id} is {distance_m:.1f} m away"
        # Comparisons with NaN are false: who does not come closer has no time.
        if body.closest_s < 3.0 and body.closest_m < 1.0:
            return f"stop: person {person.id} is here in {body.closest_s:.1f} s"
        # For up to half a second after a person comes into view, the velocity is not known.
        if math.isnan(body.speed) and distance_m < 2.0:
            return f"stop: person {person.id} has just come"
        if body.fallen > 0.5:
            return f"stop: person {person.id} has fallen"
    return "go"


if __name__ == "__main__":
    video = open_source(sys.argv[1])
    with SkeletonTracker(Camera.from_fov(*video.size, 60)) as tracker:
        for _, stamp, image in frames_of(video):
            print(f"{stamp:.3f}", command(tracker(image, stamp)))
