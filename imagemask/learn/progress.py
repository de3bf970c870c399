"""How far a training has come, and what follows from it: the best epoch, the learning rate, when to stop.

Plain numbers, so that a checkpoint holds all of it and a resumed run decides as one that was never stopped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from imagemask.learn.settings import Schedule

REDUCE_PATIENCE, REDUCE_FACTOR = 8, 0.5
"""What a plateau does to the learning rate where the configuration does not say."""


@dataclass
class Progress:
    """The state after ``epoch`` epochs. ``best`` is the lowest validation loss, reached in epoch ``best_epoch``.

    ``waited`` counts the epochs since the best one, ``since_change`` those since the best one or since a plateau
    last lowered the learning rate. ``history`` holds a row of numbers an epoch.
    """

    learning_rate: float
    epoch: int = 0
    best: float = math.inf
    best_epoch: int = 0
    waited: int = 0
    since_change: int = 0
    history: list[dict[str, float]] = field(default_factory=list)

    def add(self, logs: Mapping[str, float], schedule: Schedule) -> bool:
        """Take the numbers of an epoch in (``val_loss`` among them); whether it is the best so far.

        A loss that is not a number is never the best. The learning rate is lowered as ``schedule`` says.
        """
        self.epoch += 1
        self.history.append({"epoch": self.epoch, "learning_rate": self.learning_rate, **logs})
        lowest = min(schedule.min_learning_rate, self.learning_rate)
        if schedule.decay == "cosine":
            self.learning_rate = max(self.learning_rate * self._cosine(schedule.epochs), lowest)
        if logs["val_loss"] < self.best:
            self.best, self.best_epoch = logs["val_loss"], self.epoch
            self.waited = self.since_change = 0
            return True
        self.waited += 1
        self.since_change += 1
        if schedule.decay == "plateau" and self.since_change >= (schedule.reduce_patience or REDUCE_PATIENCE):
            self.learning_rate = max(self.learning_rate * (schedule.reduce_factor or REDUCE_FACTOR), lowest)
            self.since_change = 0
        return False

    def _cosine(self, epochs: int) -> float:
        """What the learning rate is multiplied by after this epoch of ``epochs``, whatever its loss.

        The cosine of Loshchilov and Hutter, SGDR, ICLR 2017, equation 5, as the ratio of two epochs.
        """
        if self.epoch > epochs:
            return 1.0
        now, before = (1 + math.cos(math.pi * epoch / epochs) for epoch in (self.epoch, self.epoch - 1))
        return now / before

    def reason_to_stop(self, schedule: Schedule) -> str:
        """Why the training ends here, or "" where it goes on."""
        for name in ("loss", "val_loss") if self.history else ():
            if not math.isfinite(self.history[-1][name]):
                return f"{name} is {self.history[-1][name]} after epoch {self.epoch}"
        if self.epoch >= schedule.epochs:
            return f"all {schedule.epochs} epochs are done"
        if schedule.early_stopping and self.waited >= schedule.early_stopping:
            return f"{self.waited} epochs brought no lower validation loss than epoch {self.best_epoch}"
        return ""

    def state(self) -> dict[str, Any]:
        """All of it, as JSON takes it."""
        return asdict(self)

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Self:
        """The progress that ``state`` says."""
        return cls(**state)
