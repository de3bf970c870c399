"""Large pictures by overlapping tiles, each of the network's size, blended so that no seam shows.

Tiles are evenly spaced, and neighbours share at least half. Where tiles overlap, each counts by how near its own middle
is: sin^2 of the position in it, along rows times along columns, divided by the sum over all tiles of that place. So
weights are never 0, sum to 1 everywhere, and change by little from a pixel to the next; a tile that is alone counts
whole. Halves that overlap, weighted towards the middle: Isensee et al., nnU-Net, Nature Methods 2021, 18:203.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from imagemask.learn.infer import Probabilities


def starts(length: int, side: int) -> list[int]:
    """Where tiles of ``side`` begin on ``length`` pixels (as many or more); the last ends where they end."""
    steps = -(-(length - side) // max(1, side // 2))
    return [round(place * (length - side) / max(1, steps)) for place in range(steps + 1)]


def weights(length: int, side: int) -> NDArray[np.float32]:
    """The weight of each tile of ``starts`` at each of its own pixels, (tiles, side): over all tiles they sum to 1."""
    window = np.sin(np.pi * (np.arange(side) + 0.5) / side) ** 2
    places, total = starts(length, side), np.zeros(length)
    for start in places:
        total[start : start + side] += window
    return np.stack([window / total[start : start + side] for start in places]).astype(np.float32)


class Tiled:
    """A picture (uint8, HxWxC) as tiles of ``height`` x ``width``, and their probabilities as those of the picture.

    A side shorter than the tile's is padded with ``background`` at both ends, and cut again.
    """

    def __init__(self, picture: NDArray[np.uint8], height: int, width: int, *, background: int) -> None:
        rows, columns = picture.shape[:2]
        missing = max(0, height - rows), max(0, width - columns)
        top, left = missing[0] // 2, missing[1] // 2
        around = (top, missing[0] - top), (left, missing[1] - left), (0, 0)
        self._padded = np.pad(picture, around, constant_values=background) if any(missing) else picture
        self._inside = slice(top, top + rows), slice(left, left + columns)
        lengths = list(zip(self._padded.shape[:2], (height, width), strict=True))
        self._weights = [weights(length, side) for length, side in lengths]
        down, across = ([slice(start, start + side) for start in starts(length, side)] for length, side in lengths)
        self._places = [(row, column) for row in down for column in across]
        self._total: Probabilities | None = None
        self._added = 0

    @property
    def count(self) -> int:
        """How many tiles there are."""
        return len(self._places)

    def inputs(self) -> Iterator[NDArray[np.uint8]]:
        """The tiles, row by row."""
        return (self._padded[place] for place in self._places)

    def add(self, probabilities: Probabilities) -> None:
        """Take the probabilities of the next tile, height x width x K."""
        row, column = divmod(self._added, len(self._weights[1]))
        if self._total is None:
            self._total = np.zeros((*self._padded.shape[:2], probabilities.shape[-1]), np.float32)
        weight = self._weights[0][row][:, None, None] * self._weights[1][column][:, None]
        self._total[self._places[self._added]] += probabilities * weight
        self._added += 1

    def result(self) -> Probabilities:
        """The probabilities of the picture, HxWxK, once all tiles have theirs."""
        if self._total is None or self._added < self.count:
            raise ValueError(f"{self.count - self._added} of {self.count} tiles have no probabilities yet")
        return np.minimum(self._total[self._inside], np.float32(1))
