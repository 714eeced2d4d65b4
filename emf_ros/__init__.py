"""Metric 3D human skeletons from one RGB camera, live, in ROS 2."""

__version__ = "0.1.0"
