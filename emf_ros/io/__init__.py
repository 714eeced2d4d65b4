"""Files in and out: videos, images, recordings, calibrations, renderings."""
