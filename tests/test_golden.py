"""Written pixels do not change: not with the machine, and not with a new version of this package by accident.

The digests below are those of a fixed set of pairs after every kind of transform. They are computed here, and in
processes that lack OpenCV's and NumPy's faster paths.

A digest that changes means that the same source now gives other pixels. If that is meant, raise ``FORMAT`` in
imagemask/build, so that no fragment of an earlier build passes for a current one, and only then put the new digest here
(``python tests/test_golden.py`` prints them).
"""

import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from imagemask import augment, manifest, pixels
from imagemask.types import Slice

SQUARE, WIDE = (96, 96), (90, 131)
SIZES = ((48, 48), (64, 64), (95, 95), (96, 60), (131, 50), (140, 160), (224, 224), (7, 5))
NAMES = (
    "fliph",
    "flipv",
    "rot90",
    "rot180",
    "rot-90",
    "rot5",
    "rot-5",
    "rot13.7",
    "rot45",
    "rot133",
    "fliph+rot271.25",
)
WINDOWS = {
    "lung": ["lung"],
    "odd": ["-160.3:240.7"],
    "colours": ["lung", "mediastinum", "bone"],
}

GOLDEN = {
    "window": "333ba7554350cefa",
    "depth": "891962e7b73745ee",
    "resize": "14f5b0270743175c",
    "crop": "7ae0efea93e1e8cd",
    "fliph": "a4a75e6afcfecaeb",
    "fit": "cd911a799eec62ce",
    "undo": "aab27d63e44e595e",
    "flipv": "ccb138ef998bfea3",
    "rot90": "6f7b38f25b1006a8",
    "rot180": "933ca62e121f4699",
    "rot-90": "d727b0edb4abf1fd",
    "rot5": "bb7ef3ea1fd4fdd4",
    "rot-5": "f48815348abbc813",
    "rot13.7": "cc0ee41c681701ac",
    "rot45": "5e5462471bb35c15",
    "rot133": "f7a1bed2b45ea5af",
    "fliph+rot271.25": "65ddd566228a2673",
}


def pair(shape, classes=2):
    """A CT-like pair without a random number: structure at all scales, noise by arithmetic, blobs of each class."""
    y, x = np.indices(shape)
    noise = (y * 7919 + x * 104729 + y * x * 31) % 257
    image = (-1000 + 6 * y + 5 * x + 3 * noise + 300 * ((y // 9 + x // 7) % 2)).astype(np.int16)
    mask = np.zeros(shape, np.int16)
    for value in range(1, classes):
        down, across = y - shape[0] * value / classes, x - shape[1] * (0.3 + 0.4 * (value % 2))
        mask[down**2 + across**2 / 2 + noise / 4 < (shape[0] / 5) ** 2] = value
    return Slice(0, image, mask, (0.7, 0.8))


def stages():
    """Name and pair of every transform that a build can apply."""
    for name, texts in WINDOWS.items():
        for shape in (SQUARE, WIDE):
            yield f"window {name} {shape}", pixels.window(pair(shape), [pixels.parse_window(text) for text in texts])
    floats = pair(WIDE)
    floats = Slice(0, np.asarray(floats.image, np.float32) / np.float32(3), floats.mask)
    yield "window floats", pixels.window(floats, [pixels.PRESETS["bone"]])
    yield "depth", pixels.window(Slice(0, pair(WIDE).image.view(np.uint16), pair(WIDE).mask), [])
    for texts, classes in ((["lung"], 2), (["lung", "mediastinum", "bone"], 5)):
        bounds = [pixels.parse_window(text) for text in texts]
        for shape in (SQUARE, WIDE):
            whole = pixels.window(pixels.labels(pair(shape, classes), dict.fromkeys(range(1, classes), "")), bounds)
            yield from ((f"{name} {classes} {shape}", one) for name, one in shaped(whole))


def shaped(whole):
    for height, width in SIZES:
        yield f"resize {height}x{width}", pixels.resize(whole, height, width)
    for margin in (1, 20):
        cropped = pixels.crop(whole, margin)
        yield f"crop {margin} back", pixels.resize(cropped, *whole.mask.shape)
        yield f"crop {margin} fit", pixels.fit(cropped, 64, stretch=False, background=31)[0]
        yield f"crop {margin} stretch", pixels.fit(cropped, 80, stretch=True, background=0)[0]
    for name in NAMES:
        variant = augment.parse(name)
        for background in (0, 200):
            yield f"{name} {background}", augment.apply(whole, variant, background=background)
        turned = augment.apply(pixels.fit(whole, 64, stretch=False, background=5)[0], variant, background=5)
        yield f"fit {name}", turned
        undone = augment.undo(turned.mask, variant)
        yield f"undo {name}", Slice(0, turned.image, undone)


def digests():
    """A digest for each family of transforms (the first word of their names), in order."""
    families = {}
    for name, done in stages():
        mask = done.mask.astype(np.uint8)
        line = f"{name} {manifest.digest(np.ascontiguousarray(done.image), mask)} {done.spacing}\n"
        families.setdefault(name.split()[0], hashlib.sha256()).update(line.encode())
    return {family: state.hexdigest()[:16] for family, state in families.items()}


def test_pixels_are_those_of_this_format():
    assert digests() == GOLDEN


@pytest.mark.parametrize(
    "switches",
    [
        {"OPENCV_IPP": "disabled"},
        {"OPENCV_CPU_DISABLE": "AVX2,AVX512_SKX"},
        {"OPENCV_IPP": "disabled", "OPENCV_CPU_DISABLE": "AVX512_SKX,AVX2,FP16,AVX,SSE4_2,SSE4_1"},
        {"NPY_DISABLE_CPU_FEATURES": "X86_V4 X86_V3 AVX512F AVX2 FMA3"},
    ],
    ids=lambda switches: " ".join(f"{name}={value}" for name, value in switches.items()),
)
def test_pixels_do_not_depend_on_the_processor(switches):
    """What a processor lacks already is only noted on stderr."""
    done = subprocess.run([sys.executable, __file__], env=os.environ | switches, capture_output=True, check=True)
    assert json.loads(done.stdout) == GOLDEN


if __name__ == "__main__":
    sys.stdout.write(json.dumps(digests(), indent=4) + "\n")
