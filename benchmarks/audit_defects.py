"""What may be wrong with a pair, as functions that make it so of an image, its mask (0 and 255) and random numbers."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from imagemask.audit import measures

Defect = Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]


def constant(image, mask, _):
    return np.full_like(image, int(image.mean())), mask


def overexposed(image, mask, _):
    level = max(1.0, float(np.quantile(image.max(axis=2) if image.ndim == 3 else image, 0.65)))
    return np.clip(image * (255.0 / level) * 1.2, 0, 255).astype(np.uint8), mask


def inverted(image, mask, _):
    return 255 - image, mask


def band(image, mask, random):
    """The image is moved by a 32nd of its side, and the mask is not; what comes in is black."""
    side, by = int(random.integers(4)), max(3, max(image.shape[:2]) // 32)
    turned = np.rot90(image, side)
    moved = np.zeros_like(turned)
    moved[by:] = turned[:-by]
    return np.ascontiguousarray(np.rot90(moved, -side)), mask


def rotated(degrees: float) -> Defect:
    def defect(image, mask, random):
        height, width = mask.shape
        way = degrees * (1 if random.random() < 0.5 else -1)
        by = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), way, 1)
        return cv2.warpAffine(image, by, (width, height)), cv2.warpAffine(mask, by, (width, height), flags=0)

    return defect


def as_jpeg(inner: Defect) -> Defect:
    """A defect of the image that is then written as JPEG, which blurs what was blank."""

    def defect(image, mask, random):
        image, mask = inner(image, mask, random)
        stored = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
        return cv2.imdecode(stored, cv2.IMREAD_GRAYSCALE if image.ndim == 2 else cv2.IMREAD_COLOR), mask

    return defect


def smaller(image, mask, _):
    size = mask.shape[1] * 3 // 4, mask.shape[0] * 3 // 4
    return cv2.resize(image, size), cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)


def channels(image, mask, _):
    return (image[..., 0].copy() if image.ndim == 3 else np.dstack([image] * 3)), mask


def half_mask(image, mask, _):
    return image, mask[::2, ::2].copy()


def jpeg(image, mask, _):
    return image, cv2.imdecode(cv2.imencode(".jpg", mask)[1], cv2.IMREAD_GRAYSCALE)


def interpolated(image, mask, _):
    small = cv2.resize(mask, (mask.shape[1] * 2 // 3, mask.shape[0] * 2 // 3))
    return image, cv2.resize(small, mask.shape[::-1])


def undeclared(image, mask, random):
    mask = mask.copy()
    y, x = (int(random.integers(0, side - 4)) for side in mask.shape)
    mask[y : y + 4, x : x + 4] = 7
    return image, mask


def specks(image, mask, random):
    mask, away = mask.copy(), cv2.dilate(mask, np.ones((9, 9), np.uint8)) == 0
    rows, columns = np.nonzero(away)
    chosen = random.choice(len(rows), 3, replace=False)
    mask[rows[chosen], columns[chosen]] = 255
    return image, mask


def background(image, mask, _):
    return image, 255 - mask


def at_the_border(image, mask, _):
    rows = np.flatnonzero(mask.any(axis=1))
    return image, np.roll(mask, -(int(rows[0]) if len(rows) else 0), axis=0)


def empty(image, mask, _):
    return image, np.zeros_like(mask)


def moved(pixels: int) -> Defect:
    """The mask moved in one of eight directions, by ``pixels`` of 512."""

    def defect(image, mask, random):
        down, right = list(measures.COMPASS.values())[int(random.integers(8))]
        by = pixels * max(mask.shape) / 512 / np.hypot(down, right)
        matrix = np.float32([[1, 0, round(right * by)], [0, 1, round(down * by)]])
        return image, cv2.warpAffine(mask, matrix, mask.shape[::-1], flags=cv2.INTER_NEAREST)

    return defect


def flipped(axis: int) -> Defect:
    return lambda image, mask, _: (image, np.ascontiguousarray(np.flip(mask, axis)))


def transposed(image, mask, _):
    """Rows and columns of the mask change places; of a picture that is not square it is turned by 180 degrees."""
    return image, np.ascontiguousarray(mask.T if mask.shape[0] == mask.shape[1] else mask[::-1, ::-1])


MISPLACED: dict[str, Defect] = {
    **{f"mask moved {pixels} px of 512": moved(pixels) for pixels in (8, 16, 32)},
    "mask mirrored left to right": flipped(1),
    "mask mirrored top to bottom": flipped(0),
    "mask transposed": transposed,
}
OF_PAIRS: dict[str, dict[str, Defect]] = {
    "AU201": {"constant": constant},
    "AU203": {"overexposed": overexposed},
    "AU204": {"inverted": inverted},
    "AU205": {"image moved by 1/32, black band": band, "the same as JPEG": as_jpeg(band)},
    "AU206": {
        "turned 5 degrees, black corners": rotated(5),
        "turned 15 degrees": rotated(15),
        "turned 5 degrees, as JPEG": as_jpeg(rotated(5)),
    },
    "AU207": {"three quarters of the size": smaller},
    "AU208": {"grey for RGB, RGB for grey": channels},
    "AU301": {"mask of half the size": half_mask},
    "AU302": {"mask written as JPEG": jpeg},
    "AU303": {"4x4 pixels of value 7": undeclared},
    "AU304": {"JPEG mask written as PNG": jpeg, "mask resized with interpolation": interpolated},
    "AU306": MISPLACED,
    "AU307": {"three pixels beside the mask": specks},
    "AU308": {"mask inverted": background},
    "AU309": {"mask moved to the border": at_the_border},
    "AU310": {"mask emptied": empty},
}
