"""Missed messages are counted by the gaps in the numbers of their publisher."""

from __future__ import annotations

import pytest

from emf_ros.nodes.missed_messages import MAX_GAP, MissedMessages


def missed(*numbers: tuple[bytes, int | None]) -> int:
    """The number of missed messages when those of a publisher and a number are taken."""
    counts: list[int] = []
    messages = MissedMessages(counts.append)
    for publisher, number in numbers:
        gid = {"publisher_gid": {"data": publisher}} if publisher else {}
        messages.note({"publication_sequence_number": number, **gid})
    return sum(counts)


@pytest.mark.parametrize("publisher", [b"a", b""], ids=["known", "unknown"])
def test_gaps_are_counted_and_a_publisher_that_begins_anew_has_none(publisher: bytes) -> None:
    taken = [(publisher, number) for number in (7, 8, 9, 12, 13, 1, 2, 4)]
    assert missed(*taken) == 2 + 1


def test_two_publishers_have_numbers_of_their_own() -> None:
    assert missed((b"a", 7), (b"b", 900), (b"a", 8), (b"b", 902)) == 1


def test_the_gap_between_two_publishers_that_cannot_be_told_apart_is_not_counted() -> None:
    assert missed((b"", 7), (b"", 9 + MAX_GAP), (b"", 8), (b"", 10 + MAX_GAP)) == 0


def test_a_middleware_without_numbers_counts_none() -> None:
    assert missed((b"", None), (b"", None)) == 0
