"""Curves of a training and of an evaluation: drawn from whatever there is, the same each time."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from imagemask import images
from imagemask.errors import InputError
from imagemask.learn import curves
from imagemask.learn.curves import Curve, Reliability, evaluation_curves, training_curves

COLUMNS = ("epoch", "learning_rate", "loss", "foreground_dice", "val_loss", "val_foreground_dice")


def history(tmp_path, epochs=4, columns=COLUMNS):
    lines = [",".join(columns)]
    for epoch in range(1, epochs + 1):
        cells = {name: repr(1 / (epoch + at)) for at, name in enumerate(columns)}
        lines.append(",".join(str(epoch) if name == "epoch" else cells[name] for name in columns))
    path = tmp_path / "history.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def of_colour(path, colour):
    wanted = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)])
    return np.nonzero(np.abs(images.read_image(path)[..., :3].astype(int) - wanted).max(axis=-1) < 60)


@pytest.mark.parametrize("epochs", [0, 1, 4])
@pytest.mark.parametrize("columns", [COLUMNS, ("epoch", "loss"), ("epoch", "loss", "val_loss", "dice")])
def test_a_training_of_any_length_and_any_metrics_is_drawn(tmp_path, epochs, columns):
    training_curves(history(tmp_path, epochs, columns), tmp_path / "curves.png", best=min(1, epochs))
    assert images.read_image(tmp_path / "curves.png").shape[1] > 1000


def test_the_best_epoch_is_marked_where_it_is(tmp_path):
    at = []
    for best in (1, 2, 4, 0):
        training_curves(history(tmp_path), tmp_path / "curves.png", best=best)
        _, x = of_colour(tmp_path / "curves.png", curves._ORANGE)
        at.append(x[x > 2 * images.read_image(tmp_path / "curves.png").shape[1] / 3])  # the panel without a legend
    assert at[0].max() < at[1].min()
    assert at[1].max() < at[2].min()
    assert not len(at[3])


def test_a_history_that_is_not_there_or_no_table_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"none\.csv: cannot be read"):
        training_curves(tmp_path / "none.csv", tmp_path / "curves.png", best=0)
    (tmp_path / "odd.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"odd\.csv: cannot be read"):
        training_curves(tmp_path / "odd.csv", tmp_path / "curves.png", best=0)


def curve(points=11, chosen=0.5):
    at = np.linspace(0, 1, points)
    return Curve(at, at**0.1, 1 - at, chosen)


def reliability(bins=5):
    middle = (np.arange(bins) + 0.5) / bins
    return Reliability(np.arange(bins), middle, middle**2, 0.02)


PATIENTS = [("p1", [0.2, 0.4]), ("p2", [0.9]), ("p3", [])]


def evaluated(tmp_path, **given):
    whole = {"curve": curve(), "reliability": reliability(), "dice": PATIENTS, **given}
    out = tmp_path / "curves.png"
    evaluation_curves(out, whole["curve"], whole["reliability"], whole["dice"], title="lung, test")
    return out


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"dice": []},
        {"dice": [(f"patient-{at:03d}" * 5, [at / 300]) for at in range(300)]},
        {"curve": Curve(np.linspace(0, 1, 3), np.full(3, np.nan), np.full(3, np.nan), 0.5)},
        {"reliability": Reliability(np.zeros(5, np.int64), np.full(5, np.nan), np.full(5, np.nan), float("nan"))},
        {"dice": [("$x_1$ {", [0.5])]},
    ],
    ids=["plain", "nobody", "many", "no-curve", "no-pixel", "no-formula"],
)
def test_whatever_was_found_is_drawn(tmp_path, given):
    assert images.read_image(evaluated(tmp_path, **given)).shape[1] > 1000


def test_of_many_patients_the_lowest_and_the_highest_are_shown():
    many = [(str(at), [at / 999]) for at in range(1000)]
    shown = curves._some(many)
    assert len(shown) == curves._MOST_PATIENTS
    assert (shown[0], shown[-1]) == (many[0], many[-1])
    assert curves._some(many[:5]) == many[:5]


def test_the_threshold_that_was_used_is_marked_on_its_curve(tmp_path):
    """The higher it is, the less is found: the mark moves to the left."""
    found = []
    for chosen in (0.2, 0.8):
        _, x = of_colour(evaluated(tmp_path, curve=curve(chosen=chosen), dice=[]), curves._ORANGE)
        width = images.read_image(tmp_path / "curves.png").shape[1]
        found.append(x[x < width / 3].max())
    assert found[1] < found[0]


def test_equal_input_gives_equal_bytes(tmp_path):
    drawn = [(evaluated(tmp_path).read_bytes(), _training(tmp_path)) for _ in range(2)]
    assert drawn[0] == drawn[1]


def _training(tmp_path):
    training_curves(history(tmp_path), tmp_path / "training.png", best=2)
    return (tmp_path / "training.png").read_bytes()
