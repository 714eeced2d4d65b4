"""Who is who over time, and who is a person at all."""

from .gates import QualityGate
from .tracker import WEAK, Tracker

__all__ = ["WEAK", "QualityGate", "Tracker"]
