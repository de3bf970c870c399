"""Balance: what chance does is no finding, what was done to a split is; and small splits are named, with numbers."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagemask.audit import balance, measures
from imagemask.audit.tree import COLUMNS, Tree

SPLITS = ("train", "valid", "test")


class Made:
    """Patients of ``sizes`` splits with three slices each, alike but for what chance does."""

    def __init__(self, sizes=(16, 8, 8), *, slices=3, seed=0):
        random = np.random.default_rng(seed)
        homes = [split for split, size in zip(SPLITS, sizes, strict=True) for _ in range(size)]
        rows, seen = [], []
        for patient, split in enumerate(homes):
            bright, size = random.normal(100, 10), random.normal(-5, 0.5)
            for index in range(slices):
                rows.append({"key": f"p{patient:03d}-{index:04d}", "split": split, "patient": f"p{patient:03d}"})
                rows[-1] |= {"category": "ab"[patient % 2], "slice": index, "line": len(rows) + 1}
                blocks = dict(zip(measures.BLOCKS, bright + random.normal(0, 20, 16), strict=True))
                seen.append({"foreground": math.exp(size + random.normal(0, 0.2)), **blocks})
        plain = {"mask": "", "variant": "", "image": "", "group": "", "case": ""}
        self.frame = pd.DataFrame([plain | row for row in rows])[list(COLUMNS)]
        self.frame["group"] = self.frame["case"] = self.frame["patient"]
        self.frame["image"] = "images/" + self.frame["key"] + ".png"
        self.seen = pd.DataFrame(seen).reindex(columns=list(measures.MEASURES))

    def where(self, split):
        return (self.frame["split"] == split).to_numpy()

    def compare(self, *, ours=False):
        return balance.compare(Tree(Path("/nowhere"), self.frame, None, ours), self.seen)

    def codes(self, **how):
        return {one.code for one in self.compare(**how).findings}

    def scale(self, split, factor, *columns):
        self.seen.loc[self.where(split), list(columns)] *= factor


# Chance


@pytest.mark.slow
def test_chance_raises_a_code_in_at_most_one_split_in_a_hundred():
    """Over splits drawn at random of one set of patients."""
    made, raised, deals = Made((20, 6, 6)), [], 120
    homes = made.frame.drop_duplicates("patient").set_index("patient")["split"]
    for seed in range(deals):
        dealt = np.random.default_rng(seed).permutation(homes.to_numpy())
        made.frame["split"] = made.frame["patient"].map(dict(zip(homes.index, dealt, strict=True)))
        raised += made.codes()
    for code in ("AU403", "AU404", "AU405"):
        assert raised.count(code) <= 0.01 * deals, code


@given(st.permutations([0, 0, 0, 0, 0, 1, 1, 1, 2, 2]))
def test_the_distance_is_kruskal_and_wallis_s(labels):
    """The textbook's 12 / (n (n + 1)) sum of n (mean rank - (n + 1) / 2)^2, of which it is a multiple."""
    values = np.array([3.0, 1, 4, 1.5, 9, 2, 6, 5, 3.5, 8])[:, None]
    ranks, labels = balance._ranks(values), np.array(labels)
    assert sorted(ranks[:, 0]) == list(range(1, 11))
    wanted = sum((labels == split).sum() * (ranks[labels == split].mean() - 5.5) ** 2 for split in range(3)) * 12 / 110
    found = balance._distance(labels[None], ranks - ranks.mean(), 1 / ranks.mean(axis=0))[0]
    assert found == pytest.approx(wanted * 110 / 12 / 5.5)


def test_equal_values_share_their_rank():
    assert balance._ranks(np.array([[5.0], [7], [5], [1]]))[:, 0].tolist() == [2.5, 4, 2.5, 1]


@pytest.mark.parametrize("labels", [[0] * 4 + [1] * 4, [0, 1] * 4])
def test_the_chance_of_a_deal_is_what_counting_them_all_gives(labels):
    from itertools import combinations

    ranks, labels = np.arange(1.0, 9)[:, None], np.array(labels)
    here = abs(ranks[labels == 1].mean() - 4.5)
    deals = [abs(np.mean(some) - 4.5) >= here - 1e-9 for some in combinations(range(1, 9), 4)]
    assert balance._chance(ranks, labels) == pytest.approx(np.mean(deals), abs=0.04)


# What was done to a split


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(
    ("code", "columns", "factor", "words"),
    [
        ("AU405", measures.BLOCKS, 1.6, "brightness"),
        ("AU405", measures.BLOCKS, 0.5, "brightness"),
        ("AU404", ("foreground",), 5, "lesions cover"),
        ("AU404", ("foreground",), 0.2, "lesions cover"),
    ],
)
def test_a_drift_is_found_with_its_direction(split, code, columns, factor, words):
    made = Made()
    assert made.codes() == set()
    made.scale(split, factor, *columns)
    compared = made.compare()
    (one,) = [one for one in compared.findings if one.code == code and words in one.message]
    assert one.message.startswith(f"{split}: {words}")
    inside, outside = medians(one.message)
    assert (inside > outside) == (factor > 1)
    assert any(one.message in verdict for verdict in compared.verdicts)


def medians(message):
    """Of the split, and of the others."""
    words = message.replace(" of 255", "").split(": ", 1)[1].replace("%", "").split()
    numbers = [float(word) for word in words if word.replace(".", "", 1).isdigit()]
    return numbers[0], numbers[1]


@settings(max_examples=10)
@given(st.sampled_from(SPLITS))
def test_shares_of_lesions_and_of_categories(split):
    made = Made(slices=6)
    made.seen.loc[~made.where(split) & (made.frame["slice"] < 3), "foreground"] = 0
    (one,) = [one for one in made.compare().findings if one.code == "AU403"]
    assert one.message.startswith(f"{split}: a lesion in 100% of it, in 50% of the others")
    made = Made()
    made.frame.loc[made.where(split), "category"] = "a"
    made.frame.loc[~made.where(split), "category"] = "b"
    (one,) = [one for one in made.compare().findings if one.code == "AU403"]
    assert one.message.startswith(f"{split}: ")
    assert "in 100% of it, in 0% of the others" in one.message or "in 0% of it, in 100% of the others" in one.message


def test_a_difference_that_is_sure_but_small_is_no_finding():
    made = Made((400, 400, 0), slices=1)
    made.seen.loc[made.where("valid"), list(measures.BLOCKS)] += 3  # of a spread of 10 between patients
    brightness = made.seen[list(measures.BLOCKS)].mean(axis=1).to_numpy()[:, None]
    labels = made.where("valid").astype(np.int64)
    assert balance._chance(balance._ranks(brightness), labels) < 0.005
    assert "AU405" not in made.codes()


def test_slices_of_one_patient_are_one_patient():
    """Ten thousand slices of four patients say no more than four patients do."""
    made = Made((2, 0, 2), slices=500)
    made.scale("test", 2, *measures.BLOCKS)
    compared = made.compare()
    assert {one.code for one in compared.findings} <= {"AU401"}
    assert any("too few patients" in said for said in compared.unjudged)


def test_copies_and_unread_pictures_do_not_count():
    made = Made()
    made.frame.loc[made.frame["slice"] == 0, "variant"] = "fliph"
    made.seen.loc[(made.frame["slice"] == 0) & made.where("test"), list(measures.BLOCKS)] = 255
    made.seen.loc[made.frame["slice"] == 1] = math.nan
    assert made.codes() == set()


# Sizes


def test_small_splits_and_missing_ones_are_named():
    compared = Made((98, 2, 0)).compare()
    said = [(one.code, one.severity, one.message) for one in compared.findings]
    assert said == [
        ("AU401", "advice", "valid holds 6 images of 2 patients, 2.0% of all"),
        ("AU401", "advice", "there is no test set"),
    ]
    assert compared.verdicts[0] == "Splits: train 294 images of 98 patients (98%), valid 6 images of 2 patients (2%)."


def test_pairs_without_a_split_are_found_only_where_others_have_one():
    made = Made()
    made.frame.loc[:2, "split"] = ""
    (one,) = made.compare(ours=True).findings
    assert (one.code, one.message, one.lines) == ("AU402", "3 pairs of 96 in no split", (2, 3, 4))
    assert one.files == tuple(made.frame["image"][:3])
    made.frame["split"] = ""
    compared = made.compare()
    assert (compared.findings, compared.verdicts) == ([], ())
    made.frame["split"] = "train"
    assert made.codes() == {"AU401"}


def test_where_nobody_knows_the_patients_of_a_folder_nothing_is_compared():
    made = Made()
    made.frame[["patient", "group"]] = ""
    made.scale("test", 2, *measures.BLOCKS)
    compared = made.compare()
    assert compared.findings == []
    assert "nobody knows the patients" in compared.unjudged[0]
    assert "AU405" in made.codes(ours=True), "a dataset of ours knows its cases"
