"""Ids of people over time, and which detections are people at all."""

from .association import WEAK
from .plausibility import QualityGate
from .tracker import Tracker

__all__ = ["WEAK", "QualityGate", "Tracker"]
