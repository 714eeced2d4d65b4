"""Print where the people in a video are, without ROS: python3 track_video.py VIDEO"""

import sys

from emf_ros import Camera, SkeletonTracker
from emf_ros.io.video import frames_of, open_source

video = open_source(sys.argv[1])
with SkeletonTracker(Camera.from_fov(*video.size, 60)) as tracker:
    for _, stamp, image in frames_of(video):
        for person in tracker(image, stamp):
            print(f"{stamp:.3f}", person.id, person.state.name, person.root, person.joint("nose"))
