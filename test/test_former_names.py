"""Names of the release before still work, with a warning."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest

from emf_ros.former_names import REPLACED
from emf_ros.types import Pose2D


@pytest.mark.parametrize(("module", "name"), REPLACED)
def test_a_former_name_warns_and_works(module: str, name: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"{module}.{name} has become emf_ros."):
        assert callable(getattr(import_module(module), name))


def test_the_former_person_2d_takes_its_arguments_in_their_order() -> None:
    keypoints = np.ones((17, 3))
    with pytest.warns(DeprecationWarning, match="types.Pose2D"):
        from emf_ros.lift.pipeline import Person2D
    person = Person2D(4, keypoints, 0.5)
    assert isinstance(person, Pose2D)
    assert (person.track_id, person.score) == (4, 0.5)
    assert person.keypoints is keypoints


def test_a_name_that_never_was_is_refused() -> None:
    module = import_module("emf_ros.lift.pipeline")
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        module.Nothing  # noqa: B018
