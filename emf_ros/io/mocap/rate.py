"""The range of frame rates that motion capture has."""

from __future__ import annotations

from . import FormatError

#: Minimum rate of a file, frames a second. Between frames further apart, motion is not known.
MIN_RATE_HZ = 5.0

#: Maximum rate of a file, frames a second.
MAX_RATE_HZ = 2000.0


def check_rate(rate_hz: float, says: str, remedy: str = "") -> None:
    """Refuse a rate outside the range of motion capture.

    Args:
        rate_hz: frames a second.
        says: what gave the rate, as the beginning of a sentence.
        remedy: what the user can do, put after the sentence for a rate that is too small.

    Raises:
        FormatError: the rate is outside of `MIN_RATE_HZ` to `MAX_RATE_HZ`.
    """
    if not MIN_RATE_HZ * (1 - 1e-9) <= rate_hz <= MAX_RATE_HZ:
        raise FormatError(
            f"{says} would be {rate_hz:.3g} frames a second; motion capture has "
            f"{MIN_RATE_HZ:g} to {MAX_RATE_HZ:g}"
            + (f": {remedy}" if remedy and rate_hz < MIN_RATE_HZ else "")
        )
