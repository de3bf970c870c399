"""Section 7.3 of the failure catalogue: a Pancreas-CT broken in one place, that of PANCREAS_0001."""

import gzip
import shutil
from functools import partial

import numpy as np
import pytest
from faults import Bench, Built, Fault, Quarantined, both, change, data, edit, remove, volume
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRBigEndian, ImplicitVRLittleEndian

FOLDER = "manifest-1599750808610/Pancreas-CT/PANCREAS_0001/11-24-2015-PANCREAS0001-Pancreas-18001/Pancreas-99001"
STUDY = FOLDER.rpartition("/")[0]
LABELS = "TCIA_pancreas_labels-02-05-2017"
LABEL = f"{LABELS}/label0001.nii.gz"
ALL, THIRD, FOURTH = f"{FOLDER}/*.dcm", f"{FOLDER}/1-3.dcm", f"{FOLDER}/1-4.dcm"
SLICES, SIZE = 8, 32
pancreas = partial(Fault, source="pancreas", case="PANCREAS_0001")


def shift(millimetres, axis=2):
    """Move a slice along a patient axis."""

    def moved(dataset):
        position = [float(value) for value in dataset.ImagePositionPatient]
        position[axis] += millimetres
        return position

    return moved


def shear(dataset):
    """Where a slice lies in a scan with the gantry tilted by 10 degrees."""
    x, y, z = (float(value) for value in dataset.ImagePositionPatient)
    return [x, round(y + z * np.tan(np.radians(10)), 6), z]


def oblique(dataset):
    """Where a slice lies along the normal of slices that are turned by 20 degrees."""
    c, s = np.cos(np.radians(20)), np.sin(np.radians(20))
    x, y, z = (float(value) for value in dataset.ImagePositionPatient)
    return [x, round(c * y - s * z, 6), round(s * y + c * z, 6)]


TURNED = [1, 0, 0, 0, *(round(float(f(np.radians(20))) * -1, 9) for f in (np.cos, np.sin))]


def pixels(alter, kind=np.int16):
    """Change the stored pixels."""

    def changed(dataset):
        stored = np.frombuffer(dataset.PixelData, np.int16).reshape(SIZE, SIZE)
        return alter(stored).astype(kind).tobytes()

    return changed


def another(name, to, **elements):
    """A changed copy of one slice."""
    return lambda scene: change(scene.raw / name, to=scene.raw / to, **elements)


def second(folder, *, slices, uid="1.2.3.4", **elements):
    """Another series of the same patient, of the first ``slices`` slices."""

    def inject(scene):
        (scene.raw / folder).mkdir(exist_ok=True)
        for number in range(1, slices + 1):
            own = {"SeriesInstanceUID": uid, "SOPInstanceUID": f"{uid}.{number}"} if uid else {}
            change(scene.raw / FOLDER / f"1-{number}.dcm", to=scene.raw / folder / f"2-{number}.dcm", **own, **elements)

    return inject


def without_pixels(modality, sop_class):
    """A file beside the slices that is DICOM and no picture."""
    given = {"Modality": modality, "SOPClassUID": sop_class, "SOPInstanceUID": "1.2.3.5", "PixelData": None}
    return another(THIRD, f"{FOLDER}/{modality}.dcm", **given)


def dicomdir(scene):
    path = scene.raw / FOLDER / "DICOMDIR"
    change(scene.raw / THIRD, to=path)
    dataset = dcmread(path)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.1.3.10"
    dataset.save_as(path)


def texts(scene):
    for name in ("manifest.tcia", "notes.txt", "label.txt", "VERSION"):
        (scene.raw / FOLDER / name).write_text("not a picture")


def without_meta(scene):
    """Slices as old tools wrote them: no preamble, no meta information, implicit VR."""
    for path in (scene.raw / FOLDER).glob("*.dcm"):
        bare = Dataset(dcmread(path))
        bare.save_as(path, implicit_vr=True, little_endian=True)


def encoded(syntax, little=True):
    """All slices in another transfer syntax."""

    def inject(scene):
        for path in (scene.raw / FOLDER).glob("*.dcm"):
            dataset = dcmread(path)
            if not little:
                dataset.PixelData = np.frombuffer(dataset.PixelData, "<i2").astype(">i2").tobytes()
                dataset["PixelData"].VR = "OW"
            dataset.file_meta.TransferSyntaxUID = syntax
            bare = Dataset(dataset)
            bare.file_meta = dataset.file_meta
            bare.save_as(path, implicit_vr=syntax.is_implicit_VR, little_endian=little, enforce_file_format=True)

    return inject


def packed_as(syntax):
    """A slice whose pixels are said to be compressed in a way that nothing at hand can undo."""

    def inject(scene):
        from pydicom.encaps import encapsulate

        dataset = dcmread(scene.raw / THIRD)
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.PixelData = encapsulate([b"\xff\x4f" + bytes(500)])
        dataset["PixelData"].is_undefined_length = True
        dataset.save_as(scene.raw / THIRD)

    return inject


def renamed(name):
    """All slices under other names."""

    def inject(scene):
        for path in (scene.raw / FOLDER).glob("*.dcm"):
            path.rename(path.with_name(name(int(path.stem.partition("-")[2]))))

    return inject


def numbered(number):
    return edit(ALL, InstanceNumber=lambda dataset: number(int(dataset.InstanceNumber)))


def standing(scene):
    """The series in the standard orientation: row 0 is anterior."""
    for path in (scene.raw / FOLDER).glob("*.dcm"):
        dataset = dcmread(path)
        x, y, z = (float(value) for value in dataset.ImagePositionPatient)
        rows = np.frombuffer(dataset.PixelData, np.int16).reshape(SIZE, SIZE)[::-1]
        front = y - (SIZE - 1) * float(dataset.PixelSpacing[0])
        change(
            path,
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            ImagePositionPatient=[x, front, z],
            PixelData=rows.tobytes(),
        )


def other_rescale(scene):
    """Every other slice with another slope and intercept, and the stored values that go with them."""
    for path in sorted((scene.raw / FOLDER).glob("*.dcm"))[::2]:
        dataset = dcmread(path)
        stored = np.frombuffer(dataset.PixelData, np.int16) * 2 + 400
        change(path, RescaleSlope="0.5", RescaleIntercept="-200", PixelData=stored.astype(np.int16).tobytes())


def named_in_bytes(scene):
    """A patient's name in no known character set."""
    for path in (scene.raw / FOLDER).glob("*.dcm"):
        content = path.read_bytes()
        content = content.replace(b"PN\x0e\x00PANCREAS_0001", b"PN\x0e\x00\xff\xfeNCREAS_\x81\x82\x83\x84", 1)
        mark = b"\x08\x00\x16\x00UI"
        assert content.count(mark) == 1
        path.write_bytes(content.replace(mark, b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 999" + mark))


def padded(stored):
    """Beyond the field of view, lower than air."""
    changed = stored.copy()
    changed[:2, :9], changed[-2:, -9:] = -2048, -3024
    return changed


def mirrored(axis):
    return volume(LABEL, array=lambda stored: np.flip(stored, axis))


def transposed(stored):
    return stored.swapaxes(0, 1)


def quarter_turn(stored):
    return np.rot90(stored, -1)


def leaning(affine):
    """The label's affine where the gantry was tilted: y goes with z (RAS, so y runs the other way)."""
    changed = affine.copy()
    changed[1, 2] = -affine[2, 2] * np.tan(np.radians(10))
    return changed


def old_copy(scene):
    """A series of a case that was withdrawn since."""
    folder = "manifest-1599750808610/Pancreas-CT/PANCREAS_0025"
    second(folder, slices=6, uid="1.2.3.25", PatientID="PANCREAS_0025")(scene)


BOX = {"Rows": SIZE - 2, "PixelData": lambda dataset: dataset.PixelData[: SIZE * (SIZE - 2) * 2]}
NO_AXES = {"qform_code": 0, "sform_code": 0}
COLOURS = {
    "SamplesPerPixel": 3,
    "PhotometricInterpretation": "RGB",
    "PlanarConfiguration": 0,
    "PixelData": lambda dataset: dataset.PixelData * 3,
}

FAULTS = [
    pancreas("P1 texts", texts, Built()),
    pancreas("P1 DICOMDIR", dicomdir, Built()),
    pancreas("P2 no mark", data(THIRD, lambda content: content[132:]), Built("no_preamble")),
    pancreas("P2 no meta", without_meta, Built("no_preamble")),
    pancreas(
        "P2 no class",
        both(edit(THIRD, SOPClassUID=None), data(THIRD, lambda content: content[132:])),
        Quarantined("not_dicom", THIRD, "neither the DICM mark nor a SOPClassUID"),
    ),
    pancreas("P3 middle", remove(THIRD), Quarantined("missing_slice", FOURTH, "missing slices (1) between position (")),
    pancreas("P3 end", remove(f"{FOLDER}/1-8.dcm"), Quarantined("label_depth", LABEL, "7 slices, its label 8")),
    pancreas("P4", edit(THIRD, InstanceNumber=2), Built("instance_number_repeated")),
    pancreas("P5", another(THIRD, f"{FOLDER}/1-3 (copy).dcm"), Built("duplicate_dropped")),
    pancreas(
        "P6",
        another(THIRD, f"{FOLDER}/1-9.dcm", SOPInstanceUID="1.2.3.9", PixelData=pixels(lambda stored: stored + 1)),
        Quarantined("duplicate_position", "1-9.dcm", "1-3.dcm"),
    ),
    pancreas(
        "P7 position",
        another(THIRD, f"{FOLDER}/1-9.dcm", PixelData=pixels(lambda stored: stored + 1)),
        Quarantined("duplicate_uid", "1-9.dcm", "1-3.dcm"),
    ),
    pancreas(
        "P7 elsewhere",
        edit(FOURTH, SOPInstanceUID=lambda dataset: dataset.SOPInstanceUID[:-1] + "3"),
        Quarantined("duplicate_uid", "1-4.dcm", "1-3.dcm"),
    ),
    pancreas("P8 scout", second(FOLDER, slices=2), Built("other_series mixed_folder")),
    pancreas("P8 equal", second(FOLDER, slices=8), Quarantined("ambiguous_series", ".dcm", "2 series of 8 and 8")),
    pancreas("P9 scout", second(f"{STUDY}/Scout-1", slices=2), Built("other_series")),
    pancreas(
        "P9 again",
        second(f"{STUDY}/Again-1", slices=8),
        Quarantined("ambiguous_series", ".dcm", "slices, its label 8"),
    ),
    pancreas("P9 the same", second(f"{STUDY}/Again-1", slices=8, uid=""), Built("duplicate_dropped")),
    pancreas(
        "P10",
        packed_as("1.2.840.10008.1.2.4.202"),
        Quarantined("undecodable_syntax", THIRD, "1.2.4.202Try: pip install pylibjpeg pylibjpeg-openjpeg; or"),
    ),
    pancreas(
        "P10 by nothing",
        packed_as("1.2.840.10008.1.2.4.92"),
        Quarantined("undecodable_syntax", THIRD, "1.2.4.92Try: convert the files to an uncompressed syntax"),
    ),
    pancreas(
        "P11 file", data(THIRD, lambda content: content[:-100]), Quarantined("truncated_pixels", THIRD, "found 1948")
    ),
    pancreas(
        "P11 element",
        edit(THIRD, PixelData=lambda dataset: dataset.PixelData[:-100]),
        Quarantined("truncated_pixels", THIRD, "expected 2048 bytes of pixels, found 1948"),
    ),
    pancreas("P11 header", data(THIRD, lambda content: content[:500]), Quarantined("truncated_pixels", THIRD)),
    pancreas("P12 report", without_pixels("SR", "1.2.840.10008.5.1.4.1.1.88.11"), Built()),
    pancreas("P12 structures", without_pixels("RTSTRUCT", "1.2.840.10008.5.1.4.1.1.481.3"), Built()),
    pancreas("P12 a slice", edit(THIRD, PixelData=None), Quarantined("truncated_pixels", THIRD, "no pixels")),
    pancreas("P13 numbered", edit(ALL, ImagePositionPatient=None), Built("order_from_instance_number origin_differs")),
    pancreas(
        "P13 neither",
        both(edit(ALL, ImagePositionPatient=None), edit(THIRD, InstanceNumber=None)),
        Quarantined("missing_position", ".dcm", "cannot be ordered"),
    ),
    pancreas("P13 one", edit(THIRD, ImagePositionPatient=None), Quarantined("missing_position", THIRD)),
    pancreas("P14", edit(ALL, InstanceNumber=None), Built()),
    pancreas("P15 a little", edit(THIRD, ImagePositionPatient=shift(0.1)), Built("uneven_spacing")),
    pancreas("P15 a lot", edit(f"{FOLDER}/1-[678].dcm", ImagePositionPatient=shift(-0.5)), Built("uneven_spacing")),
    pancreas(
        "P15 and fewer",
        both(edit(THIRD, ImagePositionPatient=shift(0.3)), remove(f"{FOLDER}/1-8.dcm")),
        Quarantined("label_depth", LABEL),
    ),
    pancreas("P16", numbered(lambda number: 100 - number), Built("numbered_backwards")),
    pancreas("P17", edit(THIRD, ImageOrientationPatient=TURNED), Quarantined("mixed_orientation", ".dcm")),
    pancreas(
        "P18 oblique",
        edit(ALL, ImageOrientationPatient=TURNED, ImagePositionPatient=oblique),
        Quarantined("oblique", ".dcm", "20.0 degrees"),
    ),
    pancreas(
        "P18 tilt",
        edit(ALL, ImagePositionPatient=shear),
        Quarantined("grid_mismatch", LABEL, "differ by 10.00 degrees"),
    ),
    pancreas(
        "P18 equal tilt",
        both(edit(ALL, ImagePositionPatient=shear), volume(LABEL, affine=leaning, qform_code=0)),
        Built("gantry_tilt"),
    ),
    pancreas("P19", standing, Built("label_reoriented numbered_backwards", "turned")),
    pancreas("P20", other_rescale, Built("rescale_varies")),
    pancreas("P21 missing", edit(ALL, RescaleSlope=None, RescaleIntercept=None), Built()),
    pancreas("P21 zero", edit(THIRD, RescaleSlope="0"), Quarantined("bad_rescale", THIRD, "RescaleSlope is 0")),
    pancreas("P22", edit(ALL, PixelRepresentation=0), Built("suspicious_intensity", "other")),
    pancreas("P23", edit(THIRD, **BOX), Quarantined("mixed_sizes", ".dcm", "32x32 and 30x32")),
    pancreas(
        "P24 inverted",
        edit(ALL, PhotometricInterpretation="MONOCHROME1"),
        Quarantined("not_monochrome2", ".dcm", "MONOCHROME1"),
    ),
    pancreas("P24 colours", edit(THIRD, **COLOURS), Quarantined("not_monochrome2", THIRD, "RGB with 3 samples")),
    pancreas(
        "P25",
        remove(*(f"{FOLDER}/1-{number}.dcm" for number in (6, 7, 8))),
        Quarantined("label_depth", LABEL, "the series has 5 slices, its label 8 (an incomplete copy?)"),
    ),
    # The labels of the two withdrawn cases are in the healthy source: `excluded` is compared for every row.
    pancreas("P26 withdrawn", lambda _: None, Built()),
    pancreas("P26 other", remove(FOLDER), Quarantined("missing_image", LABEL)),
    pancreas("P27", remove(LABEL), Quarantined("missing_label", ".dcm")),
    pancreas("P28", old_copy, Built()),
    pancreas(
        "P29",
        edit(ALL, PatientID="PANCREAS_0077"),
        Quarantined("patient_disagrees", ".dcm", "PatientID is PANCREAS_0077 in the folder manifest-"),
    ),
    pancreas("P30", edit(ALL, PatientID=""), Built("patient_from_folder")),
    pancreas("P31 no codes", volume(LABEL, **NO_AXES), Built("orientation_default")),
    pancreas("P31 identity", volume(LABEL, affine=lambda _: np.eye(4)), Built("orientation_default")),
    pancreas(
        "P31 refused",
        volume(LABEL, **NO_AXES),
        Quarantined("bad_affine", LABEL),
        arguments=("--label-orientation", "none"),
    ),
    pancreas("P31 upside down", mirrored(1), Quarantined("orientation_suspect", LABEL, "with its rows reversed")),
    pancreas(
        "P31 transposed",
        volume(LABEL, array=transposed),
        Quarantined("orientation_suspect", LABEL, "with its rows and columns swapped, then rows and columns reversed"),
    ),
    pancreas(
        "P31 turned",
        volume(LABEL, array=quarter_turn),
        Quarantined("orientation_suspect", LABEL, "with its rows and columns swapped, then "),
    ),
    pancreas(
        "P32 both",
        lambda scene: (scene.raw / LABELS / "label0001.nii").write_bytes(
            gzip.decompress((scene.raw / LABEL).read_bytes())
        ),
        Built("twin_dropped"),
    ),
    pancreas(
        "P32 differ",
        lambda scene: shutil.copy(scene.raw / LABELS / "label0003.nii.gz", scene.raw / LABELS / "label1.nii.gz"),
        Quarantined("twins_differ", ".nii.gz", "label0001.nii.gz"),
    ),
    pancreas("P33 255", volume(LABEL, array=lambda s: s * 255), Quarantined("label_values", LABEL, "255 (42)")),
    pancreas("P33 2", volume(LABEL, array=lambda s: s * 2), Quarantined("label_values", LABEL, "2 (42)")),
    pancreas("P34 frames", edit(THIRD, NumberOfFrames=2), Quarantined("multi_frame", THIRD, "2 frames")),
    pancreas(
        "P34 enhanced",
        edit(ALL, SOPClassUID=f"{CTImageStorage}.1"),
        Quarantined("multi_frame", ".dcm", "not supported"),
    ),
    pancreas("P35 padded", renamed(lambda number: f"1-{number:03d}.dcm"), Built()),
    pancreas("P35 backwards", renamed(lambda number: f"slice {chr(105 - number)}"), Built()),
    pancreas("P36 implicit", encoded(ImplicitVRLittleEndian), Built()),
    pancreas("P36 big-endian", encoded(ExplicitVRBigEndian, little=False), Built()),
    pancreas("P37", named_in_bytes, Built()),
    # Lower than air is black like air; no lowest and highest value is recorded, the window is.
    pancreas("P38", edit(ALL, PixelData=pixels(padded)), Built()),
]
NOT_HERE: dict[str, str] = {}
POOLED = ("P3 middle", "P10")


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return Bench("pancreas", tmp_path_factory.mktemp("pancreas"), patients=4, size=SIZE, slices=SLICES)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_fault(fault, bench, tmp_path, monkeypatch):
    bench.prove(fault, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault.id in POOLED], ids=lambda fault: fault.id)
def test_fault_in_a_worker(fault, bench, tmp_path, monkeypatch):
    bench.prove(fault, tmp_path, monkeypatch, workers=2)
