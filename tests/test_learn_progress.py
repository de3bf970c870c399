"""How far a training has come, and what follows: properties over random losses."""

import itertools
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from imagemask.learn.progress import Progress
from imagemask.learn.settings import Schedule

LOSSES = st.lists(st.floats(0, 10) | st.just(math.nan), min_size=1, max_size=40)
GIVEN = {
    "epochs": st.integers(1, 60),
    "early_stopping": st.integers(0, 6),
    "min_learning_rate": st.sampled_from([0.0, 1e-4, 1.0]),
}
REDUCED = {"reduce_patience": st.integers(1, 4), "reduce_factor": st.sampled_from([0.1, 0.5])}
SCHEDULES = st.builds(Schedule, **GIVEN, decay=st.sampled_from(["cosine", "none"])) | st.builds(
    Schedule, **GIVEN, **REDUCED, decay=st.just("plateau")
)


def followed(losses, schedule, progress=None):
    """The progress after the losses of some epochs, ended where it says so; and which epochs were the best so far."""
    progress = progress or Progress(0.01)
    best = []
    for loss in losses:
        if progress.reason_to_stop(schedule):
            break
        best.append(progress.add({"loss": 1.0, "val_loss": loss}, schedule))
    return progress, best


@given(LOSSES, SCHEDULES)
def test_the_best_epoch_is_the_first_with_the_lowest_loss(losses, schedule):
    progress, best = followed(losses, schedule)
    seen = [row["val_loss"] for row in progress.history]
    finite = [loss for loss in seen if not math.isnan(loss)]
    assert progress.best == min(finite, default=math.inf)
    assert progress.best_epoch == (seen.index(min(finite)) + 1 if finite else 0)
    assert best == [
        loss < min([math.inf, *(one for one in seen[:at] if not math.isnan(one))]) for at, loss in enumerate(seen)
    ]


@given(LOSSES, SCHEDULES, st.integers(0, 40))
def test_a_run_that_is_resumed_decides_as_one_that_never_stopped(losses, schedule, at):
    whole, _ = followed(losses, schedule)
    half, _ = followed(losses[:at], schedule)
    resumed, _ = followed(losses[at:], schedule, Progress.of(json.loads(json.dumps(half.state()))))
    assert repr(resumed) == repr(whole)


@given(LOSSES, SCHEDULES)
def test_the_learning_rate_only_falls_and_not_below_its_least(losses, schedule):
    progress, _ = followed(losses, schedule)
    rates = [row["learning_rate"] for row in progress.history] + [progress.learning_rate]
    assert rates[0] == 0.01
    assert all(after <= before for before, after in itertools.pairwise(rates))
    assert min(rates) >= min(schedule.min_learning_rate, 0.01)
    if schedule.decay == "none":
        assert set(rates) == {0.01}


@given(st.integers(1, 60), LOSSES)
def test_the_cosine_takes_the_learning_rate_from_where_it_was_to_nothing(epochs, losses):
    """Whatever the losses are: a validation set of few patients wavers too much to lower it for good."""
    schedule = Schedule(epochs=epochs, early_stopping=0, min_learning_rate=0.0, decay="cosine")
    progress, _ = followed([0.0 if math.isnan(loss) else loss for loss in losses], schedule)
    expected = [0.01 * (1 + math.cos(math.pi * epoch / epochs)) / 2 for epoch in range(progress.epoch)]
    assert [row["learning_rate"] for row in progress.history] == pytest.approx(expected, rel=1e-9)
    if progress.epoch == epochs:
        assert progress.learning_rate == pytest.approx(0, abs=1e-12)


@given(LOSSES, SCHEDULES)
def test_it_stops_by_patience_or_at_the_last_epoch_and_never_before(losses, schedule):
    progress, _ = followed(losses, schedule)
    reason = progress.reason_to_stop(schedule)
    patient = schedule.early_stopping == 0 or progress.waited < schedule.early_stopping
    broken = math.isnan(progress.history[-1]["val_loss"])
    assert bool(reason) == (progress.epoch >= schedule.epochs or not patient or broken)
    assert progress.epoch <= schedule.epochs
    assert len(progress.history) == progress.epoch


def test_the_learning_rate_is_halved_after_two_epochs_without_a_lower_loss():
    schedule = Schedule(reduce_patience=2, reduce_factor=0.5, early_stopping=0, decay="plateau")
    progress, _ = followed([1.0, 2.0, 2.0, 2.0, 2.0, 0.5, 2.0], schedule)
    assert [row["learning_rate"] for row in progress.history] == [0.01] * 3 + [0.005] * 2 + [0.0025] * 2
    assert progress.since_change == 1


def test_a_plateau_halves_it_after_eight_epochs_where_nothing_else_is_asked_for():
    progress, _ = followed([1.0] + [2.0] * 9, Schedule(early_stopping=0, decay="plateau"))
    assert [row["learning_rate"] for row in progress.history] == [0.01] * 9 + [0.005]


@pytest.mark.parametrize("given", [{"reduce_patience": 4}, {"reduce_factor": 0.1, "decay": "none"}])
def test_a_reducer_that_would_do_nothing_is_refused(given):
    with pytest.raises(ValidationError, match='belongs to decay = "plateau", and decay is'):
        Schedule(**given)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_ends_the_training(loss):
    progress = Progress(0.01)
    assert not progress.add({"loss": loss, "val_loss": math.nan}, Schedule())
    assert f"loss is {loss} after epoch 1" in progress.reason_to_stop(Schedule())
