"""Copies: which are found, turned and altered, which are not, and what each is called."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagemask import images
from imagemask.audit import candidates, copies, likeness
from imagemask.audit.fingerprints import FINGERPRINT, SIDE, fingerprint
from imagemask.audit.tree import Tree
from imagemask.errors import CaseError

REAL = Path(__file__).resolve().parents[1].parent / "shared" / "real"
few = settings(max_examples=8)
seeds = st.integers(0, 10_000)


def texture(seed, height=96, width=96, colours=1):
    """A picture with structure at every scale, uint8; another seed, another picture."""
    rng = np.random.default_rng(seed)
    layers = [
        cv2.resize(rng.standard_normal((side, side)), (width, height), interpolation=cv2.INTER_CUBIC) * side**-0.5
        for side in (4, 8, 16, 32)
    ]
    picture = np.clip(110 + 70 * sum(layers), 0, 255).astype(np.uint8)
    return picture if colours == 1 else np.stack([picture, picture[::-1] // 2, 255 - picture], axis=2)


def smooth(seed, side=96):
    """A picture without fine structure."""
    rng = np.random.default_rng(seed)
    picture = cv2.resize(rng.uniform(0, 255, (4, 4)), (side, side), interpolation=cv2.INTER_CUBIC)
    return np.clip(picture, 0, 255).astype(np.uint8)


def turned(picture, symmetry):
    """One of the eight, by numpy's own words."""
    picture = np.rot90(picture, symmetry % 4)
    return np.ascontiguousarray(np.fliplr(picture) if symmetry >= 4 else picture)


def all_of(thumbnails):
    """Every thumbnail of an array, which are kept in another order: rows need not be in order."""
    return candidates.Thumbnails(thumbnails[::-1], np.arange(len(thumbnails))[::-1])


def tree_of(rows, *, ours=True):
    """A tree of rows, each a dictionary; what one leaves out is blank, and its case is its own."""
    plain = {"mask": "", "split": "", "patient": "", "group": "", "slice": -1, "variant": "", "category": ""}
    full = [
        {**plain, "key": f"k{place:03d}", "image": f"images/k{place:03d}.png", "case": f"c{place}", "line": place + 2}
        | row
        for place, row in enumerate(rows)
    ]
    return Tree(Path("nowhere"), pd.DataFrame(full), (255,), manifest=ours)


def audited(pictures, rows, *, ours=True):
    """The findings over these pictures, all decoded from memory."""
    prints = np.stack([fingerprint(picture) for picture in pictures])
    return list(copies.findings(tree_of(rows, ours=ours), prints, lambda row: pictures[row]))


def codes(findings):
    return sorted(one.code for one in findings)


APART = [{"split": "train", "patient": "A"}, {"split": "test", "patient": "B"}]
UNKNOWN = [{"split": "train"}, {"split": "test"}]


# Fingerprints


def test_a_fingerprint_tells_shape_and_pixels_apart():
    picture = texture(1, 40, 60)
    record = fingerprint(picture)
    assert record.dtype == FINGERPRINT
    assert record.shape == ()
    assert (record["height"], record["width"]) == (40, 60)
    assert record["range"] == int(picture.max()) - int(picture.min())
    other = picture.copy()
    other[3, 4] ^= 1
    digests = {fingerprint(one)["sha256"].tobytes() for one in (picture, other, picture.reshape(60, 40), picture.T)}
    assert len(digests) == 4
    assert fingerprint(np.asfortranarray(picture))["sha256"].tobytes() in digests


def test_twenty_thousand_fingerprints_are_small():
    assert 20_000 * FINGERPRINT.itemsize < 40e6


@few
@given(seeds, st.integers(20, 90), st.integers(20, 90), st.integers(0, 7))
def test_a_turned_picture_has_a_turned_thumbnail(seed, height, width, symmetry):
    picture = texture(seed, height, width)
    one, other = (fingerprint(turned(shape, 0))["thumbnail"] for shape in (picture, turned(picture, symmetry)))
    assert np.abs(turned(one, symmetry).astype(int) - other).max() <= 2


@given(st.integers(0, 255), st.integers(1, 40), st.integers(1, 40))
def test_a_constant_picture_has_no_range_and_a_blank_thumbnail(grey, height, width):
    record = fingerprint(np.full((height, width), grey, np.uint8))
    assert record["range"] == 0
    assert not record["thumbnail"].any()


# Symmetries


@few
@given(seeds, st.integers(64, 130), st.integers(64, 130), st.integers(0, 7), st.sampled_from([1, 3]))
def test_every_symmetry_of_a_picture_is_matched(seed, height, width, symmetry, colours):
    picture = texture(seed, height, width, colours)
    found = audited([picture, turned(picture, symmetry)], UNKNOWN)
    assert codes(found) == ["AU112" if symmetry else "AU110"]
    assert found[0].files == ("images/k000.png", "images/k001.png")
    assert [found[0].message.count(file) for file in found[0].files] == [1, 1]


WORDS = [
    (np.fliplr, "flipped left to right"),
    (np.flipud, "flipped upside down"),
    (lambda picture: np.rot90(picture, 2), "turned by 180 degrees"),
    (lambda picture: np.rot90(picture, 1), "turned by 90 degrees to the left"),
    (lambda picture: np.rot90(picture, -1), "turned by 90 degrees to the right"),
    (np.transpose, "flipped along a diagonal"),
    (lambda picture: np.rot90(picture, 2).T, "flipped along the other diagonal"),
]


@few
@given(seeds, st.integers(40, 100), st.integers(40, 100), st.integers(1, 7))
def test_a_turned_copy_of_a_picture_without_fine_structure_is_one(seed, height, width, symmetry):
    picture = cv2.resize(smooth(seed), (width, height), interpolation=cv2.INTER_AREA)
    pictures = [picture, turned(picture, symmetry)]
    assert codes(audited(pictures, APART)) == codes(audited(pictures, UNKNOWN)) == ["AU112"]
    assert codes(audited(pictures, [{}, {}])) == ["AU116"]


@pytest.mark.parametrize(("turn", "words"), WORDS, ids=[words for _, words in WORDS])
def test_the_message_says_what_was_done_to_the_one_that_it_names(turn, words):
    picture = texture(5, 80, 110)
    (found,) = audited([picture, np.ascontiguousarray(turn(picture))], UNKNOWN)
    inverse = {"left": "right", "right": "left"}
    there, back = f"images/k001.png is images/k000.png {words}", words
    if "90" in words:
        start, _, side = words.rpartition(" ")
        back = f"{start} {inverse[side]}"
    assert there in found.message or f"images/k000.png is images/k001.png {back}" in found.message, found.message


@few
@given(seeds, st.integers(0, 7))
def test_frequencies_turn_as_pictures_do(seed, symmetry):
    picture = texture(seed, SIDE, SIDE).astype(np.float32)
    both = [cv2.dct(one) for one in (picture, likeness.turned(picture, symmetry))]
    assert np.allclose(candidates.turned(both[0], symmetry), both[1], atol=0.01)


# What was altered


def encoded(picture, quality):
    return cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_UNCHANGED)


def resized(picture, factor):
    return cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def cropped(picture, rng):
    top, bottom, left, right = (int(rng.uniform(0, 0.04) * side) for side in (*picture.shape, *picture.shape))
    return picture[top : picture.shape[0] - bottom, left : picture.shape[1] - right].copy()


ALTERED = {
    "jpeg 50": lambda picture, _: encoded(picture, 50),
    "jpeg 95": lambda picture, _: encoded(picture, 95),
    "half": lambda picture, _: resized(picture, 0.5),
    "double": lambda picture, _: resized(picture, 2),
    "brighter": lambda picture, _: np.clip(picture * 1.1 + 10.0, 0, 255).astype(np.uint8),
    "gamma": lambda picture, _: (255 * (picture / 255) ** 0.85).astype(np.uint8),
    "crop": cropped,
    "noise": lambda picture, rng: np.clip(picture + rng.normal(0, 2, picture.shape), 0, 255).astype(np.uint8),
}


@pytest.mark.parametrize("kind", ALTERED)
@settings(max_examples=4)
@given(seed=seeds, symmetry=st.integers(0, 7))
def test_an_altered_and_turned_copy_is_found(kind, seed, symmetry):
    picture = texture(seed, 192, 160)
    altered = turned(ALTERED[kind](picture, np.random.default_rng(seed)), symmetry)
    assert codes(audited([picture, altered], APART)) == ["AU112"]


def test_hashing_finds_what_comparing_every_pair_finds(monkeypatch):
    pictures = [texture(seed, 64, 64) for seed in range(200)]
    altered = [(encoded, 60), (resized, 0.5), (cropped, np.random.default_rng(0))]
    for place in range(40):
        alter, how = altered[place % 3]
        pictures.append(turned(alter(pictures[place], how), place % 8))
    thumbnails = np.stack([fingerprint(picture)["thumbnail"] for picture in pictures])
    expected = {(place, 200 + place) for place in range(40)}
    turns = []
    for every, at_once in ((2000, 1024), (2000, 7), (0, 1024), (0, 7)):
        monkeypatch.setattr(candidates, "EVERY", every)
        monkeypatch.setattr(candidates, "_PICTURES_AT_ONCE", at_once)
        found = candidates.find(all_of(thumbnails), lambda _, first, second: np.ones(len(first), bool))
        assert expected <= set(zip(found.first.tolist(), found.second.tolist(), strict=True))
        assert (np.diff(found.cosine) <= 0).all()
        assert (found.first < found.second).all()
        turns.append({(a, b): turn for a, b, turn in zip(found.first, found.second, found.symmetry, strict=True)})
        assert len(turns[-1]) == len(found.first)
        assert turns[-1] == turns[0]


def test_a_copy_among_many_pictures_is_found_and_no_other():
    pictures = [texture(seed, 64, 64) for seed in range(300)]
    pictures.append(turned(encoded(pictures[17], 80), 5))
    rows = [{"split": "train", "patient": f"P{place:03d}"} for place in range(300)] + [
        {"split": "test", "patient": "Q"}
    ]
    (found,) = audited(pictures, rows)
    assert found.code == "AU112"
    assert found.files == ("images/k017.png", "images/k300.png")
    assert found.lines == (19, 302)
    assert "splits test, train; patients P017, Q" in found.message


# What is no copy


@few
@given(seeds, seeds, st.integers(0, 7))
def test_two_smooth_pictures_are_no_copies(one, other, symmetry):
    if one != other:
        assert audited([smooth(one), turned(smooth(other), symmetry)], UNKNOWN) == []


@few
@given(seeds)
def test_the_same_outline_around_another_texture_is_no_copy(seed):
    rows, columns = np.mgrid[-1:1:128j, -1:1:128j]
    body = rows**2 / 0.7 + columns**2 / 0.5 < 1
    pictures = [np.where(body, 60 + texture(seed + place, 128, 128) // 3, 0).astype(np.uint8) for place in (1, 2)]
    assert audited(pictures, APART) == []


@given(seeds, st.permutations(range(6)))
@few
def test_the_order_of_rows_does_not_matter(seed, order):
    pictures = [texture(seed), encoded(texture(seed), 70), texture(seed + 1), np.fliplr(texture(seed + 1)).copy()]
    pictures += [texture(seed + 2), texture(seed + 3)]
    rows = [{"split": "train" if place % 2 else "test", "image": f"{place}.png"} for place in range(6)]
    expected = audited(pictures, rows)
    found = audited([pictures[place] for place in order], [rows[place] for place in order])
    assert sorted((one.code, sorted(one.files)) for one in expected) == sorted(
        (one.code, sorted(one.files)) for one in found
    )
    assert codes(expected) == ["AU112", "AU112"]


# Too much of the same


def test_constant_pictures_are_left_out():
    blank = [np.full((16, 16), grey, np.uint8) for grey in (0, 0, 0, 255, 7)] * 20
    assert audited(blank, UNKNOWN * 50) == []


def test_a_picture_that_could_not_be_read_is_left_out():
    prints = np.zeros(4, FINGERPRINT)
    assert list(copies.findings(tree_of(UNKNOWN * 2), prints, pytest.fail)) == []
    picture = texture(3)
    prints[:2] = [fingerprint(one)[()] for one in (picture, encoded(picture, 80))]

    def missing(_):
        raise CaseError("missing_file", "it is gone", remedy="Restore it")

    assert list(copies.findings(tree_of(UNKNOWN * 2), prints, missing)) == []


def test_thousands_of_equal_pictures_are_one_cluster():
    picture = texture(4, 40, 40)
    prints = np.repeat(fingerprint(picture)[np.newaxis], 3000)
    (found,) = copies.findings(tree_of(UNKNOWN * 1500), prints, pytest.fail)
    assert found.code == "AU110"
    assert len(found.files) == len(found.lines) == 3000
    assert "3000 files" in found.message


def test_a_crowded_bucket_is_compared_with_what_lies_next_to_it(monkeypatch):
    """Every thumbnail is nearly the same: pairs grow with the pictures, not with their square."""
    monkeypatch.setattr(candidates, "CROWD", 8)
    monkeypatch.setattr(candidates, "EVERY", 0)
    base, rng = texture(6, SIDE, SIDE).astype(int), np.random.default_rng(0)
    thumbnails = np.stack([np.clip(base + rng.integers(-1, 2, base.shape), 0, 255) for _ in range(600)]).astype(
        np.uint8
    )
    asked = []

    def wanted(_, first, second):
        asked.append(len(first))
        return np.ones(len(first), bool)

    found = candidates.find(all_of(thumbnails), wanted)
    assert sum(asked) <= 8 * 24 * 8 * 600  # symmetries, bands, CROWD, pictures
    assert set(found.first.tolist()) | set(found.second.tolist()) == set(range(600))


def test_only_the_closest_of_another_patient_are_decoded():
    """A copy resembles the slices beside it: they are many, and one comparison among the best tells which it is."""
    volume = list(neighbours(4, count=9, noise=1))
    pictures = [*volume, encoded(volume[4], 70)]
    rows = [{"patient": "A", "split": "train"}] * 9 + [{"patient": "B", "split": "test"}]
    prints, decoded = np.stack([fingerprint(picture) for picture in pictures]), []

    def decode(row):
        decoded.append(row)
        return pictures[row]

    (found,) = copies.findings(tree_of(rows), prints, decode)
    assert found.files == ("images/k004.png", "images/k009.png")
    assert len(decoded) <= copies.CLOSEST + 1


def test_what_is_not_compared_is_said(monkeypatch):
    monkeypatch.setattr(copies, "MOST_COMPARED", 1)
    picture = texture(8)
    found = audited([encoded(picture, quality) for quality in (60, 70, 80)], [*UNKNOWN, {"split": "train"}])
    assert codes(found) == ["AU112", "AU119"]
    assert "more pair" in found[1].message
    assert found[1].severity == "advice"


def test_what_is_not_compared_names_every_file_of_a_picture(monkeypatch):
    monkeypatch.setattr(copies, "MOST_COMPARED", 0)
    picture, other = texture(8), encoded(texture(8), 60)
    found = audited([picture, other, other], [*UNKNOWN, {"split": "test"}])
    (left,) = (one for one in found if one.code == "AU119")
    assert left.files == ("images/k000.png", "images/k001.png", "images/k002.png")
    assert "1 more pair of 2 pictures" in left.message


# Which code


def exact(*rows):
    return codes(audited([texture(9)] * len(rows), list(rows)))


def near(*rows):
    picture = texture(9)
    return codes(audited([encoded(picture, 95 - 10 * place) for place in range(len(rows))], list(rows)))


A, B, NOBODY = {"patient": "A"}, {"patient": "B"}, {"patient": ""}
TRAIN, TEST = {"split": "train"}, {"split": "test"}


@pytest.mark.parametrize(
    ("one", "other", "same", "altered"),
    [
        (A | TRAIN, B | TEST, "AU110", "AU112"),
        (A | TRAIN, A | TEST, "AU110", None),  # a patient in two splits is a leak of its own
        (NOBODY | TRAIN, NOBODY | TEST, "AU110", "AU112"),
        (A | TRAIN, NOBODY | TEST, "AU110", "AU112"),
        (A | TRAIN, B | TRAIN, "AU111", "AU113"),
        (A, B, "AU111", "AU113"),
        (A | TRAIN, A | TRAIN, "AU114", None),
        (NOBODY | TRAIN, NOBODY | TRAIN, "AU115", "AU116"),
        (NOBODY, NOBODY, "AU115", "AU116"),
        ({"group": "G"} | TRAIN, {"group": "G"} | TRAIN, "AU114", None),
        ({"case": "C", "slice": 1} | TRAIN, {"case": "C", "slice": 2} | TRAIN, "AU114", None),
    ],
)
def test_the_code_says_across_what(one, other, same, altered):
    assert exact(one, other) == [same]
    assert near(one, other) == ([altered] if altered else [])


def test_a_variant_of_a_plain_picture_is_no_finding():
    plain = {"case": "C", "slice": 4, "patient": "A", "split": "train"}
    assert exact(plain, plain | {"variant": "fliph"}) == []
    assert exact(plain, plain | {"variant": "fliph"}, {"patient": "B", "split": "test"}) == ["AU110"]
    assert exact(plain | {"variant": "rot5", "slice": 5}, plain) == ["AU114"]  # its plain picture is not there


def test_equal_pictures_of_several_patients_are_compared_with_their_altered_copies():
    picture = texture(9)
    found = audited([picture, picture, encoded(picture, 80)], [A | TRAIN, B | TRAIN, A | TEST])
    assert codes(found) == ["AU111", "AU112"]
    assert found[1].files == ("images/k000.png", "images/k001.png", "images/k002.png")


def test_without_a_manifest_there_are_no_lines():
    (found,) = audited([texture(9)] * 2, UNKNOWN, ours=False)
    assert found.lines == ()


def test_copies_tied_by_a_third_are_one_finding():
    picture = texture(10, 128, 128)
    pictures = [picture, encoded(picture, 70), resized(picture, 0.6), texture(11, 128, 128)]
    (found,) = audited(pictures, [A | TRAIN, B | TRAIN, {"patient": "C"} | TEST, {"patient": "D"} | TEST])
    assert found.code == "AU112"
    assert len(found.files) == 3


def neighbours(seed, *, count=2, noise=3):
    """Slices of one volume: most of the structure goes on, some of it changes, the noise is new."""
    rng, here, there = np.random.default_rng(seed), texture(seed, 192, 192), texture(seed + 500, 192, 192)
    for place in range(count):
        slice_ = here * (1 - 0.1 * place) + there * (0.1 * place) + rng.normal(0, noise, here.shape)
        yield np.clip(slice_, 0, 255).astype(np.uint8)


@few
@given(seeds)
def test_neighbouring_slices_on_both_sides_are_advice_where_nobody_is_known(seed):
    found = audited(list(neighbours(seed)), UNKNOWN)
    assert codes(found) == ["AU117"]
    assert found[0].severity == "advice"


def test_neighbouring_slices_are_no_finding_otherwise():
    pictures = list(neighbours(3))
    assert audited(pictures, [TRAIN, TRAIN]) == []
    assert audited(pictures, [A | TRAIN, A | TEST]) == []


def test_what_is_alike_of_two_patients_and_not_clearly_a_copy_is_advice():
    one, other = neighbours(4, noise=1)
    alike = likeness.compare(likeness.square(one), likeness.square(other))
    assert alike.weighed >= copies.APART
    assert not alike.clear
    for rows in (APART, [A, B]):
        (found,) = audited([one, other], rows)
        assert (found.code, found.severity) == ("AU118", "advice")
        assert "may be copies" in found.message


def test_the_slices_beside_a_copied_one_are_not_its_copies():
    volume = list(neighbours(4, count=3, noise=1))
    assert likeness.compare(*map(likeness.square, volume[:2])).weighed > copies.APART
    rows = [{"patient": "A", "split": "train"}] * 3 + [{"patient": "B", "split": "test"}]
    (found,) = audited([*volume, turned(encoded(volume[1], 60), 3)], rows)
    assert found.files == ("images/k001.png", "images/k003.png")
    both = audited([*volume, *(encoded(one, 60) for one in volume)], rows[:3] + [rows[3]] * 3)
    assert sorted(one.files for one in both) == [
        (f"images/k00{place}.png", f"images/k00{place + 3}.png") for place in range(3)
    ]


def test_every_code_is_explained():
    assert sorted(copies.CODES) == [f"AU{number}" for number in range(110, 120)]
    for code in copies.CODES.values():
        assert code.severity in ("error", "warning", "advice")
        assert code.title[0].islower()
        assert code.why[0].isupper()
        assert code.remedy[0].isupper()


# Real slices


@pytest.mark.skipif(not REAL.is_dir(), reason="the real pairs are not here")
def test_the_real_pancreas_has_no_copies_but_an_injected_one_is_found():
    paths = sorted((REAL / "pancreas" / "images").iterdir())[:48]
    pictures = [images.read_image(path) for path in paths]
    patients = [path.name.partition("-")[0] for path in paths]
    rows = [{"patient": patient, "split": "train"} for patient in patients]
    assert audited(pictures, rows) == []
    pictures.append(np.ascontiguousarray(np.rot90(encoded(pictures[20], 60))))
    (found,) = audited(pictures, [*rows, {"patient": "new", "split": "test"}])
    assert (found.code, len(found.files)) == ("AU112", 2)
