"""For the tests of prediction: runs without training, and what stands in for their models."""

from __future__ import annotations

import numpy as np

from imagemask import images, manifest
from imagemask.learn.run import Record, Run

RECIPE = {"generator": "fake", "name": "fake", "size": None, "stretch": False, "window": []}


def record(**changes):
    """The record of a run over grey 8-bit pictures of 32x32 with one class."""
    size = {"height": changes.get("height", 32), "width": changes.get("width", 32)}
    labels = changes.get("labels", ("cell",))
    known = {
        "dataset": "fake",
        "folder": "../fake",
        "digest": "0" * 64,
        "fold": None,
        "labels": labels,
        "mask_values": (255,) if len(labels) == 1 else tuple(range(1, len(labels) + 1)),
        "channels": 1,
        "classes": 1 if len(labels) == 1 else len(labels) + 1,
        "picture": (size["height"], size["width"]),
        "threshold": 0.5,
        **size,
        **changes,
    }
    return Record(**{**known, "recipe": {**RECIPE, **changes.get("recipe", {})}})


def run_in(folder, **changes):
    """A run folder with such a record, and no model."""
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(folder, record(**changes))
    run.save()
    return run


def run_over(folder, dataset, **changes):
    """A run over a dataset that was built: what ``train`` would write down of it."""
    document, rows = manifest.read_dataset(dataset), manifest.read(dataset)
    image = images.read_png(dataset / "images" / f"{rows['key'].iloc[0]}.png")
    sizes = set(zip(rows["height"], rows["width"], strict=True))
    found = {
        "labels": tuple(label["name"] for label in document["labels"]),
        "mask_values": tuple(label["mask_value"] for label in document["labels"]),
        "recipe": document["recipe"],
        "height": image.shape[0],
        "width": image.shape[1],
        "channels": 1 if image.ndim == 2 else 3,
        "picture": image.shape[:2] if len(sizes) == 1 else None,
    }
    if "recipe" in changes:
        changes["recipe"] = {**document["recipe"], **changes["recipe"]}
    return run_in(folder, **{**found, **changes})


class Oracle:
    """A perfect model of a dataset: knows the mask of the very pixels that it is shown; of others it finds nothing."""

    def __init__(self, dataset):
        document = manifest.read_dataset(dataset)
        self.classes = len(document["labels"])
        self.known, self.hits, self.missed = {}, set(), 0
        for key in manifest.read(dataset)["key"]:
            image, mask = (images.read_png(dataset / kind / f"{key}.png") for kind in ("images", "masks"))
            self.known[image.tobytes()] = manifest.to_labels(mask, document)

    def predict_on_batch(self, stack):
        return np.stack([self._one(image) for image in np.asarray(stack)])

    def _one(self, image):
        data = image.tobytes()
        if data in self.known:
            self.hits.add(data)
        else:
            self.missed += bool(image.any())  # a batch is filled up with zeros
        labels = self.known.get(data, np.zeros(image.shape[:2], np.uint8))
        if self.classes == 1:
            return (labels > 0)[..., None].astype(np.float32)
        return np.eye(self.classes + 1, dtype=np.float32)[labels]


class Bright:
    """Finds what is bright: the probability of a pixel is its value, of 255."""

    def __init__(self):
        self.shapes = []

    def predict_on_batch(self, stack):
        self.shapes.append(stack.shape)
        return np.asarray(stack)[..., :1].astype(np.float32) / 255


def dice(one, other):
    return 2 * np.count_nonzero((one > 0) & (other > 0)) / (np.count_nonzero(one) + np.count_nonzero(other))
