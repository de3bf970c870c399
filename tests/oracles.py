"""For the tests of evaluation: small phantom workspaces, run folders made by hand, and models that know the truth."""

import os
import shutil

import numpy as np

from imagemask import build, images, manifest, registry, split
from imagemask.learn import dataset, run


def workspace(folder, name="lung-tumor", *, patients=16, side=48, slices=10, options=None, **recipe):
    """A phantom source in raw/NAME, built into datasets/NAME and split by patient; the dataset's folder."""
    raw, home = folder / "raw" / name, folder / "datasets" / name
    if not raw.is_dir():
        registry.load(name).phantom(raw, patients=patients, size=side, slices=slices, seed=3, faults=False)
    built(folder, home, name, options=options, **recipe)
    split.split(home, split.Request(by="patient", ratios=(0.3, 0.2, 0.5)))
    return home


def built(folder, home, name="lung-tumor", *, options=None, **recipe):
    """The source in raw/NAME, built into ``home``."""
    job = build.prepare(name, raw=folder / "raw" / name, out=home, recipe=recipe, options=options or {})
    build.run(job, build.How(workers=1), started=lambda _: None, progress=lambda _: None)
    return home


def pictures(folder):
    """A dataset of single pictures, several a patient, some of them empty; and one with the empty ones in it."""
    options = {"patient": "(P[0-9]+)"}
    home = workspace(folder, "folder", patients=12, slices=6, options=options)
    return home, built(folder, folder / "datasets" / "everything", "folder", options=options, keep_empty=True)


def run_of(home, folder, *, fold=None, **given):
    """A run over the dataset in ``home``, as ``train`` would leave it, but for the model."""
    data = dataset.read(home, fold=fold)
    folder.mkdir(parents=True)
    shutil.copy(home / "split.csv", folder / "split.csv")
    height, width = data.size
    facts = {
        "dataset": data.name,
        "folder": os.path.relpath(home, folder),
        "digest": data.digest,
        "fold": fold,
        "labels": data.labels,
        "mask_values": [label["mask_value"] for label in data.document["labels"]],
        "height": height,
        "width": width,
        "channels": 1,
        "classes": data.classes,
        "recipe": data.document["recipe"],
        "threshold": 0.5,
        "ended": "all epochs are done",
    }
    record = run.Record.model_validate({**facts, **given})
    made = run.Run(folder, record)
    made.save()
    return made


class Oracle:
    """Knows the mask of every picture of datasets, empty ones included where they were kept; nothing for any other.

    ``shift`` moves what it says by so many pixels down; ``sure`` is the probability that it gives.
    """

    def __init__(self, *homes, shift=0, sure=1.0, classes=1):
        self.known, self.shift, self.sure, self.classes, self.asked = {}, shift, sure, classes, 0
        for home in homes:
            document = manifest.read_dataset(home)
            for key in manifest.read(home)["key"]:
                image, mask = (images.read_png(home / kind / f"{key}.png") for kind in ("images", "masks"))
                self.known[image.tobytes()] = manifest.to_labels(mask, document)

    def predict_on_batch(self, stack):
        self.asked += len(stack)
        return np.stack([self.say(picture) for picture in np.asarray(stack)])

    def say(self, picture):
        none = np.zeros(picture.shape[:2], np.uint8)
        labels = np.roll(self.known.get(picture.astype(np.uint8).tobytes(), none), self.shift, 0)
        if self.classes == 1:
            return np.where(labels > 0, self.sure, 1 - self.sure)[..., None].astype(np.float32)
        return np.eye(self.classes, dtype=np.float32)[labels]


class Constant:
    """Says one probability of foreground everywhere."""

    def __init__(self, probability=0.0, classes=1):
        self.probability, self.classes = probability, classes

    def predict_on_batch(self, stack):
        found = np.full((*np.shape(stack)[:3], self.classes), self.probability, np.float32)
        if self.classes > 1:
            found[..., 1:] /= self.classes - 1
            found[..., 0] = 1 - self.probability
        return found
