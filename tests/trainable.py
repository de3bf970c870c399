"""A dataset that training can read, made without building: pictures, a manifest with their digests, a dataset.json."""

import json

import numpy as np
from datasets import row_of

from imagemask import images, manifest
from imagemask.learn import dataset


def picture(seed, size=(20, 24), *, colours=False, classes=1, empty=False):
    """A random image and a written mask with a blob of each class: uint8."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (*size, 3) if colours else size, dtype=np.uint8)
    mask = np.zeros(size, np.uint8)
    for number in range(1, classes + 1):
        y, x = (int(rng.integers(0, side - 5)) for side in size)
        mask[y : y + 5, x : x + 4] = 255 if classes == 1 else number
    return image, mask * (not empty)


def write(folder, pairs, *, classes=1, splits=("train", "valid", "test")):
    """Write ``pairs`` ({case: (image, mask)}); the sets go round the cases. Gives the folder."""
    rows = []
    values = [255] if classes == 1 else list(range(1, classes + 1))
    labels = [{"name": f"thing {v}", "source_value": n, "mask_value": v} for n, v in enumerate(values, start=1)]
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for number, (case, (image, mask)) in enumerate(pairs.items()):
        row = row_of(case=case, split=splits[number % len(splits)], foreground=int(np.count_nonzero(mask)))
        row |= {"digest": manifest.digest(image, mask), "height": mask.shape[0], "width": mask.shape[1]}
        rows.append(row)
        for kind, pixels in (("images", image), ("masks", mask)):
            (folder / kind / f"{row['key']}.png").write_bytes(images.encode_png(pixels, level=1))
    document = {"name": "fake", "generator": "fake", "labels": labels, "source": {"group": "patient"}, "recipe": {}}
    (folder / "dataset.json").write_text(json.dumps(document))
    manifest.write(folder, manifest.table(rows))
    return folder


def read(folder, count=7, **how):
    """A dataset of ``count`` random pictures in ``folder``; in every third no foreground."""
    pairs = {f"p{number:02d}": picture(number, empty=number % 3 == 2, **how) for number in range(count)}
    return dataset.read(write(folder, pairs, classes=how.get("classes", 1)))
