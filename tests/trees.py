"""Folders of image and mask files without a manifest, as other projects leave them; small, drawn from their names."""

import hashlib
import shutil

import numpy as np

from imagemask import images


def drawn(name, side=16):
    """An image of its own for each name, smooth enough to be none's copy, and a mask that is not empty."""
    random = np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:4]))
    rows, columns = np.mgrid[:side, :side] / side
    waves = sum(np.sin(2 * np.pi * (a * rows + b * columns + c)) for a, b, c in random.uniform(-2, 2, (4, 3)))
    mask = np.zeros((side, side), np.uint8)
    top, left = random.integers(2, side // 2, 2)
    mask[top : top + side // 4, left : left + side // 4] = 255
    return np.uint8(127 + 30 * waves), mask


def write(folder, *pairs, image="images", mask="masks"):
    """A PNG pair for each of ``pairs``, without role and extension: ``train/P01_3`` is ``train/images/P01_3.png``."""
    for name in pairs:
        *above, stem = name.split("/")
        for role, pixels in zip((image, mask), drawn(name), strict=True):
            home = folder.joinpath(*above, role)
            home.mkdir(parents=True, exist_ok=True)
            (home / f"{stem}.png").write_bytes(images.encode_png(pixels, level=1))
    return folder


def shuffled(real, folder, *, random, shares=(0.8, 0.15)):
    """The pairs of ``real`` (images/, masks/) as the seed projects split them: file by file, whoever is in it.

    Which split each file went to.
    """
    names = sorted(path.name for path in (real / "images").iterdir())
    random.shuffle(names)
    ends = [int(len(names) * shares[0]), int(len(names) * sum(shares))]
    parts = {"train": names[: ends[0]], "valid": names[ends[0] : ends[1]], "test": names[ends[1] :]}
    for split, some in parts.items():
        for kind in ("images", "masks"):
            (folder / split / kind).mkdir(parents=True)
            for name in some:
                shutil.copyfile(real / kind / name, folder / split / kind / name)
    return {name: split for split, some in parts.items() for name in some}
