"""Optimal assignment. SciPy has one, and would be a dependency of 35 MB for this alone."""

from __future__ import annotations

import numpy as np


def assign(gain: np.ndarray, least: float) -> list[tuple[int, int]]:
    """The pairs of rows and columns of the largest sum of gains.

    The Hungarian method by shortest augmenting paths: Jonker, Volgenant, "A shortest augmenting
    path algorithm for dense and sparse linear assignment problems", Computing 38 (1987). Cubic in
    the larger side.

    Args:
        gain: (N, M); NaN is no pair.
        least: a pair of less gain is none, and nothing is given up for it: what counts is by how
            much a gain is above this.

    Returns:
        (row, column), rows rising.
    """
    worth = np.nan_to_num(np.asarray(gain, dtype=float) - least, nan=-1.0)
    rows, columns = worth.shape
    # Each row may also stay alone, at no cost: a column of its own for that.
    cost = np.zeros((rows, columns + rows))
    cost[:, :columns] = np.where(worth >= 0, -worth, 1.0)
    row_price, price = np.zeros(rows), np.zeros(columns + rows)
    row_of = np.full(columns + rows, -1)
    for first in range(rows):
        # Dijkstra from the new row to the nearest free column, over reduced costs.
        distance = np.full(columns + rows, np.inf)
        before = np.full(columns + rows, -1)
        done = np.zeros(columns + rows, dtype=bool)
        row, so_far, column = first, 0.0, -1
        while True:
            through = so_far + cost[row] - row_price[row] - price
            shorter = ~done & (through < distance)
            distance[shorter], before[shorter] = through[shorter], column
            column = int(np.where(done, np.inf, distance).argmin())
            so_far = distance[column]
            if row_of[column] < 0:
                break
            done[column] = True
            row = row_of[column]
        reached = np.flatnonzero(done)
        row_price[first] += so_far
        row_price[row_of[reached]] += so_far - distance[reached]
        price[reached] -= so_far - distance[reached]
        while column >= 0:
            previous = int(before[column])
            row_of[column] = row_of[previous] if previous >= 0 else first
            column = previous
    return sorted(
        (int(row_of[c]), c) for c in range(columns) if row_of[c] >= 0 and worth[row_of[c], c] >= 0
    )
