"""The contract passes what is right, and catches what is wrong, with words that say so: docs/plug-in.md, sabotaged."""

import re
import subprocess
import sys
from dataclasses import dataclass

import plug_in
import pytest

from imagemask import testing
from imagemask.errors import ImagemaskError

MODULE, PHANTOM, TOML = "thyroid_us/__init__.py", "thyroid_us/synthetic.py", "thyroid_us/thyroid-us.toml"
SORTED = "    return sorted(cases, key=lambda case: case.id)\n"
YIELD = "    yield Slice(0, image, mask, flags=(*noted, *turned))\n"
ID = "id=names.identifier((scan,)),"


@dataclass(frozen=True)
class Sabotage:
    """A line of the plug-in that becomes another one, the check that must see it, and what it must say."""

    title: str
    file: str
    old: str
    new: str
    check: object
    said: str


SABOTAGES = [
    Sabotage(
        "no docstring",
        MODULE,
        "from __future__ import annotations\n",
        "from __future__ import annotations\n__doc__ = ' '\n",
        testing.declares_itself,
        "the module of thyroid-us has no docstring",
    ),
    Sabotage(
        "an option without help",
        MODULE,
        'Field(128, ge=1, le=255, description="the least value of a nodule\'s pixel in a mask")',
        "Field(128)",
        testing.declares_itself,
        "the option threshold has no description",
    ),
    Sabotage(
        "another name",
        MODULE,
        'SOURCE = "thyroid-us"',
        'SOURCE = "thyroid"',
        testing.declares_itself,
        "no source manifest thyroid.toml in thyroid_us",
    ),
    Sabotage(
        "a manifest of another name",
        TOML,
        'name = "thyroid-us"',
        'name = "thyroid"',
        testing.declares_itself,
        "registered as thyroid-us, and its source manifest is called thyroid",
    ),
    Sabotage(
        "a manifest with an unknown key",
        TOML,
        "licence_url",
        "license_url",
        testing.declares_itself,
        "license_url: Extra inputs are not permitted",
    ),
    Sabotage(
        "the background as a label",
        TOML,
        '1 = "nodule"',
        '0 = "tissue"\n1 = "nodule"',
        testing.declares_itself,
        "declares the label 0; 0 is the background",
    ),
    Sabotage(
        "a default that is no value",
        MODULE,
        "Field(128, ge=1",
        "Field(0, ge=1",
        testing.declares_itself,
        "--threshold 0: Input should be greater than or equal to 1",
    ),
    Sabotage(
        "a crash in a strange folder",
        MODULE,
        'files.source_root(raw, ("scans.csv",), accepted=ACCEPTED)',
        "sorted(raw.rglob('scans.csv'))[0].parent",
        testing.refuses_what_is_not_its_source,
        "discover of a folder that is empty raises IndexError: list index out of range, not an InputError",
    ),
    Sabotage(
        "a case in any folder",
        MODULE,
        "    root = files.source_root",
        '    if not (raw / "scans.csv").exists():\n'
        '        return [Case("x", "x", (), ())]\n'
        "    root = files.source_root",
        testing.refuses_what_is_not_its_source,
        "discover finds x in a folder that is empty",
    ),
    Sabotage(
        "a phantom that time decides",
        PHANTOM,
        "default_rng(seed)",
        "default_rng()",
        testing.writes_a_deterministic_phantom,
        r"the same seed gives another phantom: frames/TH0001.png \(changed\), .* and \d+ more",
    ),
    Sabotage(
        "a phantom that the process decides",
        PHANTOM,
        '("benign", "malignant")[patient % 2]',
        '__import__("os").getpid()',
        testing.writes_a_deterministic_phantom,
        r"another process writes another phantom: scans.csv \(changed\)",
    ),
    Sabotage(
        "a phantom that ignores its seed",
        PHANTOM,
        "export = Export(raw, size, seed)",
        "export = Export(raw, size, 0)",
        testing.writes_a_deterministic_phantom,
        "another seed gives the same phantom",
    ),
    Sabotage(
        "a phantom beside its folder",
        PHANTOM,
        'files.write_atomic(raw / "scans.csv"',
        'files.write_atomic(raw.parent / "notes.csv", b"")\n    files.write_atomic(raw / "scans.csv"',
        testing.writes_a_deterministic_phantom,
        "the phantom writes beside its folder: a, b, c, d, notes.csv",
    ),
    Sabotage(
        "a phantom without a marker",
        PHANTOM,
        "    phantoms.finish(",
        "    (lambda *told, **facts: None)(",
        testing.writes_a_deterministic_phantom,
        "there is no imagemask-phantom.json: end with imagemask.phantoms.finish",
    ),
    Sabotage(
        "no phantom",
        MODULE,
        "def phantom(",
        "def _phantom(",
        testing.writes_a_deterministic_phantom,
        "thyroid-us has no phantom: the contract needs files",
    ),
    Sabotage(
        "unsorted cases",
        MODULE,
        SORTED,
        "    return sorted(cases, key=lambda case: case.id[::-1])\n",
        testing.discovers_cases,
        "cases are not sorted by id: TH0010, TH0020",
    ),
    Sabotage(
        "random ids",
        MODULE,
        ID,
        "id=names.identifier((scan, __import__('secrets').token_hex(4))),",
        testing.discovers_cases,
        r"discover finds other cases the second time: TH0001\+\w{8} \((lacking|unexpected)\), ",
    ),
    Sabotage(
        "ids that the process decides",
        MODULE,
        ID,
        "id=f'{scan}+{__import__(\"os\").getpid()}',",
        testing.discovers_cases,
        r"discover finds other cases in another process: TH0001\+\d+ \(",
    ),
    Sabotage(
        "ids that say where the source lies",
        MODULE,
        ID,
        "id=names.identifier((raw.name, scan)),",
        testing.discovers_cases,
        r"discover finds other cases when the source lies elsewhere: moved\+TH0001 \(unexpected\)",
    ),
    Sabotage(
        "ids that are no file names",
        MODULE,
        ID,
        'id=f"frames/{scan}",',
        testing.discovers_cases,
        "cases cannot be written side by side: 'frames/TH0001' cannot be a file name",
    ),
    Sabotage(
        "one id twice",
        MODULE,
        ID,
        "id=scan[:-1],",
        testing.discovers_cases,
        "cannot be written side by side: 'TH000' and 'TH000' would be written under one name",
    ),
    Sabotage(
        "cases that cannot be pickled",
        MODULE,
        'extra={"device": scans.get(scan, {}).get("device", "")},',
        'extra=__import__("types").MappingProxyType({"device": ""}),',
        testing.discovers_cases,
        "cases cannot be sent to another process: cannot pickle 'mappingproxy' object",
    ),
    Sabotage(
        "files that are not there",
        MODULE,
        "    return found\n\n\ndef _scans",
        "    return {stem: (folder / f'{stem}.PNG',) for stem in found}\n\n\ndef _scans",
        testing.discovers_cases,
        r"TH0001: .*TH0001\.PNG is not a file",
    ),
    Sabotage(
        "paths that tell where the source lies",
        MODULE,
        "category=scans",
        "group=str(raw), category=scans",
        testing.discovers_cases,
        r"discover finds other cases when the source lies elsewhere: TH0001 \(another group\), ",
    ),
    Sabotage(
        "files beside the raw folder",
        MODULE,
        "    return found\n\n\ndef _scans",
        "    (copy := folder / '..' / '..' / 'copy.png').write_bytes(b'')\n"
        "    return {stem: (copy,) for stem in found}\n\n\ndef _scans",
        testing.discovers_cases,
        r"TH0001: .*copy\.png lies outside the raw folder",
    ),
    Sabotage(
        "nobody's scans",
        MODULE,
        'patient=scans.get(scan, {}).get("patient", ""),',
        'patient="",',
        testing.discovers_cases,
        "TH0001: has neither patient nor group, and group in the source manifest is 'patient'",
    ),
    Sabotage(
        "a split of its own",
        MODULE,
        "category=scans",
        'split="val", category=scans',
        testing.discovers_cases,
        "TH0001: the split 'val' is none of train, valid, test",
    ),
    Sabotage(
        "junk read as cases",
        MODULE,
        "in files.walk(folder).files:",
        "in sorted(folder.rglob('*')):",
        testing.passes_over_junk,
        r"junk changes what discover finds: =2E_TH0001 \(unexpected\), ",
    ),
    Sabotage(
        "a case that finds its files again",
        MODULE,
        "    frame, nodule = layouts.one_of_each(case)\n",
        "    layouts.one_of_each(case)\n    frame = nodule = sorted(case.masks[0].parent.glob(f'*{case.id}.png'))[0]\n",
        testing.passes_over_junk,
        "TH0001: a healthy case cannot be read: ._TH0001.png begins with",
    ),
    Sabotage(
        "an undeclared label",
        MODULE,
        "options.threshold, 1)",
        "options.threshold, 2)",
        testing.reads_slices,
        "TH0001, slice 0: the mask holds undeclared labels: 2",
    ),
    Sabotage(
        "a mask of another size",
        MODULE,
        YIELD,
        "    yield Slice(0, image, mask[1:])\n",
        testing.reads_slices,
        r"TH0001: a healthy case cannot be read: slice 0: image is 64x64, mask is 63x64.* \[size_mismatch\]",
    ),
    Sabotage(
        "a mask with fractions",
        MODULE,
        YIELD,
        "    yield Slice(0, image, mask / 2)\n",
        testing.reads_slices,
        r"slice 0: mask is float64, not integer.* \[label_type\]",
    ),
    Sabotage(
        "image and mask exchanged",
        MODULE,
        "    yield Slice(0, image, mask,",
        "    yield Slice(0, mask, image,",
        testing.reads_slices,
        r"TH0001, slice 0: the mask holds undeclared labels: \d+, .* and \d+ more",
    ),
    Sabotage(
        "four channels",
        MODULE,
        YIELD,
        "    yield Slice(0, __import__('numpy').stack([image] * 4, axis=2), mask)\n",
        testing.reads_slices,
        r"TH0001, slice 0: the image is \(64, 64, 4\), neither HxW nor HxWx3",
    ),
    Sabotage(
        "slices in no order",
        MODULE,
        YIELD,
        "    yield from (Slice(index, image, mask) for index in (1, 0))\n",
        testing.reads_slices,
        "TH0001: slices are not in order, or there twice: 1, 0",
    ),
    Sabotage(
        "slices twice",
        MODULE,
        YIELD,
        YIELD * 2,
        testing.reads_slices,
        "TH0001: slices are not in order, or there twice: 0, 0",
    ),
    Sabotage(
        "an index that is no number",
        MODULE,
        "    yield Slice(0, ",
        "    yield Slice(case.id, ",
        testing.reads_slices,
        "slice TH0001: the index is a str, not an int",
    ),
    Sabotage(
        "one array for all slices",
        MODULE,
        YIELD,
        "    image = image.copy()\n"
        "    for index in range(3):\n"
        "        image[:] = index\n"
        "        yield Slice(index, image, mask)\n",
        testing.reads_slices,
        "TH0001, slice 0: the image changes after it was yielded; each slice needs an array of its own",
    ),
    Sabotage(
        "noise in the pixels",
        MODULE,
        YIELD,
        "    import numpy as np\n"
        "    yield Slice(0, image ^ np.random.default_rng().integers(0, 2, image.shape, np.uint8), mask)\n",
        testing.reads_slices,
        "read yields something else the second time: TH0001, slice 0, another image",
    ),
    Sabotage(
        "pixels that depend on what was read before",
        MODULE,
        YIELD,
        "    READ.append(case.id)\n    yield Slice(0, image + image.dtype.type(len(READ)), mask)\n\n\nREAD = []\n",
        testing.reads_slices,
        "read yields something else the second time: ",
    ),
    Sabotage(
        "a source that is written to",
        MODULE,
        YIELD,
        f"    frame.with_suffix('.txt').write_text('read')\n{YIELD}",
        testing.reads_slices,
        r"reading changes the source: frames/TH0001.txt \(unexpected\)",
    ),
    Sabotage(
        "a file that no case lists",
        MODULE,
        YIELD,
        "    lines = (frame.parents[1] / 'scans.csv').read_text().splitlines()\n"
        "    yield Slice(0, image, mask if lines else mask * 0)\n",
        testing.reads_slices,
        "read needs files that Case.images and Case.masks do not list: .*No such file.*scans.csv",
    ),
    Sabotage(
        "a file that no case lists, and that is not missed",
        MODULE,
        YIELD,
        "    listed = (frame.parents[1] / 'scans.csv').exists()\n"
        "    yield Slice(0, image, mask if listed else mask * 0)\n",
        testing.reads_slices,
        "read needs files that Case.images and Case.masks do not list: TH0001, slice 0, another mask",
    ),
    Sabotage(
        "a source that is no file of the case",
        MODULE,
        "    yield Slice(0, image, mask,",
        "    yield Slice(0, image, mask, source=frame.parent,",
        testing.reads_slices,
        "TH0001, slice 0: its source .*frames is no file of the case",
    ),
    Sabotage(
        "a pixel size that cannot be",
        MODULE,
        "    yield Slice(0, image, mask,",
        "    yield Slice(0, image, mask, (0.1, 0.0),",
        testing.reads_slices,
        r"TH0001, slice 0: spacing \(0\.1, 0\.0\)",
    ),
    Sabotage(
        "a flag in prose",
        MODULE,
        "flags=(*noted, *turned)",
        "flags=('Looks odd!',)",
        testing.reads_slices,
        "TH0001, slice 0: the flag 'Looks odd!' is not one word of small letters",
    ),
    Sabotage(
        "nothing outlined",
        MODULE,
        YIELD,
        "    yield Slice(0, image, mask * 0)\n",
        testing.reads_slices,
        "not one slice of the phantom has foreground",
    ),
    Sabotage(
        "cases left out in silence",
        MODULE,
        SORTED,
        SORTED.replace("(cases", "(cases[1:]"),
        testing.passes_its_check,
        "lists cases that are not discovered: TH",
    ),
    Sabotage(
        "a marker that counts wrongly",
        PHANTOM,
        "sets=(len(healthy),) * 2",
        "sets=(len(healthy), 1)",
        testing.passes_its_check,
        "found are {.*'masks': 60}, imagemask-phantom.json says {.*'masks': 1}",
    ),
    Sabotage(
        "healthy cases refused",
        MODULE,
        "    if not case.patient:\n",
        "    if case.id == 'TH0003':\n",
        testing.passes_its_check,
        r"healthy cases would be quarantined: TH0003: scans.csv names no patient of TH0003 \[no_patient\]",
    ),
    Sabotage(
        "pixels that depend on the process",
        MODULE,
        YIELD,
        "    import os\n    yield Slice(0, image ^ image.dtype.type(os.getpid() & 127), mask)\n",
        testing.builds_the_same_bytes_however_it_runs,
        "two workers and two shards build something else than one process: ",
    ),
    Sabotage(
        "a fault that is built",
        MODULE,
        "    if not case.patient:\n",
        "    if False:\n",
        testing.quarantines_exactly_the_faults,
        r"not quarantined under the expected codes: TH9005 \(lacking\)",
    ),
    Sabotage(
        "a fault under another code",
        MODULE,
        'CaseError("no_patient"',
        'CaseError("missing_patient"',
        testing.quarantines_exactly_the_faults,
        r"not quarantined under the expected codes: TH9005 \(missing_patient, not no_patient\)",
    ),
    Sabotage(
        "a fault that is a crash",
        MODULE,
        'raise CaseError("no_patient"',
        'raise LookupError("no_patient", "") if case.id else CaseError("no_patient"',
        testing.quarantines_exactly_the_faults,
        r"not quarantined under the expected codes: TH9005 \(unexpected_error, not no_patient\)",
    ),
    Sabotage(
        "a fault that is left out",
        MODULE,
        SORTED,
        SORTED.replace("(cases", "([case for case in cases if case.patient]"),
        testing.quarantines_exactly_the_faults,
        r"not quarantined under the expected codes: TH9005 \(lacking\)",
    ),
    Sabotage(
        "a fault without a remedy",
        MODULE,
        ', remedy="Add the line")',
        ")",
        testing.quarantines_exactly_the_faults,
        "TH9005: the quarantine record lacks a remedy",
    ),
    Sabotage(
        "a phantom without faults",
        PHANTOM,
        "        if faults:\n",
        "        if False:\n",
        testing.quarantines_exactly_the_faults,
        "the phantom has no faults: imagemask-phantom.json lists none",
    ),
    Sabotage(
        "faults that change their neighbours",
        PHANTOM,
        "export = Export(raw, size, seed)",
        "export = Export(raw, size, seed + faults)",
        testing.quarantines_exactly_the_faults,
        "with broken cases beside them, healthy ones are built differently: images/TH0001-",
    ),
]


@pytest.mark.parametrize("check", testing.CHECKS, ids=testing.name_of)
def test_the_generator_of_the_page_keeps_the_contract(check, tmp_path, monkeypatch):
    plug_in.register(tmp_path / "plug-in", monkeypatch)
    (tmp_path / "work").mkdir()
    check(plug_in.NAME, tmp_path / "work")


@pytest.mark.parametrize("sabotage", SABOTAGES, ids=lambda one: one.title.replace(" ", "-"))
def test_a_broken_generator_is_caught(sabotage, tmp_path, monkeypatch):
    plug_in.register(tmp_path / "plug-in", monkeypatch, (sabotage.file, sabotage.old, sabotage.new))
    (tmp_path / "work").mkdir()
    with pytest.raises((AssertionError, ImagemaskError)) as caught:
        sabotage.check(plug_in.NAME, tmp_path / "work")
    assert re.search(sabotage.said, str(caught.value)), str(caught.value)
    assert len(str(caught.value)) < 1000


def test_every_check_catches_something():
    assert {one.check for one in SABOTAGES} == {*testing.CHECKS}


def test_the_contract_is_one_test_for_pytest():
    test = testing.contract("folder")
    (mark,) = test.pytestmark
    assert (mark.name, mark.args, mark.kwargs) == ("parametrize", ("check", testing.CHECKS), {"ids": testing.name_of})
    asked = []
    test(check=lambda name, folder: asked.append((name, folder)), tmp_path="here")
    assert asked == [("folder", "here")]


def test_pytest_is_asked_for_by_the_contract_only():
    code = "import sys; from imagemask import testing; assert 'pytest' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
