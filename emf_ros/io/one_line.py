"""The text of an error in one short line, whatever library it comes from."""

from __future__ import annotations

#: Maximum length of a line, characters. A damaged file may put megabytes into an error.
MAX_CHARACTERS = 1000


def one_line(error: BaseException | str) -> str:
    """The text of an error, or its type where it has none; cut where it is long."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}..."
