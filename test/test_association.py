"""Association: optimal assignment."""

from itertools import permutations

import numpy as np
import pytest

from emf_ros.track.association import assign


def test_assignment_is_optimal():
    random = np.random.default_rng(7)
    for _ in range(300):
        rows, columns = (int(n) for n in random.integers(0, 4, 2))
        gain = random.random((rows, columns)).round(1)
        gain[random.random((rows, columns)) < 0.3] = np.nan
        worth = np.zeros((rows, columns + rows))
        worth[:, :columns] = np.nan_to_num(gain - 0.3, nan=0.0).clip(0)
        best = max(
            worth[range(rows), list(p)].sum() for p in permutations(range(columns + rows), rows)
        )
        pairs = assign(gain, 0.3)
        assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)
        assert all(gain[pair] >= 0.3 for pair in pairs)
        assert sum(gain[pair] - 0.3 for pair in pairs) == pytest.approx(best)
