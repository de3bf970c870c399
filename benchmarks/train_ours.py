"""A process of the training benchmark that is ours: Keras on one backend, by the code that ``imagemask train`` runs.

``train_ours.py TASK JOB``; the side of the job is the name of the backend. The tasks: ``time`` prints the figures,
``weights`` writes what ``train_torch.py check`` holds PyTorch's network against.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import measure
import numpy as np
from train_job import Clock, Job

JOB = Job.parse(sys.argv[2])
JOB.confine()
os.environ["KERAS_BACKEND"] = JOB.side

import keras  # noqa: E402

from imagemask.learn import backend, loop, models, settings  # noqa: E402
from imagemask.learn.augmentation import Augmenter  # noqa: E402
from imagemask.learn.batches import Batches, Order  # noqa: E402
from imagemask.learn.cache import Cache  # noqa: E402


class Steps(keras.callbacks.Callback):
    """Ask for the loss after every step, as the progress bar does, and tell ``then``."""

    def __init__(self, then: Callable[[float], None]) -> None:
        super().__init__()
        self.then = then

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        del batch
        self.then(float((logs or {})["loss"]))


def configured(job: Job) -> settings.Settings:
    """The settings of a run with this network; everything else is the default."""
    given: dict[str, Any] = {f"model.{name}": value for name, value in job.options.items()}
    given |= {"precision": job.precision, "schedule.batch_size": job.batch}
    given |= {"schedule.steps_per_epoch": job.warm + job.steps, "optimiser.learning_rate": job.rate}
    return settings.load(given=given if job.metrics else {**given, "metrics": ()})


def again(batch: Any) -> Iterator[Any]:
    """One batch, for ever: a generator, which is what Keras takes on JAX."""
    while True:
        yield batch


def fit(taught: loop.Teacher, batches: Iterator[Any], like: Any, *, steps: int, then: Callable[[float], None]) -> None:
    """The training loop of ``imagemask train``, without what it does after an epoch."""
    schedule = 0, 1, steps
    loop.fit(taught, batches, like, validation=None, callbacks=[Steps(then)], schedule=schedule)


def timed(job: Job) -> dict[str, float]:
    """Seconds of a step on one batch, and of a step of an epoch with data; the share of that spent waiting for them."""
    chosen = configured(job)
    images, masks = job.data()
    with backend.computing(chosen.precision, "one"):
        taught = loop.teacher(chosen, devices=1)
        pictures, labels = job.one_batch()
        like = pictures, taught.truth(labels)
        alone, fed = Clock(job.warm), Clock(job.warm)
        steps = job.warm + job.steps
        fit(taught, again(like), like, steps=steps, then=lambda _: alone.tick())
        order = Order(range(len(images)), [True] * len(images), job.batch, steps_per_epoch=steps)
        augmenter = Augmenter(chosen.augmentation, classes=taught.classes)

        def lesson(images: Any, labels: Any, seeds: Any) -> tuple[Any, Any]:
            images, labels = augmenter(images, labels, seeds)
            return images, taught.coded(np.asarray(labels))

        with Batches(Cache(images, masks, {}), order, transform=lesson) as batches:
            waited: list[float] = []

            def then(_: float) -> None:
                fed.tick()
                waited.append(batches.waited)

            fit(
                taught,
                ((images, taught.of_each_output(truth)) for images, truth in batches),
                like,
                steps=steps,
                then=then,
            )
    share = (waited[-1] - waited[job.warm - 1]) / (fed.all * job.steps)
    return {"step": alone.each, "busy": alone.busy, "epoch": fed.all, "waited": share}


_DRAWN = {
    "gamma": (0.5, 1.5),
    "moving_variance": (0.5, 1.5),
    "beta": (-0.2, 0.2),
    "moving_mean": (-0.2, 0.2),
    "bias": (-0.01, 0.01),
}


def weights(job: Job) -> None:
    """Write the variables of a network, what it makes of pictures, and its losses over the first steps of training.

    Fresh biases, means and variances are all alike, and would hide that one is in the wrong place: they are drawn.
    """
    chosen = configured(job)
    pictures, labels = job.one_batch()
    with backend.computing(chosen.precision, "one"):
        taught = loop.teacher(chosen, devices=1)
        rng = np.random.default_rng(1)
        for variable in taught.model.variables:
            what = variable.path.rpartition("/")[2]
            if what in _DRAWN:
                variable.assign(rng.uniform(*_DRAWN[what], variable.shape))
        variables = {variable.path: np.asarray(variable) for variable in taught.model.variables}
        output = taught.model.predict_on_batch(pictures)
        losses: list[float] = []
        batch = pictures, taught.truth(labels)
        # Keras shows the mean of an epoch so far.
        fit(taught, again(batch), batch, steps=job.steps, then=losses.append)
    sums = np.array(losses) * np.arange(1, 1 + len(losses))
    np.savez(Path(job.folder, "weights.npz"), **{path.replace("/", "|"): one for path, one in variables.items()})
    np.savez(Path(job.folder, "expected.npz"), output=output, losses=np.diff(sums, prepend=0))
    trainable = sum(int(np.prod(one.shape)) for one in taught.model.trainable_variables)
    print(json.dumps({"parameters": taught.model.count_params(), "trainable": trainable}))


if __name__ == "__main__":
    assert models.names()
    match sys.argv[1]:
        case "time":
            measure.report(lambda: timed(JOB))
        case "weights":
            weights(JOB)
