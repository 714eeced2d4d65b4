"""Whether somebody whom BlazePose follows is a person: evidence that adds up, look by look.

The landmarks' network reads a pose into whatever its square shows, and is sure of some of them: of
lenses on a wall, a guitar, a spoon. Such a reading falls apart where the same thing is shown
mirrored, or to the network that searches. Each such look gives a log-likelihood ratio; they add up
until there is enough for one side or the other (Wald, Sequential Tests of Statistical Hypotheses,
1945).
"""

from __future__ import annotations

import math

#: A regression's weights of the log-odds of three answers, and its constant: the presence in the
#: square, in the square mirrored, and the best score of the search in a view around it. Fitted to
#: BlazePose "full" on people (two videos, and one of these with people cut off, covered, small,
#: dark, blurred and grey) and on 35 pictures and scenes without any. By itself one look then takes
#: 2 % of the people for things, 17 % of those cut off, covered or spoilt, and 5 % of the things
#: for people.
PRESENCE, MIRRORED, SEARCH, CONSTANT = 0.26, 0.43, 1.27, -4.2
#: Answers are never more certain than that.
_SUREST = 1e-4
#: What one look may say at most: those at one thing in two pictures on end say much the same.
_MOST_AT_ONCE = 3.0
#: Whoever has this much is a person, and stays one until it is less than that.
_BELIEVED, _DOUBTED = 1.0, -1.0
#: Nothing is kept of what lies beyond: the lower is no person, the upper takes some looks to fall.
_REFUSED, _MOST = -4.0, 6.0
#: From one look to the next, ns: of someone who is not believed yet, of someone whose last look
#: failed, so that it is not the same moment again, and of all others.
_NEW_NS, _FAILED_NS, _KNOWN_NS = 0, 150_000_000, 1_000_000_000


def evidence(presence: float, mirrored: float, search: float) -> float:
    """The log-likelihood ratio of a person against anything else; answers are 0..1."""
    odds = (PRESENCE, presence), (MIRRORED, mirrored), (SEARCH, search)
    return CONSTANT + sum(weight * _log_odds(answer) for weight, answer in odds)


class Trust:
    """What is known of one of those who are followed.

    Args:
        value: to begin with; less than 0 where something like it has been refused before.

    Attributes:
        value: the log-likelihood ratio so far.
        believed: whether to report the person.
    """

    def __init__(self, value: float = 0.0) -> None:
        self.value, self.believed = value, False
        self._due_ns: int | None = None

    @property
    def refused(self) -> bool:
        """Whether it is no person."""
        return self.value <= _REFUSED

    def is_due(self, stamp_ns: int) -> bool:
        """Whether another look is wanted."""
        return self._due_ns is None or stamp_ns >= self._due_ns

    def add(self, ratio: float, stamp_ns: int) -> None:
        """Take in what a look has said; what is no number is against it."""
        ratio = ratio if ratio > -_MOST_AT_ONCE else -_MOST_AT_ONCE
        self.value = min(max(self.value + min(ratio, _MOST_AT_ONCE), _REFUSED), _MOST)
        self.believed = self.value >= (_DOUBTED if self.believed else _BELIEVED)
        wait_ns = _NEW_NS
        if self.believed:
            wait_ns = _FAILED_NS if ratio < 0 else _KNOWN_NS
        self._due_ns = stamp_ns + wait_ns


def _log_odds(share: float) -> float:
    # Written so that what is no number counts as not there.
    share = min(share, 1 - _SUREST) if share >= _SUREST else _SUREST
    return math.log(share / (1 - share))
