"""Keypoints over time to metric skeletons."""
