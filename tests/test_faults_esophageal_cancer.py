"""Section 7.6 of the failure catalogue: an EEC-2022 broken in one place, a test frame of the third patient."""

import struct
import zlib
from functools import partial

import cv2
import numpy as np
import pytest
from faults import Bench, Built, Fault, Quarantined, both, data, remove
from imagemask.generators.phantoms.esophageal_cancer import stem_of
from PIL import Image

from imagemask import images

STEM, SIZE = stem_of(2, 2), 32
FRAMES = [f"test+{stem_of(2, frame)}" for frame in range(4)]
TEST, TRAIN, HEALTHY = "EEC-2022/test", "EEC-2022/train", "EEC-2022/non-EEC"
IMAGE, MASK = f"{TEST}/image/{STEM}.png", f"{TEST}/mask/{STEM}.png"
NEW = "synthetic_mask leak_risk unusual_size"  # of a frame without cancer that was not there
eec = partial(Fault, source="esophageal-cancer", case=f"test+{STEM}")


def encoded(array):
    return images.encode_png(np.asarray(array, np.uint8), level=1)


def redrawn(name, change):
    """A picture with other pixels, 8 bits, one or three channels."""
    return data(name, lambda content: encoded(change(images.decode_png(content))))


def saved(name, mode, change=lambda picture: picture):
    """A picture in another of Pillow's modes."""

    def inject(scene):
        with Image.open(scene.raw / name) as picture:
            changed = change(picture.convert(mode))
        changed.save(scene.raw / name)

    return inject


def moved(name, to):
    return lambda scene: (scene.raw / name).rename(scene.raw / to)


def copied(name, to, change=lambda content: content):
    def inject(scene):
        (scene.raw / to).parent.mkdir(exist_ok=True)
        (scene.raw / to).write_bytes(change((scene.raw / name).read_bytes()))

    return inject


def turned(content):
    return encoded(images.decode_png(content)[::-1])


def another_pair(to, *, change=turned, folder=TRAIN):
    """The frame and its mask again, under another name, in another folder, turned unless told otherwise."""
    return both(copied(IMAGE, f"{folder}/image/{to}.png", change), copied(MASK, f"{folder}/mask/{to}.png", change))


def renamed(stem):
    return both(moved(IMAGE, f"{TEST}/image/{stem}.png"), moved(MASK, f"{TEST}/mask/{stem}.png"))


def transparent(picture):
    picture.putpixel((3, 3), (0, 0, 0, 0))
    return picture


def sixteen(scene):
    pixels = cv2.imread(str(scene.raw / IMAGE), cv2.IMREAD_UNCHANGED)
    assert cv2.imwrite(str(scene.raw / IMAGE), pixels.astype(np.uint16) * 257)


def jpeg(name):
    """The picture as a JPEG, under a name that says so."""

    def inject(scene):
        path = scene.raw / name
        with Image.open(path) as picture:
            picture.save(path.with_suffix(".jpg"), quality=90)
        path.unlink()

    return inject


def other_checksum(content):
    """A PNG whose pixels say another checksum than they have, and can be decompressed all the same."""
    place = content.index(b"IDAT") - 4
    length = struct.unpack_from(">I", content, place)[0]
    end = place + 8 + length
    wrong = zlib.crc32(content[place + 4 : end]) ^ 1
    return content[:end] + struct.pack(">I", wrong) + content[end + 4 :]


def third(value):
    def change(mask):
        changed = mask * np.uint8(255)
        changed[0] = value
        return changed

    return change


FAULTS = [
    # The healthy ones hold 0 and 1, one of them 0 and 255; an empty picture would have no foreground to compare.
    eec("E1", lambda _: None, Built()),
    eec("E2", redrawn(MASK, lambda mask: mask * np.uint8(255)), Built("bright_mask")),
    eec("E3", redrawn(MASK, third(128)), Quarantined("label_values", MASK, "128: 32, 255: ")),
    eec("E3 two values", redrawn(MASK, lambda mask: mask * np.uint8(128)), Quarantined("label_values", MASK, "128: ")),
    eec("E4 1 and 255", redrawn(MASK, third(1)), Quarantined("label_values", MASK, "1: 32, 255: ")),
    eec(
        "E4 ramp",
        redrawn(MASK, lambda mask: np.add.outer(np.arange(SIZE), np.arange(SIZE)) * mask[:1].shape[0]),
        Quarantined("label_values", MASK, "63 values, pixels by value"),
    ),
    eec("E5 grey in three", redrawn(MASK, lambda mask: np.stack([mask] * 3, axis=2)), Built()),
    eec("E5 opaque", saved(MASK, "RGBA"), Built()),
    eec("E5 two bits", saved(MASK, "P"), Built()),
    eec(
        "E5 colours",
        redrawn(MASK, lambda mask: np.stack([mask, mask, mask * 0], axis=2)),
        Quarantined("colour_mask", MASK),
    ),
    eec("E5 transparent", saved(MASK, "RGBA", transparent), Quarantined("transparent_image", MASK)),
    eec("E6", redrawn(MASK, lambda mask: mask * 0), Built("empty_positive", "other")),
    eec("E7", redrawn(MASK, lambda mask: mask * 0 + 1), Built("mask_full", "other")),
    eec("E8", redrawn(MASK, lambda mask: mask[1:]), Quarantined("size_mismatch", MASK, "31x32")),
    eec("E10", remove(MASK), Quarantined("missing_mask", IMAGE, f"there is no mask for {STEM}.png")),
    eec("E10 number", remove("EEC/test mask/7.png"), Quarantined("missing_mask", "test/7.png"), case="test+7"),
    eec("E11", copied(IMAGE, f"{HEALTHY}/55.png", turned), Built(NEW, "other"), case="non-EEC+55"),
    eec(
        "E11 among frames of cancer",
        copied(IMAGE, f"{TRAIN}/image/55.png", turned),
        Built(NEW, "other"),
        case="non-EEC+train+55",
    ),
    eec(
        "E12",
        moved(f"{HEALTHY}/0.png", f"{HEALTHY}/1300.png"),
        Quarantined("missing_mask", "non-EEC/1300.png", "frames without cancer end at 1299"),
        case="non-EEC+1300",
        was="non-EEC+0",
    ),
    eec(
        "E13 in the test release",
        both(copied(IMAGE, "EEC/test/99.png", turned), copied(MASK, "EEC/test mask/99.png", turned)),
        Built("patient_unknown unusual_size", "other"),
        case="test+99",
    ),
    eec(
        "E13 in the whole release",
        another_pair("99"),
        Built("patient_unknown numbered_positive unusual_size", "other"),
        case="train+99",
    ),
    eec("E14", copied(IMAGE, f"{HEALTHY}/000.png", turned), Built(f"{NEW} padded_number", "other"), case="non-EEC+000"),
    eec("E15", remove(IMAGE), Quarantined("missing_image", MASK)),
    eec(
        "E16",
        another_pair("3ESTD3jhx201402040OR"),
        Built("patient_in_splits unusual_size", "other"),
        case="train+3ESTD3jhx201402040OR",
        finds="IM008",
        spreads=dict.fromkeys(FRAMES, "patient_in_splits"),
    ),
    eec(
        "E17",
        another_pair("1ESTD1jhx201400040OR", change=lambda content: content),
        Built("leak_risk patient_spelling unusual_size", "other"),  # the other frame of this one is spelt JHX
        case="train+1ESTD1jhx201400040OR",
        spreads={f"test+{STEM}": "leak_risk"},
    ),
    eec(
        "E17 and the patient",
        another_pair(STEM, change=lambda content: content),
        Built("leak_risk patient_in_splits unusual_size", "other"),
        case=f"train+{STEM}",
        finds="IM008",
        spreads={**dict.fromkeys(FRAMES, "patient_in_splits"), f"test+{STEM}": "leak_risk patient_in_splits"},
    ),
    eec("E18", renamed("lesion b"), Built("patient_unknown"), case="test+lesion b", was=f"test+{STEM}"),
    eec(
        "E18 told",
        both(renamed("lesion b"), lambda scene: (scene.raw / "who.csv").write_text("file,patient\nlesion b,Q7\n")),
        Built(),
        case="test+lesion b",
        was=f"test+{STEM}",
        arguments=("--patients", "who.csv"),
    ),
    eec(
        "E19",
        renamed(STEM.replace("ESTD", "estd")),
        Built("patient_spelling"),
        case=f"test+{STEM.replace('ESTD', 'estd')}",
        was=f"test+{STEM}",
    ),
    eec("E20", lambda _: None, Built(), case="test+7"),
    eec("E20 more", moved(f"{TEST}/mask", f"{TEST}/the masks (new)"), Built()),
    eec("E21 mask", moved(MASK, MASK.replace(".png", "_mask.png")), Built()),
    eec("E21 gt", moved(MASK, MASK.replace(".png", "-gt.png")), Built()),
    eec("E22 short", data(IMAGE, lambda content: content[:-30]), Quarantined("damaged_image", IMAGE)),
    eec("E22 checksum", data(IMAGE, other_checksum), Quarantined("damaged_image", IMAGE, "checksum")),
    eec("E22 short mask", data(MASK, lambda content: content[:-8]), Quarantined("damaged_image", MASK)),
    eec("E22 no bytes", data(MASK, lambda _: b""), Quarantined("empty_file", MASK)),
    eec("E23", sixteen, Built("depth_reduced")),
    eec("E24", saved(IMAGE, "P"), Built("", "other")),
    eec(
        "E25 equal",
        both(
            copied(IMAGE, "EEC/test/50.png"),
            copied(MASK, "EEC/test mask/50.png", lambda content: encoded(images.decode_png(content) * np.uint8(255))),
        ),
        Built("twin_dropped"),
    ),
    eec(
        "E25 other mask",
        both(copied(IMAGE, "EEC/test/50.png"), copied(MASK, "EEC/test mask/50.png", turned)),
        Quarantined("twins_differ", "test mask/50.png", "and differ"),
    ),
    eec(
        "E25 other frame",
        copied(IMAGE, f"{TEST}/image/{STEM}.bmp", turned),
        Quarantined("duplicate_stem", f"{STEM}.png", "two pictures"),
    ),
    eec("E26 image", jpeg(IMAGE), Built("", "other")),
    eec("E26 mask", jpeg(MASK), Quarantined("jpeg_mask", f"{STEM}.jpg", "without loss (PNG)")),
]
_OWN = "tests/test_generators_esophageal_cancer.py"
NOT_HERE = {
    "E9": f"No frame of so small a phantom is 480x480: {_OWN}::test_frames_of_another_size_are_noted_and_kept",
    "E27": f"It is a split's: {_OWN}::test_from_the_phantom_to_a_split_that_is_kept_and_never_drawn_by_image",
    "E28": f"Nothing is broken: {_OWN}::test_chance_spreads_them_by_name_alone_and_by_the_shares",
}
POOLED: tuple[str, ...] = ()


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    size = {"patients": 3, "size": SIZE, "slices": 5}
    return Bench("esophageal-cancer", tmp_path_factory.mktemp("eec"), recipe=("--keep-empty",), **size)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_fault(fault, bench, tmp_path, monkeypatch):
    bench.prove(fault, tmp_path, monkeypatch)
