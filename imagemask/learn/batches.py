"""Batches of one static shape, in an order that follows from the seed and the epoch, read ahead in a thread."""

from __future__ import annotations

import math
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from imagemask.errors import UsageError
from imagemask.learn.cache import Cache
from imagemask.learn.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

Bytes = NDArray[np.uint8]
Numbers = NDArray[np.int64]
Seeds = tuple[int, int]
"""Two whole numbers from 0 below 2**31, which follow from the seed, the epoch and the step."""
Transform = Callable[[Bytes, Bytes, Seeds], tuple[Any, Any]]
"""Images (uint8 BxHxWxC), labels (uint8 BxHxW) and seeds to the images and the truth that are trained on."""

_AHEAD = 3
"""Batches that are ready before they are asked for."""


@dataclass(frozen=True, eq=False)
class Order:
    """Which rows of a cache the steps of an epoch see. It follows from ``seed`` and the epoch alone.

    ``rows`` are row numbers; ``foreground`` says of each whether its mask has any. An epoch is one permutation of the
    rows after another, cut off after ``steps`` batches: every row once, and what fills the last batch, from the
    beginning of a further permutation. With ``steps_per_epoch`` it may be cut off earlier or later.

    Where less than ``foreground_share`` of an epoch has foreground, its last empty rows give way to further
    permutations of the rows with foreground, and the whole is shuffled; without ``steps_per_epoch`` the epoch is made
    so long that every empty row is still seen (at a share of 0.5, twice as long as the empty rows alone). At a share
    of 1 empty rows are left out. Where all rows are empty, they stay as they are.

    Raises UsageError where there are no rows.
    """

    rows: Sequence[int] | Numbers
    foreground: Sequence[bool] | NDArray[np.bool_]
    batch_size: int
    seed: int = 0
    steps_per_epoch: int | None = None
    foreground_share: float = 0.0

    def __post_init__(self) -> None:
        if not len(self.rows):
            raise UsageError("there are no pictures to train on", remedy="imagemask split --resplit, or build more")

    @classmethod
    def of(cls, part: pd.DataFrame, position: Mapping[str, int], settings: Settings) -> Self:
        """The order of the rows ``part`` of a manifest, which lie in a cache at ``position``, as ``settings`` say."""
        return cls(
            [position[key] for key in part["key"]],
            (part["foreground"] > 0).to_numpy(),
            settings.schedule.batch_size,
            seed=settings.seed,
            steps_per_epoch=settings.schedule.steps_per_epoch,
            foreground_share=settings.data.foreground_share,
        )

    @cached_property
    def steps(self) -> int:
        """Batches an epoch."""
        if self.steps_per_epoch is not None:
            return self.steps_per_epoch
        filled, empty = (len(part) for part in self._parts)
        steps = -(-(filled + empty) // self.batch_size)
        if filled and empty:
            steps = max(steps, math.floor(empty / (1 - self.foreground_share) / self.batch_size))
            while steps * self.batch_size - self._least(steps * self.batch_size) < empty:
                steps += 1
        return steps

    def epoch(self, number: int) -> Numbers:
        """The rows of epoch ``number`` (from 0): int64, steps x batch size."""
        # A bit generator's own numbers stay as they are from one numpy to the next; a Generator's need not.
        source = np.random.PCG64(np.random.SeedSequence([self.seed, number]))
        filled, empty = self._parts
        count = self.steps * self.batch_size
        drawn = _drawn(source, np.concatenate([filled, empty]), count)
        if len(filled) and len(empty):
            is_empty = np.isin(drawn, empty)
            lacking = max(0, self._least(count) - int((~is_empty).sum()))
            drawn[np.flatnonzero(is_empty)[int(is_empty.sum()) - lacking :]] = _drawn(source, filled, lacking)
            if lacking:
                drawn = _shuffled(source, drawn)
        return drawn.reshape(self.steps, self.batch_size)

    def seeds(self, epoch: int, step: int) -> Seeds:
        """What the augmentation of a step is drawn from."""
        # From 1: numpy takes a 0 at the end for nothing, and it would be the seed of the epoch's order.
        state = np.random.SeedSequence([self.seed, epoch, step + 1]).generate_state(2)
        return int(state[0] >> 1), int(state[1] >> 1)

    @cached_property
    def _parts(self) -> tuple[Numbers, Numbers]:
        """The rows with foreground, and the empty ones that are to be seen."""
        rows, inside = np.asarray(self.rows, np.int64), np.asarray(self.foreground, bool)
        left_out = self.foreground_share == 1 and inside.any()
        return rows[inside], rows[:0] if left_out else rows[~inside]

    def _least(self, count: int) -> int:
        """The fewest rows with foreground among ``count``."""
        return math.ceil(self.foreground_share * count - 1e-9)  # 0.07 * 100 is a little more than 7


def _drawn(source: np.random.PCG64, rows: Numbers, count: int) -> Numbers:
    """The first ``count`` of ``rows`` in one random order after another."""
    orders = [_shuffled(source, rows) for _ in range(-(-count // len(rows)))]
    return np.concatenate([rows[:0], *orders])[:count]


def _shuffled(source: np.random.PCG64, rows: Numbers) -> Numbers:
    order = np.argsort(source.random_raw(len(rows)), kind="stable")
    return rows[order]


class Batches:
    """The batches of one epoch after another, from ``first_epoch`` on and without end: (images, labels).

    They are read from ``cache`` in the ``order``: images uint8 BxHxWxC and labels uint8 BxHxW, copies of their rows;
    or what ``transform`` makes of these and of the step's seeds. That happens in a thread, three batches ahead. An
    exception there is raised here, in the place of the batch that it was to become.

    To be used in a ``with``, at whose end, however it comes, the thread has ended; after that the iteration is over.
    """

    def __init__(self, cache: Cache, order: Order, *, first_epoch: int = 0, transform: Transform | None = None) -> None:
        self._shelf = _Shelf()
        made = _made(cache, order, first_epoch, transform)
        # The thread knows the shelf and not this object, so that one which is dropped unclosed can end it, too.
        self._thread = threading.Thread(target=self._shelf.fill, args=(made,), name="batches", daemon=True)
        self._end = weakref.finalize(self, _end, self._shelf, self._thread)
        self.waited = 0.0
        """Seconds that passed while a batch was asked for and not there yet.

        Who asks may be a step ahead (tf.data is two): where batches are what takes longest, it waits at least as long
        as the steps do; where they are not, none does.
        """

    def __enter__(self) -> Self:
        if self._end.alive and not self._thread.ident:
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return self.__enter__()

    def __next__(self) -> tuple[Any, Any]:
        asked = time.perf_counter()
        try:
            return self._shelf.take()
        finally:
            self.waited += time.perf_counter() - asked

    def close(self) -> None:
        """End the thread, after the batch that it is at; what is ready is dropped."""
        self._end()


def _made(cache: Cache, order: Order, epoch: int, transform: Transform | None) -> Iterator[tuple[Any, Any]]:
    while True:
        for step, rows in enumerate(order.epoch(epoch)):
            images, labels = np.asarray(cache.images[rows]), np.asarray(cache.masks[rows])
            if transform is not None:
                images, labels = transform(images, labels, order.seeds(epoch, step))
            # A device computes on while its arrays are handed out: here is where they are waited for, not in a step.
            yield np.asarray(images), np.asarray(labels)
        epoch += 1


def _end(shelf: _Shelf, thread: threading.Thread) -> None:
    shelf.close()
    # Garbage may be collected in any thread, this one included.
    if thread.ident and thread is not threading.current_thread():
        thread.join()


class _Shelf:
    """Where one thread puts batches and another takes them, a few at a time."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._ready: deque[tuple[Any, Any]] = deque()
        self._error: BaseException | None = None
        self._closed = False

    def fill(self, made: Iterator[tuple[Any, Any]]) -> None:
        """Put everything that is ``made`` here, until it fails or nobody wants more."""
        try:
            for batch in made:
                if not self._put(batch):
                    return
        except BaseException as error:  # noqa: BLE001  whoever takes raises it
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _put(self, batch: tuple[Any, Any]) -> bool:
        """Whether more is wanted: waits until there is room."""
        with self._changed:
            self._ready.append(batch)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._closed or len(self._ready) < _AHEAD)
            return not self._closed

    def take(self) -> tuple[Any, Any]:
        """The next batch. Raises what the filling failed with, in its place; StopIteration once this is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._ready or self._error)
            if self._closed:
                raise StopIteration
            if not self._ready and self._error is not None:
                raise self._error
            self._changed.notify_all()
            return self._ready.popleft()

    def close(self) -> None:
        """Let both go."""
        with self._changed:
            self._closed = True
            self._ready.clear()
            self._changed.notify_all()
