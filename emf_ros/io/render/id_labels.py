"""Short labels of track ids: live ids have eight digits or more."""

from __future__ import annotations

from collections.abc import Iterable

#: Maximum number of digits of an id that is written in full.
MAX_FULL_DIGITS = 4

#: Minimum number of last digits in a short label.
MIN_LAST_DIGITS = 3


def id_labels(ids: Iterable[int]) -> dict[int, str]:
    """A label for each id: `#12`, or for a long one its last digits, as in `#..412`.

    There are as many digits as tell all these ids apart.

    Args:
        ids: track ids that are shown together.
    """
    texts = {int(i): str(int(i)) for i in ids}
    long = [text for text in texts.values() if len(text) > MAX_FULL_DIGITS]
    digits = MIN_LAST_DIGITS
    while len({text[-digits:] for text in long}) < len(long):
        digits += 1
    return {
        i: f"#{text}" if len(text) <= max(MAX_FULL_DIGITS, digits) else f"#..{text[-digits:]}"
        for i, text in texts.items()
    }
