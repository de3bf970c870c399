"""Codes AU2xx and AU3xx: each is found on its defect, in the pairs that have it, and not on the pairs as they were."""

import functools
import re
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagemask import manifest, phantoms, pixels
from imagemask.audit import alignment, measures, pictures
from imagemask.audit.findings import SEVERITIES
from imagemask.audit.tree import Tree, open_tree

REAL = Path(__file__).resolve().parents[1].parent / "shared" / "real"
SIDE, PAIRS, PATIENTS = 96, 24, 12
few = settings(max_examples=20)


def pair(seed, *, side=SIDE):
    """A bright spot on a dim texture, never in the same place, and its mask of 0 and 255."""
    random = np.random.default_rng(seed)
    rows, columns = np.indices((side, side)) / side
    inside = ((rows - random.uniform(0.22, 0.34)) / 0.10) ** 2 + ((columns - random.uniform(0.3, 0.42)) / 0.14) ** 2 < 1
    noise = cv2.GaussianBlur(random.normal(0, 1, (side, side)), (0, 0), 2)
    image = 70 + 15 * noise / noise.std() + 90 * inside
    return image.clip(10, 240).astype(np.uint8), inside.astype(np.uint8) * 255


CLEAN = [pair(seed) for seed in range(PAIRS)]


def tree_of(count, *, splits=None, folder=Path("nowhere"), patients=PATIENTS, values=None):
    """A foreign tree of so many pairs, two of a patient; nothing of it is on disk."""
    keys = [f"p{row * patients // max(1, count):02d}-{row:03d}" for row in range(count)]
    frame = pd.DataFrame(
        {
            "key": keys,
            "image": [f"images/{key}.png" for key in keys],
            "mask": [f"masks/{key}.png" for key in keys],
            "split": splits or [""] * count,
            "patient": [key[:3] for key in keys],
            "group": "",
            "case": keys,
            "slice": -1,
            "variant": "",
            "category": "",
            "line": 0,
        }
    )
    return Tree(folder, frame, values, manifest=False)


def audit(pairs, *, values=None, **more):
    """Code: findings, of decoded pairs."""
    return judged([pictures.measure(*one, values) for one in pairs], values=values, **more)


def judged(rows, **more):
    """Code: findings, of measured pairs."""
    frame = pd.DataFrame(rows, columns=pictures.MEASURES, dtype=float)
    found = {}
    for finding in pictures.findings(tree_of(len(rows), **more), frame):
        found.setdefault(finding.code, []).append(finding)
    return found


@functools.cache
def measured(row, code=""):
    """What is measured of a clean pair, or of one with the defect that ``code`` finds."""
    return pictures.measure(*(ALONE[code](*CLEAN[row]) if code else CLEAN[row]), None)


def keys(findings):
    return {Path(file).stem for finding in findings for file in finding.files}


def test_nothing_is_found_in_pairs_that_are_as_they_should_be():
    assert audit(CLEAN) == {}


# ---- one pair among others -----------------------------------------------------------------------------------------


def band(image, mask):
    moved = np.zeros_like(image)
    moved[:, 5:] = image[:, :-5]
    return moved, mask


def turned(image, mask):
    by = cv2.getRotationMatrix2D(((SIDE - 1) / 2, (SIDE - 1) / 2), 12, 1)
    return cv2.warpAffine(image, by, (SIDE, SIDE)), cv2.warpAffine(mask, by, (SIDE, SIDE), flags=cv2.INTER_NEAREST)


def with_specks(image, mask):
    mask = mask.copy()
    mask[80:90:4, 80:90:4] = 255
    return image, mask


def through_jpeg(image, mask):
    return image, cv2.imdecode(cv2.imencode(".jpg", mask)[1], cv2.IMREAD_GRAYSCALE)


def clipped(image, mask):
    image = image.copy()
    image[:70], image[70:72, :20] = 0, 255
    return image, mask


ALONE = {
    "AU201": lambda image, mask: (np.full_like(image, 91), mask),
    "AU202": clipped,
    "AU203": lambda image, mask: (np.maximum(image, np.uint8(255) * (np.arange(SIDE) > 60)[:, None]), mask),
    "AU204": lambda image, mask: (255 - image, mask),
    "AU205": band,
    "AU206": turned,
    "AU207": lambda image, mask: (image[:-8].copy(), mask[:-8].copy()),
    "AU208": lambda image, mask: (np.dstack([image] * 3), mask),
    "AU301": lambda image, mask: (image, mask[::2, ::2].copy()),
    "AU304": through_jpeg,
    "AU306": lambda image, mask: (image, np.ascontiguousarray(mask[::-1])),
    "AU307": with_specks,
    "AU308": lambda image, mask: (image, 255 - mask),
    "AU309": lambda image, mask: (image, np.roll(mask, -np.flatnonzero(mask.any(axis=1))[0], axis=0)),
    "AU310": lambda image, mask: (image, np.zeros_like(mask)),
}


@pytest.mark.parametrize("code", ALONE)
@few
@given(where=st.sets(st.integers(0, PAIRS - 1), min_size=1, max_size=3))
def test_a_defect_of_some_pairs_is_found_in_those_and_in_no_other(code, where):
    found = judged([measured(row, code if row in where else "") for row in range(PAIRS)])
    assert keys(found[code]) == {tree_of(PAIRS).frame["key"][row] for row in where}
    assert len(found[code]) == len(where)
    assert all(keys(findings) <= keys(found[code]) for findings in found.values())


@few
@given(where=st.integers(0, 3), value=st.integers(1, 254))
def test_a_value_that_is_not_declared_is_found_and_named(where, value):
    odd = CLEAN[where][1].copy()
    odd[80:84, 80:84] = value
    pairs = [(image, odd if row == where else mask) for row, (image, mask) in enumerate(CLEAN[:4])]
    (finding,) = audit(pairs, values=(255,))["AU303"]
    assert finding.message == f"16 pixels have values that are not declared, most of them {value}"
    assert "AU303" not in audit(pairs, values=(255, value))
    assert "AU303" not in audit(pairs)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_jpeg_mask_is_known_by_its_first_bytes_and_not_by_its_name(tmp_path, suffix):
    tree, rows = tree_of(3, folder=tmp_path), []
    (tmp_path / "masks").mkdir()
    for image, mask in CLEAN[:3]:
        data = cv2.imencode(suffix, mask)[1]
        (tmp_path / tree.frame["mask"][len(rows)]).write_bytes(data.tobytes())
        rows.append(pictures.measure(image, cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), None))
    found = {finding.code for finding in pictures.findings(tree, pd.DataFrame(rows, dtype=float))}
    assert found == ({"AU302"} if suffix == ".jpg" else set())


def test_a_mask_of_two_values_apart_from_specks_of_noise_is_not_grey():
    image, mask = CLEAN[0]
    odd = mask.copy()
    odd[90, 10:18:2] = (3, 90, 200, 254)
    assert "AU304" not in audit([(image, odd), *CLEAN])


def test_findings_name_image_mask_and_lines_of_the_manifest():
    tree = tree_of(PAIRS)
    ours = Tree(tree.folder, tree.frame.assign(line=range(2, PAIRS + 2)), None, manifest=True)
    pairs = [*CLEAN[:-1], ALONE["AU301"](*CLEAN[-1])]
    frame = pd.DataFrame([pictures.measure(*one, None) for one in pairs], dtype=float)
    judged = pictures._Judged(ours, frame)
    (finding,) = pictures._masks(judged)
    assert finding.files == (tree.frame["mask"].iloc[-1], tree.frame["image"].iloc[-1])
    assert finding.lines == (PAIRS + 1, PAIRS + 1)
    assert finding.message == "the mask is 48x48, its image 96x96"
    (foreign,) = pictures._masks(pictures._Judged(tree, frame))
    assert foreign.lines == ()


def test_pairs_that_could_not_be_read_are_passed_over():
    assert audit([]) == {}
    frame = pd.DataFrame([pictures.measure(*one, None) for one in CLEAN], dtype=float)
    frame.iloc[3:] = np.nan
    assert list(pictures.findings(tree_of(PAIRS), frame)) == []
    frame.iloc[:] = np.nan
    assert list(pictures.findings(tree_of(PAIRS), frame)) == []


def test_an_image_without_a_mask_is_judged_as_an_image():
    assert set(audit([(np.zeros((9, 9), np.uint8), None), *CLEAN])) == {"AU201", "AU207"}


@given(count=st.integers(0, 9), seed=st.integers(0, 99))
def test_a_few_pictures_have_no_rest_to_be_compared_with(count, seed):
    """Of fewer than ten none is usual: only what a pair says by itself is found."""
    rows = [measured(row, ("AU204", "AU207", "AU208")[(row + seed) % 3]) for row in range(count)]
    assert not judged(rows).keys() & {"AU204", "AU207", "AU208"}


def test_sizes_that_all_differ_are_no_finding():
    pairs = [pair(row, side=60 + 2 * (row // 4)) for row in range(PAIRS)]
    assert "AU207" not in audit(pairs)


# ---- what is known of our own datasets -----------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["", "rot12"])
@pytest.mark.parametrize("pad", ["0 0 0 0", "0 5 0 0"])
def test_what_our_own_build_padded_and_turned_is_not_held_against_it(monkeypatch, variant, pad):
    pairs = [turned(*CLEAN[0]), band(*CLEAN[1]), *CLEAN[2:]]
    tree = tree_of(PAIRS)
    variants = [variant if row == 0 else "" for row in range(PAIRS)]
    ours = Tree(tree.folder, tree.frame.assign(variant=variants), (255,), manifest=True)
    rows = pd.DataFrame({"key": tree.frame["key"], "pad": ["0 0 0 0", pad, *["0 0 0 0"] * (PAIRS - 2)]})
    monkeypatch.setattr(manifest, "read", lambda _: rows)
    frame = pd.DataFrame([pictures.measure(*one, (255,)) for one in pairs], dtype=float)
    codes = {finding.code for finding in pictures.findings(ours, frame)}
    assert ("AU206" in codes) == (variant == "")
    assert ("AU205" in codes) == (pad == "0 0 0 0")


# ---- CT ------------------------------------------------------------------------------------------------------------


def ct(window):
    """Slices of phantoms, chest and abdomen, through a window."""
    bodies = [make((12, 96, 96), seed=(3, 4)) for make in (phantoms.chest, phantoms.abdomen)]
    low, high = window
    for body in bodies:
        for index in range(3, 11):
            image, mask = body.plane(index)
            yield ((image.clip(low, high) - low) * 255.0 / (high - low)).round().astype(np.uint8), mask


@pytest.mark.parametrize("name", pixels.PRESETS)
def test_ct_through_any_of_our_windows_is_not_cut_off(name):
    assert not audit(list(ct(pixels.PRESETS[name]))).keys() & {"AU201", "AU202", "AU203", "AU204", "AU205", "AU206"}


def test_ct_without_a_window_is_cut_off():
    slices = list(ct((0, 255)))
    assert len(audit(slices)["AU202"]) == len(slices)


# ---- masks that lie elsewhere --------------------------------------------------------------------------------------


def moved(mask, down, right):
    return cv2.warpAffine(mask, np.float32([[1, 0, right], [0, 1, down]]), mask.shape[::-1], flags=cv2.INTER_NEAREST)


ELSEWHERE = {
    "mirrored left to right": np.fliplr,
    "mirrored top to bottom": np.flipud,
    "turned by 180 degrees": lambda mask: np.rot90(mask, 2),
    "transposed (rows and columns changed places)": np.transpose,
    "turned by 90 degrees clockwise": np.rot90,
    "turned by 90 degrees counter-clockwise": lambda mask: np.rot90(mask, -1),
    "transposed along the other diagonal": lambda mask: np.rot90(mask, 2).T,
    "moved 6 pixels up": lambda mask: moved(mask, 6, 0),
    "moved 3 pixels left": lambda mask: moved(mask, 0, 3),
    "moved 4 pixels down and 4 pixels right": lambda mask: moved(mask, -4, -4),
}


@pytest.mark.parametrize("words", ELSEWHERE)
def test_masks_that_all_lie_elsewhere_are_one_finding_that_says_where(words):
    pairs = [(image, np.ascontiguousarray(ELSEWHERE[words](mask))) for image, mask in CLEAN]
    found = audit(pairs)
    (finding,) = found["AU305"]
    assert f"fit the images better {words}: by a factor of" in finding.message
    assert len(finding.files) == 2 * PAIRS
    assert "AU306" not in found


@pytest.mark.parametrize("part", ["train", "valid", "test"])
def test_masks_of_one_split_that_lie_elsewhere_are_found_in_that_split(part):
    pairs = [pair(seed) for seed in range(72)]
    splits = [("train", "valid", "test")[row % 3] for row in range(72)]
    pairs = [
        (image, np.ascontiguousarray(mask[:, ::-1]) if split == part else mask)
        for (image, mask), split in zip(pairs, splits, strict=True)
    ]
    (finding,) = audit(pairs, splits=splits, patients=72)["AU305"]
    assert finding.message.startswith(f"the masks of {part} fit the images better mirrored left to right")
    assert len(finding.files) == 48


def test_fewer_patients_than_ten_give_no_verdict():
    pairs = [(image, np.ascontiguousarray(mask[:, ::-1])) for image, mask in CLEAN[:9]]
    assert "AU305" not in audit(pairs, patients=9)


@given(seed=st.integers(0, 1000), units=st.integers(2, 40))
def test_masks_that_fit_nowhere_are_no_finding(seed, units):
    """Scores of chance, the same wherever a mask is put: no place is better by chance alone."""
    scores = np.random.default_rng(seed).gamma(4, 0.25, (80, 1 + len(alignment.PLACES)))
    assert alignment.better(scores, np.arange(80) % units) is None


@given(seed=st.integers(0, 1000), gain=st.floats(1.6, 4), at=st.integers(0, len(alignment.PLACES) - 1))
def test_a_place_that_is_better_for_all_is_found(seed, gain, at):
    scores = np.random.default_rng(seed).gamma(20, 0.05, (80, 1 + len(alignment.PLACES)))
    scores[:, 1 + at] *= gain
    scores[::7, 1 + at] = np.nan  # where it could not be tried
    better = alignment.better(scores, np.arange(80) % 20)
    assert better is not None
    assert better.place == alignment.PLACES[at]
    assert better.factor == pytest.approx(gain, rel=0.15)


@given(counts=st.lists(st.integers(1, 5), min_size=1, max_size=30), unknown=st.booleans())
def test_units_are_patients_where_there_are_enough_else_runs_of_neighbours(counts, unknown):
    names = [f"p{number}" for number, count in enumerate(counts) for _ in range(count)]
    patients = ["" for _ in names] if unknown else names
    units = alignment.units_of(patients, np.arange(len(names))).tolist()
    if not unknown and len(counts) >= alignment.FEWEST_UNITS:
        assert len({*zip(names, units, strict=True)}) == len(counts) == len({*units})
    else:
        assert units == sorted(units)
        assert len({*units}) == min(24, len(names))


# ---- the table of codes, and real pairs ----------------------------------------------------------------------------


def test_every_code_is_of_its_area_has_a_severity_and_ends_without_a_full_stop():
    for code, said in pictures.CODES.items():
        assert re.fullmatch("AU[23][0-9][0-9]", code)
        assert said.severity in SEVERITIES
        assert not any(text.endswith(".") or not text for text in (said.title, said.why, said.remedy))
    assert {*ALONE, "AU302", "AU303", "AU305"} == set(pictures.CODES)


def real(name, patient, turn=lambda mask: mask):
    """Code: findings, of a published set with its masks cut at half and ``turn``ed."""
    from imagemask import images

    tree, _ = open_tree(REAL / name, patient)
    rows = []
    for image, mask in zip(tree.frame["image"], tree.frame["mask"], strict=True):
        sharp = (images.read_mask(tree.folder / mask) > 127).astype(np.uint8)
        rows.append(measures.measure(images.read_image(tree.folder / image), np.ascontiguousarray(turn(sharp)), None))
    found = {}
    for finding in pictures.findings(tree, pd.DataFrame(rows, dtype=float)):
        found.setdefault(finding.code, []).append(finding)
    return found


@pytest.mark.skipif(not REAL.is_dir(), reason="the real pairs are not here")
def test_the_published_lung_slices_are_cut_off_at_zero():
    assert len(real("lung-tumor", r"^(\d+)_")["AU202"]) == 8


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="the real pairs are not here")
def test_published_cells_lie_where_they_were_outlined_and_nowhere_else():
    found = real("cervical-cancer", r"_(\d+)\.")
    assert not found.keys() & {"AU201", "AU202", "AU204", "AU205", "AU206", "AU301", "AU304", "AU305", "AU308"}
    assert len(found["AU302"]) == 155
    (finding,) = real("cervical-cancer", r"_(\d+)\.", np.flipud)["AU305"]
    assert "mirrored top to bottom" in finding.message
