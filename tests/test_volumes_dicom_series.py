"""Series found in any layout: by what files say, not by where they lie or what they are called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from ct_series import hu, slice_at, write_series
from fifos import fifo

from imagemask.errors import CaseError
from imagemask.files import walk
from imagemask.volumes.dicom import find_series, open_stack, write_dicom

ROOT = Path(__file__).parent.parent
REAL = ROOT.parent / "shared" / "real" / "volumes" / "pancreas"
SHIPPED = Path(pydicom.__file__).parent / "data" / "test_files"
UIDS = ("1.2.826.0.1.3680043.2.1125.1.1", "1.2.826.0.1.3680043.2.1125.1.2")
LAYOUTS = {  # raw-formats.md 2.2
    "descriptive": "Pancreas-CT/{patient}/11-24-2015-{patient}-Pancreas-18957/Pancreas-99667",
    "retriever": "manifest-1599750808610/Pancreas-CT/{patient}/11-24-2015-Pancreas-18957/Pancreas-99667",
    "older": "DOI/{patient}/{uid}.0/{uid}",
    "flat": "{uid}",
    "by hand": "{patient}/Pancreas",
    "one folder": ".",
}


def write_two(root: Path, layout: str) -> dict[str, set[Path]]:
    """Two patients with three slices each, a LICENSE in each folder; the files by patient."""
    written = {}
    for number, uid in enumerate(UIDS):
        patient = f"PANCREAS_000{number + 1}"
        folder = root / layout.format(patient=patient, uid=uid)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "LICENSE").write_text("CC BY 3.0")
        written[patient] = set()
        for index in range(3):
            path = folder / f"1-{index + 1 + 10 * number}.dcm"
            write_dicom(path, hu(index), slice_at(index, patient=patient, series=uid))
            written[patient].add(path)
    return written


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_series_are_found_in_every_layout(tmp_path, layout):
    written = write_two(tmp_path, layout)
    found = find_series(tmp_path)
    assert [(each.patient, each.uid, set(each.files)) for each in found.series] == [
        (patient, uid, files) for (patient, files), uid in zip(written.items(), UIDS, strict=True)
    ]
    together = layout == "."
    assert found.skipped == {"not_dicom": 1 if together else 2}
    assert found.problems == []
    assert [each.flags for each in found.series] == [("mixed_folder",) if together else ()] * 2
    for each in found.series:
        assert all(path.parent == each.folder for path in each.files)
        assert each.files == tuple(sorted(each.files))
        assert np.array_equal(np.asarray(open_stack(each.files).images[2]), hu(2))


def test_a_series_in_two_folders_is_one(tmp_path):
    uid = UIDS[0]
    write_series(tmp_path / "a" / "part1", range(3), series=uid)
    write_series(tmp_path / "a" / "part2", range(3, 5), series=uid)
    (series,) = find_series(tmp_path).series
    assert (series.folder, len(series.files)) == (tmp_path / "a", 5)
    assert len(open_stack(series.files).images) == 5


def test_one_uid_for_two_patients_is_two_series(tmp_path):
    for patient in ("PANCREAS_0001", "PANCREAS_0002"):
        write_series(tmp_path / patient, range(2), patient=patient)
    assert [each.patient for each in find_series(tmp_path).series] == ["PANCREAS_0001", "PANCREAS_0002"]


@pytest.mark.parametrize("blank", ["", "  ", None])
def test_a_blank_patient_is_the_folders_name(tmp_path, blank):
    write_series(tmp_path / "PANCREAS_0007" / "leaf", elements={"PatientID": blank})
    (series,) = find_series(tmp_path).series
    assert (series.patient, series.flags) == ("leaf", ("patient_from_folder",))
    assert series.folder == tmp_path / "PANCREAS_0007" / "leaf", "from which a source can take its own name"


def test_a_blank_series_is_its_folder(tmp_path):
    for name in ("a", "b"):
        write_series(tmp_path / name, elements={"SeriesInstanceUID": ""})
    found = find_series(tmp_path).series
    assert [(each.uid, each.folder.name, each.flags) for each in found] == [
        ("", "a", ("series_from_folder",)),
        ("", "b", ("series_from_folder",)),
    ]


@pytest.mark.skipif(not REAL.is_dir(), reason="the real volumes are not here")
def test_the_real_series():
    found = find_series(REAL)
    (series,) = found.series
    assert len(series.files) == 20
    assert series.flags == ("patient_from_folder", "series_from_folder")
    assert "PANCREAS_0001" in series.folder.parts
    assert (found.skipped, found.problems) == ({"not_dicom": 1}, [])


def test_what_is_not_a_ct_is_counted_by_reason(tmp_path):
    write_series(tmp_path / "ct")
    others = {
        "DICOMDIR": SHIPPED / "dicomdirtests" / "DICOMDIR",
        "sr.dcm": SHIPPED / "test-SR.dcm",
        "plan.dcm": SHIPPED / "rtplan.dcm",
        "mr.dcm": SHIPPED / "MR_small.dcm",
        "seg": SHIPPED / "liver_1frame.dcm",
        "structures": SHIPPED / "rtstruct.dcm",
    }
    for name, source in others.items():
        (tmp_path / "ct" / name).write_bytes(source.read_bytes())
    for name in ("metadata.csv", "manifest.tcia", "LICENSE", "label0001.nii.gz", "empty.txt", "readme"):
        (tmp_path / "ct" / name).write_bytes(b"" if name == "empty.txt" else b"some text, " * 20)
    (tmp_path / "ct" / "._1-001.dcm").write_bytes(b"\x00\x05\x16\x07")
    (tmp_path / "away").symlink_to(tmp_path.parent)
    found = find_series(tmp_path)
    assert [len(each.files) for each in found.series] == [5]
    assert found.problems == []
    assert found.skipped == {
        "dicomdir": 1,
        "junk": 1,
        "link": 1,
        "modality_mr": 1,
        "modality_rtplan": 1,
        "modality_rtstruct": 1,
        "modality_seg": 1,
        "modality_sr": 1,
        "not_dicom": 6,
    }


def test_the_tree_that_ships_in_pydicom_holds_its_ct_series():
    found = find_series(SHIPPED / "dicomdirtests")
    assert sorted((each.patient, len(each.files)) for each in found.series if "TINY" not in str(each.folder)) == [
        ("77654033", 4),
        ("98890234", 2),
        ("98890234", 5),
    ]
    assert found.skipped["modality_mr"] == 17
    assert found.skipped["dicomdir"] == 8
    # TINY_ALPHA holds CT headers whose pixels were taken out.
    assert all("truncated_pixels" in words for _, words in found.problems)
    assert len(found.problems) == 50


def test_a_modality_that_is_blank_is_told_by_the_class(tmp_path):
    write_series(tmp_path / "a", elements={"Modality": ""})
    write_series(tmp_path / "b", elements={"Modality": "", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"})
    found = find_series(tmp_path)
    assert [each.folder.name for each in found.series] == ["a"]
    assert found.skipped == {"modality_unknown": 5}


def test_an_enhanced_ct_is_found_so_that_it_can_be_refused(tmp_path):
    write_series(tmp_path, [0], elements={"NumberOfFrames": 80, "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2.1"})
    (series,) = find_series(tmp_path).series
    with pytest.raises(CaseError) as caught:
        open_stack(series.files)
    assert caught.value.code == "multi_frame"


DAMAGE = {
    "empty_file": lambda path: path.write_bytes(b""),
    "not_dicom": lambda path: path.write_bytes(b"<html>Service unavailable</html>" * 20),
    "truncated_pixels": lambda path: path.write_bytes(path.read_bytes()[:600]),
}


@pytest.mark.parametrize("code", DAMAGE)
def test_a_damaged_file_belongs_to_the_series_that_it_lies_with(tmp_path, code):
    paths = write_series(tmp_path / "PANCREAS_0001")
    write_series(tmp_path / "PANCREAS_0002", series=UIDS[1])
    DAMAGE[code](paths[-1])
    found = find_series(tmp_path)
    assert found.problems == []
    assert [len(each.files) for each in found.series] == [5, 5]
    with pytest.raises(CaseError) as caught:
        open_stack(found.series[0].files)
    assert (caught.value.code, caught.value.file) == (code, paths[-1])
    assert len(open_stack(found.series[1].files).images) == 5


@pytest.mark.parametrize("code", DAMAGE)
def test_a_damaged_file_that_could_be_anyones_is_a_problem(tmp_path, code):
    paths = write_series(tmp_path)
    write_dicom(tmp_path / "other.dcm", hu(0), slice_at(0, series=UIDS[1]))
    alone = tmp_path / "alone" / "1-1.dcm"
    alone.parent.mkdir()
    for path in (paths[-1], alone):
        write_dicom(path, hu(4), slice_at(4))
        DAMAGE[code](path)
    found = find_series(tmp_path)
    assert sorted(path for path, _ in found.problems) == sorted([paths[-1], alone])
    assert all(words.startswith(f"{code}: ") for _, words in found.problems)
    assert all("mixed_folder" in each.flags for each in found.series)


def test_a_header_that_ends_early_lacks_its_series_and_is_damaged(tmp_path):
    paths = write_series(tmp_path)
    content = paths[0].read_bytes()
    paths[0].write_bytes(content[: content.index(b"\x20\x00\x0e\x00")])
    (series,) = find_series(tmp_path).series
    with pytest.raises(CaseError) as caught:
        open_stack(series.files)
    assert (caught.value.code, caught.value.file) == ("truncated_pixels", paths[0])


def test_files_without_the_mark_are_accepted_with_a_class(tmp_path):
    write_series(tmp_path, preamble=False)
    (series,) = find_series(tmp_path).series
    assert (series.flags, len(series.files)) == (("no_preamble",), 5)


def test_folders_that_cannot_be_listed_are_problems(tmp_path, monkeypatch):
    write_series(tmp_path)
    closed = tmp_path / "closed"
    listing = walk(tmp_path)
    monkeypatch.setattr(
        "imagemask.volumes.dicom.series.walk",
        lambda root: type(listing)(listing.files, listing.junk, listing.links, (closed,)),
    )
    found = find_series(tmp_path)
    assert found.problems == [(closed, "unreadable: the folder cannot be listed")]
    assert len(found.series) == 1


def test_pipes_are_skipped_and_counted(tmp_path):
    write_series(tmp_path)
    with fifo(tmp_path / "more.dcm"):
        found = find_series(tmp_path)
    assert (len(found.series), found.skipped["special"]) == (1, 1)


def test_odd_names_are_no_obstacle(tmp_path):
    folder = tmp_path / "Mäß [1] *" / "a b"
    write_series(folder)
    (series,) = find_series(tmp_path).series
    assert series.folder == folder
    assert len(open_stack(series.files).images) == 5


def test_an_empty_folder_holds_nothing(tmp_path):
    found = find_series(tmp_path)
    assert (found.series, found.skipped, found.problems) == ([], {}, [])
