"""Geometry of images and people, in numpy alone."""
