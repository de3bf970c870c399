"""What the published generator scripts do to pictures, written anew from their description; no augmentation.

Peers to be timed, as those in ``seeds.py`` are: squashed pictures, contours cut to whole pixels, blurred masks and JPEG
are wrong here too. Their printing is left out, and so is what is slow for no reason: the ovarian script asks for every
pixel of a mask in Python, which alone takes it a third of a second a picture; here that is one comparison.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

SIDE = 256
_COLOURS = {
    "Dyskeratotic": (0, 255, 255),
    "Koilocytotic": (255, 255, 0),
    "Metaplastic": (0, 255, 0),
    "Parabasal": (255, 0, 128),
}


def imports() -> None:
    """What the scripts import, and what their libraries would import late."""
    import cv2  # noqa: F401
    from PIL import Image

    Image.init()


def cervical(raw: Path, out: Path) -> int:
    """A pair a cell of the first nine tenths of a class, a pair an image of the rest; how many were written."""
    return _classes(raw, out, ((0.7, "train"), (0.2, "valid")))


def cervical_merged(raw: Path, out: Path) -> int:
    """What the script does to the images that it tests on, done to all: one pair an image, with all of its cells."""
    return _classes(raw, out, ())


def _classes(raw: Path, out: Path, parts: tuple[tuple[float, str], ...]) -> int:
    pairs = 0
    for category, colour in _COLOURS.items():
        pictures = sorted((raw / f"im_{category}").glob("*.bmp"))
        splits = [split for share, split in parts for _ in range(int(len(pictures) * share))]
        splits += ["test"] * (len(pictures) - len(splits))
        for path, split in zip(pictures, splits, strict=True):
            pairs += _clusters(path, out / split / category, colour, merged=split == "test")
    return pairs


def _clusters(path: Path, out: Path, colour: tuple[int, int, int], *, merged: bool) -> int:
    """The pairs of one picture, which is read once and resized and written for each of them."""
    import cv2

    for kind in ("images", "masks"):
        (out / kind).mkdir(parents=True, exist_ok=True)
    contours = sorted(path.parent.glob(f"{path.stem}_cyt*.dat"))
    image = cv2.imread(str(path))
    groups = [contours] if merged else [[contour] for contour in contours]
    for index, group in enumerate(groups, start=1001):
        name = f"{path.stem}.jpg" if merged else f"{index}_{path.stem}.jpg"
        cv2.imwrite(str(out / "images" / name), cv2.resize(image, (SIDE, SIDE)))
        cv2.imwrite(str(out / "masks" / name), cv2.resize(_filled(image.shape, group, colour), (SIDE, SIDE)))
    return len(groups)


def _filled(shape: tuple[int, ...], contours: list[Path], colour: tuple[int, int, int]) -> Any:
    import cv2
    import numpy as np

    mask = np.zeros(shape, np.uint8)
    for contour in contours:
        lines = (line.split(",") for line in contour.read_text().splitlines())
        cv2.fillPoly(mask, [np.array([[int(float(x)), int(float(y))] for x, y in lines])], colour)
    return mask


def ovarian(raw: Path, out: Path) -> int:
    """A pair an image, from the colour annotation; how many were written."""
    import numpy as np
    from PIL import Image, ImageFilter

    for kind in ("images", "masks"):
        (out / kind).mkdir(parents=True)
    pictures = sorted((raw / "OTU_2d" / "images").glob("*.JPG"))
    for path in pictures:
        image = Image.open(path).convert("RGB")
        mask = np.asarray(Image.open(raw / "OTU_2d" / "annotations" / f"{path.stem}.PNG").convert("RGB"))
        white = Image.fromarray((mask > 20).any(axis=2)).convert("RGB").filter(ImageFilter.BLUR)
        for kind, picture in (("images", image), ("masks", white)):
            _squared(picture).save(out / kind / f"{path.stem}.jpg")
    return len(pictures)


def _squared(picture: Any) -> Any:
    """In the middle of a black square of the longer side, then small."""
    from PIL import Image

    longer = max(picture.size)
    square = Image.new("RGB", (longer, longer))
    square.paste(picture, ((longer - picture.width) // 2, (longer - picture.height) // 2))
    return square.resize((SIDE, SIDE))
