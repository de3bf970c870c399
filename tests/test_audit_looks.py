"""The pass over all pictures: each row gets the numbers of its own pair, and what cannot be read is said, not fatal."""

import numpy as np
import pytest
import trees
from datasets import Dataset, patients
from PIL import Image

from imagemask import images, pool
from imagemask.audit import fingerprints, looks, measures
from imagemask.audit.tree import open_tree
from imagemask.errors import CaseError, InputError


def look(folder, **how):
    tree, _ = open_tree(folder)
    return tree, looks.look(tree, **how)


def test_each_row_gets_the_numbers_of_its_own_pair(tmp_path, monkeypatch):
    monkeypatch.setattr(looks, "_AT_A_TIME", 4)
    names = [f"train/p{n}" for n in range(11)]
    steps = []
    tree, seen = look(trees.write(tmp_path, *names), progress=steps.append)
    assert steps == [4, 4, 3]
    assert list(seen.measures.columns) == [*measures.MEASURES, "depth"]
    for row, key in enumerate(tree.frame["key"]):
        image, mask = trees.drawn(key)
        said = measures.measure(image, mask, None)
        np.testing.assert_array_equal(seen.measures.loc[row, list(said)], list(said.values()))
        assert seen.fingerprints[row] == fingerprints.fingerprint(image)
        assert (looks.decode(tree, row) == image).all()
    assert seen.findings == []


@pytest.mark.parametrize("role", ["images", "masks"])
def test_a_picture_that_cannot_be_read_is_a_finding_and_costs_no_other(tmp_path, role):
    dataset = Dataset(tmp_path).write(patients(2, split="train"))
    healthy = look(tmp_path)[1]
    key = dataset.rows()["key"][3]
    path = tmp_path / role / f"{key}.png"
    path.write_bytes(path.read_bytes()[:-5])
    tree, seen = look(tmp_path)
    (one,) = seen.findings
    assert (one.code, one.severity, one.files) == ("AU001", "error", (f"{role}/{key}.png",))
    assert path.name in one.message
    assert "cut short" in one.message
    assert one.lines == (tree.frame["line"][3],)
    assert seen.measures.loc[3].isna().all()
    assert bool(seen.fingerprints["height"][3]) == (role == "masks")
    rest = tree.frame.index != 3
    assert seen.measures[rest].equals(healthy.measures[rest])
    if role == "images":
        with pytest.raises(CaseError, match="cut short"):
            looks.decode(tree, 3)


def test_half_a_pair_is_measured_as_far_as_it_goes(tmp_path):
    trees.write(tmp_path, "train/a", "train/b", "train/c")
    (tmp_path / "train/masks/a.png").unlink()
    (tmp_path / "train/images/b.png").unlink()
    _, seen = look(tmp_path)
    assert seen.findings == []
    assert seen.measures["height"].isna().tolist() == [False, True, False]
    assert seen.measures["mask_height"].isna().tolist() == [True, True, False]
    assert (seen.fingerprints["height"] > 0).tolist() == [True, False, True]


def test_sixteen_bits_are_shown_in_eight_and_noted(tmp_path):
    trees.write(tmp_path, "train/a", "train/b")
    image = trees.drawn("train/a")[0]
    Image.fromarray(image.astype(np.uint16) * 16).save(tmp_path / "train/images/a.png")  # twelve bits, as of a CT
    tree, seen = look(tmp_path)
    assert seen.measures["depth"].tolist() == [16, 8]
    assert (looks.decode(tree, 0) == image).all()
    dark = np.uint16(image) // 16
    Image.fromarray(dark).save(tmp_path / "train/images/a.png")
    assert (looks.decode(tree, 0) == dark).all(), "what is dark stays so"


def test_a_mask_in_colours_has_a_value_for_each(tmp_path):
    trees.write(tmp_path, "train/a", "train/b")
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[2:6, 2:6], pixels[8:12, 8:12], pixels[8:12, 2:6] = (255, 0, 0), (0, 255, 0), (0, 255, 1)
    (tmp_path / "train/masks/a.png").write_bytes(images.encode_png(pixels, level=1))
    _, seen = look(tmp_path)
    assert seen.findings == []
    assert seen.measures["values"][0] == 4
    assert seen.measures["foreground"][0] == 48 / 256


def test_a_transparent_image_is_a_finding(tmp_path):
    trees.write(tmp_path, "train/a", "train/b")
    Image.new("RGBA", (16, 16), (10, 20, 30, 40)).save(tmp_path / "train/images/a.png")
    _, seen = look(tmp_path)
    assert [(one.code, one.files, one.lines) for one in seen.findings] == [("AU001", ("train/images/a.png",), ())]
    assert "transparent" in seen.findings[0].message


def test_the_death_of_a_worker_ends_with_what_to_do(tmp_path, monkeypatch):
    trees.write(tmp_path, "train/a")
    monkeypatch.setattr(pool, "run", lambda _, tasks, *, died, **how: [died(task) for task in tasks])
    with pytest.raises(InputError, match="train/images/a.png") as caught:
        look(tmp_path)
    assert "--workers" in caught.value.remedy


def test_how_bright_16_bits_are_is_not_judged(tmp_path):
    """One pixel of 4096 among 4095s would halve every other: no file says what is white."""
    trees.write(tmp_path, "train/a", "train/b")
    image, _ = trees.drawn("train/a")
    Image.fromarray(image.astype(np.uint16) << 4).save(tmp_path / "train/images/a.png")
    _, seen = look(tmp_path)
    assert seen.measures.loc[0, list(looks.TONES)].isna().all()
    assert seen.measures.loc[1, list(looks.TONES)].notna().all()
    assert seen.measures.loc[0, "foreground"] > 0
    assert [text for text in looks.unjudged(seen) if "16 bits" in text] == [
        "How bright 1 of 2 images are: of 16 bits no file says what is white."
    ]


def test_what_could_not_be_read_is_not_called_sound(tmp_path):
    trees.write(tmp_path, "train/a", "train/b")
    assert list(looks.unjudged(look(tmp_path)[1])) == []
    (tmp_path / "train/images/a.png").write_bytes(b"no picture")
    assert list(looks.unjudged(look(tmp_path)[1])) == ["The pictures of pairs that cannot be read: 1 files of 2 pairs."]
