"""Plausibility of detections, and ids of people over time."""

from .association import WEAK
from .plausibility import QualityGate
from .tracker import Tracker

__all__ = ["WEAK", "QualityGate", "Tracker"]
