"""Ids for people whose publisher does not track."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from ..people import PeopleTracker
from ..reasons import Reason
from ..skeletons import Layout
from ..stamps import StampFilter
from ..types import UNTRACKED, Frame2D, Pose2D
from .acceptance import MAX_REACH, body_score, has_shape, is_sane, most_important

#: Largest id after which own ids count up: ids are 32-bit numbers in the messages.
MAX_FIRST_ID = 2**31

#: Minimum number of people without ids that are tracked, whatever the maximum number of people.
MIN_TRACKED_PEOPLE = 100


class TrackIds:
    """Gives ids to the people of one camera who come without.

    From the first person without an id on, all people are tracked here, and the ids that some
    bring are replaced: two sets of numbers would collide.

    Args:
        counts: takes the number of replaced ids and of rejected people, by reason.
        first_id: minimum id that is given here.
    """

    def __init__(self, counts: Counter[Reason], first_id: int = 1) -> None:
        self._counts = counts
        # None while all people bring an id.
        self._people: PeopleTracker | None = None
        self._largest_id = first_id - 1

    def restart(self) -> None:
        """Forget all people. Ids go on."""
        if self._people is not None:
            self._people.restart()

    def assign(
        self,
        frame: Frame2D,
        layout: Layout,
        stamps: StampFilter,
        max_people: int,
        birth_score: float,
    ) -> list[Pose2D]:
        """The people of an image with their ids.

        Args:
            frame: the image; its stamp is accepted.
            layout: of the keypoints.
            stamps: the rule that has accepted the stamp.
            max_people: maximum number of people who are lifted. Of many more than these, the less
                important ones are not tracked: tracking takes the square of their number.
            birth_score: minimum score of a person who begins a track, 0..1.

        Returns:
            the people as they came where all bring an id. Otherwise the confirmed people, and those
            with a wrong number of keypoints, which the caller counts.
        """
        if self._people is None and all(p.track_id != UNTRACKED for p in frame.people):
            self._largest_id = max([self._largest_id, *(p.track_id for p in frame.people)])
            return frame.people
        if self._people is None or self._people.layout.name != layout.name:
            first = self._largest_id + 1 if self._largest_id < MAX_FIRST_ID else 1
            self._people = PeopleTracker(layout, counts=self._counts, first_id=first)
        self._people.stamps = stamps
        self._people.configure(max_people, birth_score, use_appearance=True)
        shaped = [person for person in frame.people if has_shape(person, layout)]
        most = max(MIN_TRACKED_PEOPLE, 2 * max_people)
        if len(shaped) > most:
            self._counts[Reason.OVER_MAX_PEOPLE] += len(shaped) - most
            shaped = most_important(shaped, most)
        replaced = sum(person.track_id != UNTRACKED for person in shaped)
        if replaced:
            self._counts[Reason.TRACK_ID_REPLACED] += replaced
        reach = MAX_REACH * max(frame.image_size)
        detections = [_detection(person, layout, reach) for person in shaped]
        tracked = self._people.update_keypoints(detections, frame.image_size, frame.stamp_ns)
        self._largest_id = max([self._largest_id, *(pose.track_id for pose in tracked)])
        # The tracker returns the arrays of keypoints that it was given.
        id_of = {id(pose.keypoints): pose.track_id for pose in tracked}
        people = [
            replace(person, track_id=id_of[id(detection.keypoints)])
            for person, detection in zip(shaped, detections, strict=True)
            if id(detection.keypoints) in id_of
        ]
        return people + [person for person in frame.people if not has_shape(person, layout)]


def _detection(person: Pose2D, layout: Layout, reach: float) -> Pose2D:
    """A person as the tracker takes one: without impossible numbers, with a score.

    Args:
        person: keypoints (K, 3). Where its score is 0 or NaN, the body joints' mean replaces it.
        layout: of the keypoints.
        reach: maximum coordinate, px.
    """
    keypoints = np.array(person.keypoints, dtype=np.float64)
    keypoints[~is_sane(keypoints, reach)] = (np.nan, np.nan, 0.0)
    score = person.score if person.score > 0 else body_score(keypoints, layout)
    return Pose2D(keypoints, min(score, 1.0))
