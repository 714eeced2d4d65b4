"""Thin ROS 2 nodes. The only modules that import rclpy."""
