"""Section 7.2 of the failure catalogue: a Task06_Lung broken in one place, case lung_053 unless said otherwise."""

import gzip
import json
import struct
from functools import partial

import numpy as np
import pytest
from faults import EVERY, Bench, Built, Fault, Quarantined, Refused, both, data, remove, volume

ROOT = "Task06_Lung"
NAME = "lung_053.nii.gz"
IMAGE, LABEL, LIST = f"{ROOT}/imagesTr/{NAME}", f"{ROOT}/labelsTr/{NAME}", f"{ROOT}/dataset.json"
lung = partial(Fault, source="lung-tumor", case="lung_053")


def copy(name, to, change=lambda content: content):
    def inject(scene):
        (scene.raw / to).parent.mkdir(exist_ok=True)
        (scene.raw / to).write_bytes(change((scene.raw / name).read_bytes()))

    return inject


def plain(name):
    return name.removesuffix(".gz")


def listed(change):
    """Change the content of dataset.json."""

    def inject(scene):
        path = scene.raw / LIST
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return inject


def unlisted(content):
    content["training"] = [entry for entry in content["training"] if NAME not in entry["image"]]


def again(content):
    content["training"].append({"image": f"./imagesTr/{NAME}", "label": f"./labelsTr/{NAME}"})


def entry(path):
    return listed(lambda content: content["training"].append({"image": path, "label": path}))


def byte(position):
    """Change one byte of a file, counted from its end."""

    def change(content):
        changed = bytearray(content)
        changed[position] ^= 0x5A
        return bytes(changed)

    return change


def repacked(change):
    """Change what a gzip file holds."""
    return lambda content: gzip.compress(change(gzip.decompress(content)), mtime=0)


def holding(value):
    """Some voxels of a volume, as float32, replaced."""

    def change(stored):
        changed = stored.astype(np.float32)
        changed[3:5, 4, 2:4] = value
        return changed

    return change


def at(place, value):
    """One number of an affine replaced."""

    def change(affine):
        changed = affine.copy()
        changed[place] = value
        return changed

    return change


def moved(*millimetres):
    def change(affine):
        changed = affine.copy()
        changed[:3, 3] += millimetres
        return changed

    return change


def scaled(*factors):
    return lambda affine: affine @ np.diag([*factors, 1.0])


def turned(degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    return lambda affine: turn @ affine


def as_stored(order, flips):
    """A volume with its axes permuted and flipped, and the affine that says so."""

    def array(stored):
        return np.flip(stored, flips).transpose(order)

    def affine(placed, shape=(32, 32, 8)):
        changed = placed.copy()
        for axis in flips:
            changed[:3, 3] += placed[:3, axis] * (shape[axis] - 1)
            changed[:3, axis] *= -1
        changed[:3, :3] = changed[:3, list(order)]
        return changed

    return {"array": array, "affine": affine}


NO_AXES = {"qform_code": 0, "sform_code": 0}
LAS = ("--assume-orientation", "LAS")
FILL = ("--nan-fill", "-400")
SLICE = {"array": lambda stored: stored[:, :, 3:4], "affine": moved(0, 0, 3 * 1.245)}
HALF_TURN = np.diag([-0.785, 0.785, 1.245, 1.0]) + moved(1.0, 2.0, 3.0)(np.zeros((4, 4)))

FAULTS = [
    lung(
        "L1 image", data(IMAGE, lambda content: content[:-2000]), Quarantined("truncated_gzip", IMAGE, foreseen=False)
    ),
    lung("L1 label", data(LABEL, lambda content: content[:-9]), Quarantined("truncated_gzip", LABEL)),
    lung("L2 checksum", data(IMAGE, byte(-8)), Quarantined("bad_crc", IMAGE, foreseen=False)),
    lung("L2 length", data(LABEL, byte(-4)), Quarantined("bad_crc", LABEL)),
    lung(
        "L2 in the middle",
        data(IMAGE, lambda content: content[:10] + b"\x07" + content[11:]),
        Quarantined("damaged_gzip", IMAGE),
    ),
    lung("L3 nifti", data(IMAGE, gzip.decompress), Built("name_misleads")),
    lung("L3 text", data(IMAGE, lambda _: b"<html>Sign in to go on</html>"), Quarantined("not_gzip", IMAGE)),
    lung("L3 other", data(IMAGE, repacked(lambda _: bytes(9000))), Quarantined("not_nifti", IMAGE)),
    lung(
        "L4 plain",
        both(copy(IMAGE, plain(IMAGE), lambda content: gzip.decompress(content)[:-500]), remove(IMAGE)),
        Quarantined("short_data", plain(IMAGE), "expected 16736 bytes, the file has 16236"),
    ),
    lung("L4 packed", data(LABEL, repacked(lambda content: content[:-500])), Quarantined("short_data", LABEL, "500")),
    lung("L5 plain", both(copy(LABEL, plain(LABEL), gzip.decompress), remove(LABEL)), Built()),
    lung("L5 both", copy(IMAGE, plain(IMAGE), gzip.decompress), Built("twin_dropped")),
    lung("L5 in a folder", copy(IMAGE, f"{ROOT}/imagesTr/sub/{NAME}"), Built("twin_dropped")),
    lung("L5 spelt otherwise", copy(LABEL, f"{ROOT}/labelsTr/lung_53.nii.gz"), Built("twin_dropped")),
    lung(
        "L5 differ",
        copy(LABEL, plain(LABEL), lambda content: byte(-4000)(gzip.decompress(content))),
        Quarantined("twins_differ", NAME, plain(NAME)),
    ),
    lung("L6", copy(LIST, f"{ROOT}/imagesTr/._lung_777.nii.gz"), Built(), sees={"junk": 1}),
    lung(
        "L7",
        volume(LABEL, array=lambda stored: stored[:, :, 1:]),
        Quarantined("shape_mismatch", LABEL, "image is 32x32x8, label is 32x32x7"),
    ),
    lung(
        "L8",
        volume(LABEL, array=lambda stored: stored.transpose(2, 0, 1)),
        Quarantined("shape_mismatch", LABEL, "image is 32x32x8, label is 8x32x32"),
    ),
    lung("L9 matrix", volume(LABEL, affine=scaled(1.0005, 1, 1)), Built("grid_rounded")),
    lung("L9 origin", volume(LABEL, affine=moved(0.05, 0, 0)), Built("grid_rounded")),
    # The origin alone is no note here: a label drawn on a shifted copy would be laid on the wrong tissue.
    lung("L10", volume(LABEL, affine=moved(0, 12.5, 0)), Quarantined("grid_mismatch", LABEL, "12.5 mm apart")),
    lung("L11 flipped", volume(LABEL, **as_stored((0, 1, 2), (0, 2))), Built("label_reoriented")),
    lung("L11 permuted", volume(LABEL, **as_stored((2, 0, 1), (1,))), Built("label_reoriented")),
    lung("L12 spacing", volume(LABEL, affine=scaled(1, 1, 1.5)), Quarantined("grid_mismatch", LABEL, "1.868 mm in")),
    lung("L12 turned", volume(LABEL, affine=turned(4)), Quarantined("grid_mismatch", LABEL, "differ by 4.00 degrees")),
    lung("L12 both oblique", volume(IMAGE, LABEL, affine=turned(20)), Quarantined("oblique", IMAGE, "20.0 degrees")),
    lung("L13 no codes", volume(IMAGE, LABEL, **NO_AXES), Quarantined("bad_affine", IMAGE, "neither")),
    lung("L13 label", volume(LABEL, **NO_AXES), Quarantined("bad_affine", LABEL, "orientation option")),
    lung("L13 identity", volume(IMAGE, affine=lambda _: np.eye(4)), Quarantined("bad_affine", IMAGE, "identity")),
    lung("L13 singular", volume(LABEL, affine=scaled(1, 1, 0)), Quarantined("bad_affine", LABEL, "singular")),
    lung("L13 NaN", volume(LABEL, affine=at((1, 1), np.nan)), Quarantined("bad_affine", LABEL, "NaN")),
    lung("L13 assumed", volume(IMAGE, LABEL, **NO_AXES), Built("orientation_assumed"), arguments=LAS),
    lung("L13 label's", volume(LABEL, **NO_AXES), Built("orientation_assumed origin_differs"), arguments=LAS),
    lung("L13 image's", volume(IMAGE, **NO_AXES), Built("orientation_assumed origin_differs"), arguments=LAS),
    lung("L14", volume(IMAGE, qform=HALF_TURN), Built("qform_differs")),
    lung(
        "L15 NaN",
        volume(IMAGE, array=holding(np.nan)),
        Quarantined("nan_voxels", IMAGE, "slice 2: 2 of 1024", foreseen=False),
    ),
    lung(
        "L15 infinity",
        volume(IMAGE, array=holding(-np.inf)),
        Quarantined("nan_voxels", IMAGE, "infinite", foreseen=False),
    ),
    lung("L15 filled", volume(IMAGE, array=holding(np.nan)), Built("nan_filled", "other"), arguments=FILL),
    lung("L15 infinity filled", volume(IMAGE, array=holding(np.inf)), Built("nan_filled", "other"), arguments=FILL),
    lung("L16", volume(LABEL, array=holding(np.nan)), Quarantined("nan_label", LABEL)),
    # 255 is not taken for 1 unless somebody says so: test_labels_of_another_value_are_built_where_that_is_said.
    lung("L17 255", volume(LABEL, array=lambda stored: stored * 255), Quarantined("label_values", LABEL, "255 (28)")),
    lung("L17 2", volume(LABEL, array=lambda stored: stored * 2), Quarantined("label_values", LABEL, "2 (28)")),
    lung("L17 negative", volume(LABEL, array=holding(-1)), Quarantined("label_values", LABEL, "-1 (4), 0 (")),
    lung("L17 fraction", volume(LABEL, array=holding(0.5)), Quarantined("label_values", LABEL, "0.5 (4)")),
    lung("L18 one", volume(IMAGE, array=lambda stored: stored[..., None]), Built("squeezed")),
    lung(
        "L18 two",
        volume(IMAGE, array=lambda stored: np.stack([stored, stored], 3)),
        Quarantined("not_3d", IMAGE, "32x32x8x2"),
    ),
    lung("L19 one slice", volume(IMAGE, LABEL, **SLICE), Built("single_slice", "other")),
    lung("L19 flat", volume(IMAGE, array=lambda stored: stored[:, :, 3]), Quarantined("not_3d", IMAGE, "32x32,")),
    lung("L20", remove(LABEL), Quarantined("missing_label", LABEL)),
    lung("L21", remove(IMAGE), Quarantined("missing_image", IMAGE)),
    lung("L22", remove(LIST), Built("dataset_json_missing"), spreads={EVERY: "dataset_json_missing"}),
    lung("L23 marked", data(LIST, lambda content: b"\xef\xbb\xbf" + content), Built()),
    lung(
        "L23 cut",
        data(LIST, lambda content: content[:-9]),
        Built("dataset_json_unreadable"),
        spreads={EVERY: "dataset_json_unreadable"},
    ),
    lung(
        "L23 types",
        data(LIST, lambda _: b'{"training": 63, "test": {}}'),
        Built("dataset_json_unreadable"),
        spreads={EVERY: "dataset_json_unreadable"},
    ),
    lung("L24 listed", remove(IMAGE, LABEL), Quarantined("listed_missing", NAME, "dataset.json lists lung_053")),
    lung("L24 not listed", listed(unlisted), Built("not_listed")),
    # numTraining is words: what is listed and what is there are compared one by one, and `check` counts them.
    lung("L25", listed(lambda content: content.update(numTraining=64)), Built()),
    lung("L26 up", entry("../../etc/passwd"), Refused(4, "lies outside its folder")),
    lung("L26 root", entry("/etc/lung_001.nii.gz"), Refused(4, "'/etc/lung_001.nii.gz'")),
    lung("L27 twice", listed(again), Built("listed_twice")),
    lung(
        "L27 leak", listed(lambda content: content["test"].append(f"./imagesTs/{NAME}")), Refused(4, "lists lung_053")
    ),
    lung("L28 zero", volume(IMAGE, array=np.zeros_like), Built("suspicious_intensity", "other")),
    lung("L28 constant", volume(IMAGE, array=lambda s: np.full_like(s, -1024)), Built("suspicious_intensity", "other")),
    lung("L28 bytes", volume(IMAGE, array=lambda s: s.astype(np.uint8)), Built("suspicious_intensity", "other")),
    lung("L29 zero", volume(IMAGE, slope=0.0, inter=5.0), Built()),
    lung("L29 NaN", volume(IMAGE, slope=np.nan, inter=np.nan), Built()),
    lung("L30 big-endian", volume(IMAGE, LABEL, big_endian=True), Built()),
    lung("L30 float64", volume(IMAGE, LABEL, array=lambda stored: stored.astype(np.float64)), Built()),
    lung("L30 colours", volume(IMAGE, fields={"datatype": 128, "bitpix": 24}), Quarantined("voxel_type", IMAGE, "128")),
    lung("L30 complex", volume(IMAGE, array=lambda s: s.astype(np.complex64)), Quarantined("voxel_type", IMAGE, "32")),
    lung("L31", volume(LABEL, array=np.zeros_like), Built("empty_label", "none")),
    lung(
        "L32 image",
        data(IMAGE, repacked(lambda content: content[:40] + struct.pack("<4h", 3, *[32767] * 3) + content[48:])),
        Quarantined("header_bomb", IMAGE, "bytes of data, in a file of"),
    ),
    lung(
        "L32 label",
        data(LABEL, repacked(lambda content: content[:40] + struct.pack("<4h", 3, *[4096] * 3) + content[48:])),
        Quarantined("header_bomb", LABEL),
    ),
]
NOT_HERE: dict[str, str] = {}
POOLED = ("L1 image", "L24 listed")


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return Bench("lung-tumor", tmp_path_factory.mktemp("lung"), patients=6, size=32, slices=8)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_fault(fault, bench, tmp_path, monkeypatch):
    bench.prove(fault, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault.id in POOLED], ids=lambda fault: fault.id)
def test_fault_in_a_worker(fault, bench, tmp_path, monkeypatch):
    bench.prove(fault, tmp_path, monkeypatch, workers=2)
