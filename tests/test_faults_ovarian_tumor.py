"""Section 7.5 of the failure catalogue: an MMOTU broken in one place, most often in its picture 1, a chocolate cyst."""

import io
from functools import partial

import cv2
import numpy as np
import pytest
from faults import EVERY, Bench, Built, Fault, Quarantined, both, data, remove
from imagemask.generators.phantoms import jpeg
from PIL import Image, ImageCms

ROOT = "MMOTU/OTU_2d"
IMAGE, BINARY, COLOURS, SECOND = (
    f"{ROOT}/{place}"
    for place in ("images/1.JPG", *(f"annotations/1{end}.PNG" for end in ("_binary", "", "_binary_binary")))
)
TRAIN, VAL, TRAIN_CLASSES = (f"{ROOT}/{name}.txt" for name in ("train", "val", "train_cls"))
ovarian = partial(Fault, source="ovarian-tumor", case="OTU2D_0001")


def renamed(*names):
    """Other names for files: (from, to, from, to, ...), both below OTU_2d."""

    def inject(scene):
        for before, after in zip(names[::2], names[1::2], strict=True):
            (scene.raw / ROOT / before).rename(scene.raw / ROOT / after)

    return inject


def copied(name, to, change=lambda content: content):
    return lambda scene: (scene.raw / ROOT / to).write_bytes(change((scene.raw / ROOT / name).read_bytes()))


def pixels(name, change, kind="PNG", **settings):
    """Store a picture again: ``change`` makes another array, or a picture, of its pixels."""

    def inject(scene):
        path = scene.raw / name
        with Image.open(path) as picture:
            found = change(np.asarray(picture))
        picture = found if isinstance(found, Image.Image) else Image.fromarray(found)
        path.unlink()
        picture.save(path, format=kind, **settings)

    return inject


def text(name, change):
    return data(name, lambda content: change(content.decode()).encode())


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    segment = b"Exif\0\0" + tags.tobytes().removeprefix(b"Exif\0\0")
    return lambda content: content[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2) + segment + content[2:]


def turned_mask(array):
    return np.ascontiguousarray(np.rot90(array, -1))


def with_palette(stored):
    """Indices as they are, and a palette that says something else."""
    picture = Image.fromarray(stored, "P") if stored.ndim == 2 else Image.fromarray(stored).quantize(4)
    if stored.ndim == 2:
        picture.putpalette([9, 200, 30] * 256)
    return picture


def softened(colours):
    """The lowest row of the outline at half its colour."""
    changed = colours.copy()
    rows, columns = np.nonzero(colours.any(axis=2))
    changed[rows[-1], columns[rows == rows[-1]]] //= 2
    return changed


def region(colour, side):
    def painted(colours):
        changed = colours.copy()
        rows, columns = np.nonzero(colours.any(axis=2))
        row, column = int(np.median(rows)), int(np.median(columns))
        changed[row : row + side, column : column + side] = colour
        return changed

    return painted


def noisy(stored):
    """What a JPEG leaves of black and white, in a file that says PNG."""
    noise = np.arange(stored.size).reshape(stored.shape) % 3
    return np.where(stored > 0, 255 - noise, noise).astype(np.uint8)


def deep(colours_of=1):
    return lambda scene: cv2.imwrite(
        str(scene.raw / BINARY),
        cv2.imread(str(scene.raw / BINARY), cv2.IMREAD_UNCHANGED).astype(np.uint16) * colours_of,
    )


def transparent(stored):
    return np.dstack([stored] * 3 + [np.where(stored > 0, 128, 255).astype(np.uint8)])


def opaque(stored):
    return np.dstack([stored] * 3 + [np.full_like(stored, 255)])


def interlaced(scene):
    """Adam7, which no library at hand writes: seven passes over the picture, each filtered by nothing."""
    import struct
    import zlib

    with Image.open(scene.raw / BINARY) as picture:
        stored = np.asarray(picture)
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    rows = (b"\0" + row.tobytes() for y, x, dy, dx in passes for row in stored[y::dy, x::dx] if row.size)
    height, width = stored.shape
    parts = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 1),
        b"IDAT": zlib.compress(b"".join(rows)),
        b"IEND": b"",
    }
    chunks = (len(body).to_bytes(4) + name + body + zlib.crc32(name + body).to_bytes(4) for name, body in parts.items())
    (scene.raw / BINARY).write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


def lists_gone(scene):
    for path in (scene.raw / ROOT).glob("[!.]*.txt"):
        path.unlink()


def without_image_and_masks(scene):
    remove(IMAGE, BINARY, COLOURS, SECOND)(scene)


def black_and_white_beside(scene):
    """The layout of figshare: all of train and test in folders of their own, with black and white beside colours."""
    (scene.raw / ROOT).rename(scene.raw / "rest")
    old, new = scene.raw / "rest", scene.raw / "dataset" / "OTU_2D" / "train"
    for name in ("train_image", "train_label/label", "train_label/black_write"):
        (new / name).mkdir(parents=True)
    for number in range(1, 7):
        (old / f"images/{number}.JPG").rename(new / f"train_image/{number}.JPG")
        (old / f"annotations/{number}.PNG").rename(new / f"train_label/label/{number}.PNG")
        (old / f"annotations/{number}_binary_binary.PNG").rename(new / f"train_label/black_write/{number}.PNG")
    for path in old.glob("[!.]*.txt"):
        path.rename(new.parent / path.name)


def lies_beside(row):
    """Where each picture lies in that layout."""
    return {"source": f"dataset/OTU_2D/train/train_image/{row['source'].rpartition('/')[2]}"}


def profile(name, kind, **more):
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return pixels(name, lambda stored: stored, kind, icc_profile=icc, **more)


def gamma(content):
    """A PNG that asks for a gamma of 1."""
    import zlib

    chunk = b"gAMA" + (100000).to_bytes(4)
    return content[:33] + (4).to_bytes(4) + chunk + zlib.crc32(chunk).to_bytes(4) + content[33:]


def several_views(scene):
    """A JPEG of two views: the first is the picture."""
    content = (scene.raw / IMAGE).read_bytes()
    with Image.open(io.BytesIO(content)) as picture:
        picture.load()
        picture.save(scene.raw / IMAGE, format="MPO", save_all=True, append_images=[picture.rotate(180)])


def crlf(content):
    return "\ufeff" + "".join(f" images/{line}.JPG\t\r\n\r\n" for line in content.split())


FAULTS = [
    ovarian(
        "M1",
        renamed("images/1.JPG", "images/1.jpg", "annotations/1_binary.PNG", "annotations/1_Binary.png"),
        Built(),
    ),
    ovarian("M2 the same", copied("images/1.JPG", "images/1.jpeg"), Built("twin_dropped")),
    ovarian(
        "M2 differ",
        copied("images/2.JPG", "images/1.jpg"),
        Quarantined("duplicate_stem", ".JPG", "1.JPG and 1.jpg are one picture"),
    ),
    ovarian(
        "M2 masks",
        copied("annotations/2_binary.PNG", "annotations/1_BINARY.bmp"),
        Quarantined("duplicate_stem", "1_BINARY.bmp", "and differ"),
    ),
    ovarian(
        "M3",
        pixels(BINARY, lambda stored: stored[1:]),
        Quarantined("size_mismatch", BINARY, "1.JPG is 40x53, its mask 1_binary.PNG 39x53"),
    ),
    ovarian(
        "M3 turned",
        pixels(BINARY, turned_mask),
        Quarantined("size_mismatch", BINARY, "one of them lies on its side"),
    ),
    ovarian("M3 another", pixels(COLOURS, lambda stored: stored[1:]), Built("masks_differ")),
    ovarian("M4 as stored", data(IMAGE, exif(6)), Built("exif_orientation")),
    ovarian(
        "M4 turned",
        both(data(IMAGE, exif(6)), *(pixels(name, turned_mask) for name in (BINARY, COLOURS, SECOND))),
        Built("exif_orientation", "other"),
    ),
    ovarian("M4 square", data(f"{ROOT}/images/4.JPG", exif(3)), Built("exif_orientation"), case="OTU2D_0004"),
    ovarian(
        "M5",
        pixels(IMAGE, lambda stored: Image.fromarray(stored).convert("CMYK"), "JPEG", quality=95),
        Built("", "other"),
    ),
    ovarian("M6", data(IMAGE, lambda _: jpeg.encode(np.full((40, 53), 90, np.uint8))), Built("", "other")),
    ovarian("M7", data(IMAGE, lambda content: content[:-900]), Quarantined("damaged_image", IMAGE, "truncated")),
    ovarian("M8", pixels(IMAGE, lambda stored: stored), Built("name_misleads")),
    ovarian("M9 indices", pixels(BINARY, with_palette), Built()),
    ovarian("M9 colours", pixels(COLOURS, with_palette), Built()),
    ovarian("M9 colours count", both(pixels(COLOURS, with_palette), remove(BINARY, SECOND)), Built("palette_mask")),
    ovarian("M10 65535", deep(65535), Built()),
    ovarian("M10 1", deep(), Built()),
    ovarian(
        "M10 three",
        both(pixels(BINARY, lambda stored: region(7, 3)(stored[..., None])[..., 0]), deep(200)),
        Quarantined("label_values", BINARY, "3 values, pixels by value 0: "),
    ),
    ovarian("M11 opaque", pixels(BINARY, opaque), Built()),
    ovarian("M11 transparent", pixels(BINARY, transparent), Quarantined("transparent_image", BINARY)),
    ovarian(
        "M12 LA",
        pixels(BINARY, lambda stored: np.dstack([stored, np.full_like(stored, 255)])),
        Built(),
    ),
    ovarian("M12 one bit", pixels(BINARY, lambda stored: stored > 0), Built()),
    ovarian("M12 interlaced", interlaced, Built()),
    ovarian("M13", both(pixels(COLOURS, softened), remove(BINARY, SECOND)), Built("colours_mended")),
    ovarian("M13 not needed", pixels(COLOURS, softened), Built()),
    ovarian(
        "M13 many",
        both(pixels(COLOURS, lambda stored: stored // 2), remove(BINARY, SECOND)),
        Quarantined("unknown_colour", COLOURS, "(32, 0, 0): "),
    ),
    ovarian(
        "M14",
        both(pixels(COLOURS, region((200, 10, 10), 3)), remove(BINARY, SECOND)),
        Quarantined("unknown_colour", COLOURS, "(200, 10, 10): 9 pixels"),
    ),
    ovarian("M14 not needed", pixels(COLOURS, region((200, 10, 10), 3)), Built("annotation_unreadable")),
    ovarian("M15", both(pixels(COLOURS, region((0, 0, 64), 3)), remove(BINARY, SECOND)), Built("several_classes")),
    ovarian(
        "M16", pixels(COLOURS, lambda stored: np.ascontiguousarray(stored[..., [1, 0, 2]])), Built("class_conflict")
    ),
    ovarian(
        "M16 two lists",
        text(f"{ROOT}/val_cls.txt", lambda lines: lines + "1.JPG  4\r\n"),
        Built("class_conflict in_both_lists"),
    ),
    # Blue for red, as a decoder gives them that starts with blue: the class would be another, and it is noted.
    ovarian("M17", pixels(COLOURS, lambda stored: np.ascontiguousarray(stored[..., ::-1])), Built("class_conflict")),
    ovarian("M18", pixels(COLOURS, lambda stored: np.roll(stored, 2, axis=0)), Built("masks_differ")),
    ovarian("M19", remove(BINARY, COLOURS), Built("second_binary")),
    ovarian(
        "M20 a JPEG",
        data(BINARY, lambda _: jpeg.encode(np.zeros((40, 53), np.uint8))),
        Quarantined("jpeg_mask", BINARY, "--mask-threshold 128"),
    ),
    ovarian("M20 noise", pixels(BINARY, noisy), Quarantined("label_values", BINARY, "6 values")),
    ovarian("M20 cut", pixels(BINARY, noisy), Built("mask_thresholded"), arguments=("--mask-threshold", "128")),
    ovarian(
        "M21",
        text(TRAIN, lambda lines: lines + "77\n"),
        Quarantined("listed_missing", "images/77", "the lists name 77"),
        case="OTU2D_0077",
    ),
    ovarian(
        "M21 gone", without_image_and_masks, Quarantined("listed_missing", "images/1", "the lists name 1, which is not")
    ),
    ovarian("M21 no mask", remove(BINARY, COLOURS, SECOND), Quarantined("missing_mask", IMAGE)),
    ovarian("M21 no image", remove(IMAGE), Quarantined("missing_image", COLOURS)),
    ovarian(
        "M22",
        both(
            text(TRAIN, lambda lines: lines.removeprefix("1\n")),
            text(TRAIN_CLASSES, lambda lines: lines.removeprefix("1.JPG  0\n")),
        ),
        Built("class_unknown not_listed"),
        finds="IM009",
    ),
    ovarian("M23", text(VAL, lambda lines: lines + "1\r\n"), Built("in_both_lists")),
    ovarian("M24", text(TRAIN, crlf), Built()),
    ovarian("M24 twice", text(TRAIN, lambda lines: lines + "1\n"), Built("listed_twice")),
    ovarian(
        "M25 one field", text(TRAIN_CLASSES, lambda lines: lines.replace("1.JPG  0", "1.JPG")), Built("class_unknown")
    ),
    ovarian(
        "M25 no class", text(TRAIN_CLASSES, lambda lines: lines.replace("1.JPG  0", "1.JPG  8")), Built("class_unknown")
    ),
    ovarian(
        "M25 a word", text(TRAIN_CLASSES, lambda lines: lines.replace("1.JPG  0", "1.JPG  x")), Built("class_unknown")
    ),
    ovarian(
        "M26",
        lists_gone,
        Built("lists_missing"),
        spreads={EVERY: "lists_missing"},
        rewrites=lambda _: {"split": "", "category": ""},
    ),
    ovarian("M27", pixels(BINARY, lambda stored: stored * 0), Built("empty_label masks_differ", "none")),
    ovarian(
        "M28",
        copied("images/6.JPG", "images/1.JPG"),
        Built("leak_risk", "other"),
        spreads={"OTU2D_0006": "leak_risk"},
    ),
    ovarian("M30", black_and_white_beside, Built(), rewrites=lies_beside),
    ovarian("M31 profile of a mask", profile(BINARY, "PNG"), Built()),
    ovarian("M31 profile of colours", both(profile(COLOURS, "PNG"), remove(BINARY, SECOND)), Built()),
    ovarian("M31 gamma", data(BINARY, gamma), Built()),
    ovarian("M31 profile of the picture", profile(IMAGE, "JPEG", quality=95), Built("", "other")),
    ovarian("M32", several_views, Built("several_frames", "other")),
]
NOT_HERE = {
    "M29": "tests/test_generators_ovarian_tumor.py::test_check_counts_against_what_was_published: a phantom counts for "
    "itself, so that the published number is held against a source that is none",
}
POOLED: tuple[str, ...] = ()


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return Bench("ovarian-tumor", tmp_path_factory.mktemp("ovarian-tumor"), patients=6, size=40, slices=10)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_fault(fault, bench, tmp_path, monkeypatch):
    bench.prove(fault, tmp_path, monkeypatch)
