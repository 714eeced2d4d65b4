#!/bin/bash
# Runs a command in the workspace of the image.
set -e
source "/opt/ros/${ROS_DISTRO}/setup.bash"
source /opt/venv/bin/activate
source /ws/install/setup.bash
exec "$@"
