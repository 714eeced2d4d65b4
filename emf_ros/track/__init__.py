"""Who is who over time."""

from .tracker import Tracker

__all__ = ["Tracker"]
