"""A plain UNet, as a tutorial has it: what ``real_pancreas.py --plain`` compares the default network with.

``python benchmarks/plain_unet.py DATASET FOLD MINUTES OUT``: Keras' own layers and Random* layers at 256x256, Adam,
cross-entropy and Dice, for so many CPU minutes, its evaluation included; the weights of the epoch with the lowest loss
on the validation patients, and the threshold that is best on them. Writes the Dice of every image of the test patients,
at 512x512, to the CSV file OUT.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import cv2
import keras
import numpy as np
import pandas as pd
from keras import layers, ops

from imagemask import images
from imagemask.learn import dataset, scores

SIDE, BATCH, FILTERS, LEVELS = 256, 4, 16, 4
SCORING = 0.3  # of the minutes


def network() -> keras.Model:
    """A sigmoid HxWx1 of pictures HxWx1, 0 to 1."""
    x = inputs = keras.Input((SIDE, SIDE, 1))
    passed = []
    for level in range(LEVELS):
        x = _twice(x, FILTERS << level)
        passed.append(x)
        x = layers.MaxPooling2D()(x)
    x = _twice(x, FILTERS << LEVELS)
    for level in reversed(range(LEVELS)):
        x = layers.Conv2DTranspose(FILTERS << level, 2, strides=2)(x)
        x = _twice(layers.Concatenate()([x, passed[level]]), FILTERS << level)
    return keras.Model(inputs, layers.Conv2D(1, 1, activation="sigmoid")(x))


def _twice(x: keras.KerasTensor, filters: int) -> keras.KerasTensor:
    for _ in range(2):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = layers.Activation("relu")(layers.BatchNormalization(momentum=0.9)(x))
    return x


def loss(truth: keras.KerasTensor, found: keras.KerasTensor) -> keras.KerasTensor:
    """Cross-entropy, and 1 less the Dice of each picture."""
    both, either = ops.sum(truth * found, axis=(1, 2, 3)), ops.sum(truth + found, axis=(1, 2, 3))
    return ops.mean(keras.losses.binary_crossentropy(truth, found)) + ops.mean(1 - (2 * both + 1) / (either + 1))


def augmented(pictures: np.ndarray, masks: np.ndarray, chain: list[layers.Layer]) -> tuple[np.ndarray, np.ndarray]:
    """A batch with its masks, through Keras' layers."""
    both = {"images": pictures, "segmentation_masks": masks}
    for layer in chain:
        both = layer(both, training=True)
    return np.asarray(both["images"]), (np.asarray(both["segmentation_masks"]) > 0.5).astype(np.float32)


def main(folder: Path, fold: int, minutes: float, out: Path) -> None:
    """Train until the minutes are over, and score."""
    keras.utils.set_random_seed(0)
    rows = dataset.read(folder, fold=fold).rows
    pictures = {key: images.read_png(folder / "images" / f"{key}.png") for key in rows["key"]}
    truth = {key: (images.read_png(folder / "masks" / f"{key}.png") > 0).astype(np.float32) for key in rows["key"]}
    of = {part: list(rows.loc[rows["split"] == part, "key"]) for part in ("train", "valid", "test")}
    x = {key: _small(picture) / 255 for key, picture in pictures.items()}
    y = {key: (_small(mask) > 0.5).astype(np.float32) for key, mask in truth.items()}
    fill = {"fill_mode": "constant", "fill_value": 0.0}
    chain = [
        layers.RandomRotation(0.05, **fill),
        layers.RandomTranslation(0.1, 0.1, **fill),
        layers.RandomZoom(0.1, **fill),
    ]
    chain += [layers.RandomContrast(0.2, value_range=(0, 1)), layers.RandomBrightness(0.1, value_range=(0, 1))]
    model, order, best, epoch = network(), np.random.default_rng(0), np.inf, 0
    weights, at = model.get_weights(), 0
    model.compile(keras.optimizers.Adam(1e-3), loss)
    valid = [np.stack([some[key] for key in of["valid"]]) for some in (x, y)]
    while time.process_time() < (minutes - SCORING) * 60:
        keys = order.permutation(of["train"])
        for begin in range(0, len(keys) - len(keys) % BATCH, BATCH):
            batch = (np.stack([some[key] for key in keys[begin : begin + BATCH]]) for some in (x, y))
            model.train_on_batch(*augmented(*batch, chain))
        epoch += 1
        if (now := float(model.evaluate(*valid, batch_size=BATCH, verbose=0))) < best:
            best, weights, at = now, model.get_weights(), epoch
    model.set_weights(weights)
    found = {
        key: cv2.resize(np.asarray(model(x[key][None]))[0, ..., 0], truth[key].shape[::-1])
        for key in of["valid"] + of["test"]
    }

    def dice(key: str, threshold: float) -> float:
        return scores.score((found[key] >= threshold).astype(np.uint8), truth[key].astype(np.uint8)).dice

    threshold = max(np.arange(0.1, 1, 0.1), key=lambda one: np.mean([dice(key, one) for key in of["valid"]]))
    scored = pd.DataFrame({"key": of["test"], "dice": [dice(key, threshold) for key in of["test"]]})
    scored.to_csv(out, index=False)
    print(f"  plain: {epoch} epochs, the best was {at}, {time.process_time() / 60:.1f} CPU minutes,", end=" ")
    print(f"Dice an image {scored['dice'].mean():.3f}", flush=True)


def _small(picture: np.ndarray) -> np.ndarray:
    grey = picture if picture.ndim == 2 else picture.mean(axis=2)
    return cv2.resize(grey.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)[..., None]


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4]))
