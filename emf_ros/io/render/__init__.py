"""Drawings of people: over the camera's image, in a metric scene, and both as a video."""
