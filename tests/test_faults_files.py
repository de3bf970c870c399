"""Section 7.1 of the failure catalogue: files, folders, names and the system, whatever the source."""

import errno
import hashlib
import json
import os
import shutil
import zlib
from functools import partial

import pytest
from faults import Bench, Built, Fault, Quarantined, Refused, both, data, run
from imagemask.generators import lung_tumor

from imagemask import files

ROOT, NAME = "Task06_Lung", "lung_053.nii.gz"
IMAGE, LABEL = f"{ROOT}/imagesTr/{NAME}", f"{ROOT}/labelsTr/{NAME}"
SERIES = "manifest-1599750808610/Pancreas-CT/PANCREAS_0001/11-24-2015-PANCREAS0001-Pancreas-18001/Pancreas-99001"
lung = partial(Fault, source="lung-tumor", case="lung_053")
pancreas = partial(Fault, source="pancreas", case="PANCREAS_0001")


def emptied(_):
    return b""


def a_file(scene):
    shutil.rmtree(scene.raw)
    scene.raw.write_text("not a folder")


def something_else(scene):
    shutil.rmtree(scene.raw / ROOT)
    (scene.raw / "holiday").mkdir()
    (scene.raw / "holiday" / "beach.jpg").write_bytes(b"\xff\xd8\xff")


def nested(scene):
    shutil.move(scene.raw / ROOT, scene.raw / "deep")
    shutil.move(scene.raw / "deep", scene.raw / ROOT / ROOT)


def twice(scene):
    shutil.copytree(scene.raw / ROOT, scene.raw / "copy")


def link(name, target):
    """A link below the source; ``{out}`` is a folder beside it."""
    return lambda scene: (scene.raw / name).symlink_to(target.format(out=scene.out.parent / "elsewhere"))


def moved_out(scene):
    elsewhere = scene.out.parent / "elsewhere"
    elsewhere.mkdir()
    shutil.move(scene.raw / IMAGE, elsewhere / NAME)


def closed(name):
    """Take away the permission to read a file or a folder, for as long as the build runs."""

    def inject(scene):
        path = scene.raw / name
        path.mkdir(exist_ok=True) if not path.exists() else None
        mode = path.stat().st_mode
        path.chmod(0)
        scene.undo.callback(path.chmod, mode)

    return inject


def renamed(image, label=None):
    """Another name for the image and the label of the case, and none in dataset.json."""

    def inject(scene):
        for place, name in ((IMAGE, image), (LABEL, label or image)):
            path = scene.raw / place
            path.rename(path.with_name(os.fsdecode(name)))
        path = scene.raw / ROOT / "dataset.json"
        content = json.loads(path.read_text())
        content["training"] = [entry for entry in content["training"] if NAME not in entry["image"]]
        path.write_text(json.dumps(content))

    return inject


def in_folder(name):
    """The whole source, and the dataset, below a folder of that name."""

    def inject(scene):
        home = scene.out.parent / name
        home.mkdir()
        scene.raw = scene.raw.rename(home / "raw")
        scene.out = home / "out"

    return inject


def copied(name, to):
    return lambda scene: shutil.copy(scene.raw / name, scene.raw / to)


def out_at(place):
    def inject(scene):
        scene.out = place(scene)

    return inject


def around(scene):
    scene.raw = scene.raw.rename(scene.raw.with_name("around"))
    scene.out = scene.raw.parent


def built_before(scene):
    run(["build", "lung-tumor", "--raw", scene.raw, "--out", scene.out, "--size", 48, "--workers", 1])


def full_of_others(scene):
    scene.out.mkdir()
    (scene.out / "thesis.docx").write_text("years of work")


def read_only(scene):
    home = scene.out.parent / "locked"
    home.mkdir(mode=0o555)
    scene.undo.callback(home.chmod, 0o755)
    scene.out = home / "out"


def another_run(scene):
    home = scene.out / "fragments"
    home.mkdir(parents=True)
    scene.undo.enter_context(files.lock(home / ".lock"))


def growing(scene):
    """The image is written to while it is read."""
    real = lung_tumor.read

    def read(case, options):
        yield from real(case, options)
        if case.id == "lung_053":
            with case.images[0].open("ab") as file:
                file.write(b"more")

    scene.patch.setattr(lung_tumor, "read", read)


def junk(scene):
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._lung_053.nii.gz"):
        (scene.raw / ROOT / "labelsTr" / name).write_bytes(b"Mac OS X        ")
    for folder in ("__MACOSX", "@eaDir"):
        shutil.copytree(scene.raw / ROOT / "imagesTr", scene.raw / ROOT / "imagesTr" / folder)


def all_cut(scene):
    for path in (scene.raw / ROOT / "imagesTr").iterdir():
        path.write_bytes(path.read_bytes()[:-500])


def vast(scene):
    """A picture whose header claims 60000x60000 pixels."""
    path = scene.raw / "images" / "P001_003.png"
    size = (60000).to_bytes(4, "big")
    head = b"IHDR" + size + size + bytes([8, 0, 0, 0, 0])
    content = path.read_bytes()
    path.write_bytes(content[:12] + head + zlib.crc32(head).to_bytes(4, "big") + content[33:])


KILLED = """
import os
import signal

main = int(os.environ.setdefault("FAULT_MAIN", str(os.getpid())))
if os.getpid() != main:
    from imagemask import files

    real = files.sha256

    def sha256(path):
        if path.name == "lung_053.nii.gz":
            os.kill(os.getpid(), signal.SIGKILL)
        return real(path)

    files.sha256 = sha256
"""
LONG = "x" * 240
CUT = "x" * 163 + "=" + hashlib.sha256(LONG.encode()).hexdigest()[:16]
DENIED = os.strerror(errno.EACCES)
NESTED = Refused(2, "lie inside one another. Give another --out", foreseen=False)

FAULTS = [
    lung(
        "G1 missing",
        lambda scene: shutil.rmtree(scene.raw),
        Refused(4, "`imagemask info lung-tumor` says how to get it"),
    ),
    lung("G1 file", a_file, Refused(4, "is not a folder")),
    lung("G2", something_else, Refused(4, "It holds: holiday/, imagemask-phantom.json, holiday/beach.jpg. Accepted")),
    lung("G3 nested", nested, Built(), rewrites=lambda row: {"source": f"{ROOT}/{row['source']}"}),
    lung("G3 two", twice, Refused(4, "holds 2 copies of the source")),
    lung("G4 image", data(IMAGE, emptied), Quarantined("empty_file", IMAGE)),
    lung("G4 label", data(LABEL, emptied), Quarantined("empty_file", LABEL)),
    pancreas("G4 slice", data(f"{SERIES}/1-5.dcm", emptied), Quarantined("empty_file", "1-5.dcm")),
    Fault(
        "G10", vast, Quarantined("image_bomb", "P001_003.png", "3600000000 pixels"), source="folder", case="P001_003"
    ),
    lung("G13 folder", link(f"{ROOT}/imagesTr/loop", "."), Built(), sees={"links": 1}),
    lung("G13 file", link(f"{ROOT}/imagesTr/lung_900.nii.gz", "lung_900.nii.gz"), Built(), sees={"links": 1}),
    pancreas("G13 series", link(f"{SERIES}/loop", ".."), Built(), sees={"links": 1}),
    lung("G14 folder", link(f"{ROOT}/imagesTr/more", "/"), Built(), sees={"links": 1}),
    lung(
        "G14 file",
        both(moved_out, link(IMAGE, "{out}/" + NAME)),
        Quarantined("missing_image", IMAGE, "a link that leads out of the source"),
        sees={"links": 1},
    ),
    lung("G15 image", closed(IMAGE), Quarantined("unreadable_file", IMAGE, DENIED), as_user=True),
    lung("G15 label", closed(LABEL), Quarantined("unreadable_file", LABEL, DENIED), as_user=True),
    lung("G16 folder", closed(f"{ROOT}/imagesTr/more"), Built(), sees={"unreadable": 1}, as_user=True),
    pancreas(
        "G16 series", closed(SERIES), Quarantined("unreadable_file", SERIES, ""), sees={"unreadable": 1}, as_user=True
    ),
    lung("G17 folder", in_folder("sp\u00e4ce [1] *? {a}\nline '\"$HOME"), Built()),
    lung(
        "G17 name",
        renamed("Mu\u0308ller [1] {a}.nii.gz", "M\u00fcller [1] {a}.nii.gz"),
        Built("not_listed"),
        case="M\u00fcller [1] {a}",
        was="lung_053",
    ),
    lung(
        "G17 newline",
        renamed("two\nlines.nii.gz"),
        Built("not_listed"),
        case="two=0Alines",
        was="lung_053",
    ),
    lung(
        "G18",
        renamed(b"lung_\xff.nii.gz"),
        Quarantined("undecodable_name", "lung_\\xff.nii.gz", "\\xff"),
        case="lung_=FF",
        was="lung_053",
    ),
    pancreas(
        "G18 slice",
        lambda scene: (scene.raw / SERIES / "1-5.dcm").rename(scene.raw / SERIES / os.fsdecode(b"\xe9.dcm")),
        Quarantined("undecodable_name", "Pancreas-99001/\\xe9.dcm", "is not UTF-8"),
    ),
    lung(
        "G19 letters",
        both(copied(IMAGE, f"{ROOT}/imagesTr/Case.nii"), copied(LABEL, f"{ROOT}/labelsTr/case.nii")),
        Refused(4, "'Case' and 'case' would be written under one name"),
    ),
    lung("G19 number", copied(IMAGE, f"{ROOT}/imagesTr/lung_53.nii.gz"), Built("twin_dropped")),
    lung("G20", renamed(f"{LONG}.nii.gz"), Built("not_listed"), case=CUT, was="lung_053"),
    lung("G21 inside", out_at(lambda scene: scene.raw / "out"), NESTED),
    lung("G21 around", around, NESTED),
    lung("G21 same", out_at(lambda scene: scene.raw), NESTED),
    lung("G22 recipe", built_before, Refused(2, "another recipe: size is 48, asked for none", foreseen=False)),
    lung(
        "G22 foreign", full_of_others, Refused(2, "holds thesis.docx, and nothing that imagemask built", foreseen=False)
    ),
    lung("G22 file", lambda scene: scene.out.write_text("a"), Refused(4, "is not a folder", foreseen=False)),
    lung("G23", read_only, Refused(4, "cannot be written: " + DENIED, foreseen=False), as_user=True),
    lung("G26", another_run, Refused(2, "another run is working in this folder", foreseen=False)),
    lung("G27", growing, Quarantined("changed_while_read", IMAGE, foreseen=False)),
    lung("G28", junk, Built(), sees={"junk": 5}),
    lung(
        "G29",
        lambda _: None,
        Quarantined("worker_died", IMAGE, "more memory"),
        arguments=("--workers", "2"),
        hook=KILLED,
    ),
    lung("G30", all_cut, Refused(4, "not one pair was built from 6 cases", foreseen=False)),
]
_ARCHIVES = "tests/test_faults_archives.py"
NOT_HERE = {
    **dict.fromkeys(("G5", "G7", "G8", "G9", "G12"), f"{_ARCHIVES}::test_an_archive_that_cannot_be_used"),
    "G6": f"{_ARCHIVES}::test_g6_another_checksum",
    "G11": f"{_ARCHIVES}::test_g11_an_archive_inside",
    "G24": "tests/test_crash.py::test_a_full_disk_stops_the_build_and_nothing_is_lost",
    "G25": "tests/test_crash.py::test_killed_at_a_rename_and_run_again",
}
POOLED = ("G4 image",)
SLOW = [fault for fault in FAULTS if fault.hook or fault.as_user]


@pytest.fixture(scope="module")
def benches(tmp_path_factory):
    """A clean build of each source that the table needs."""
    made = {}

    def bench(source):
        if source not in made:
            patients = {"pancreas": 4}.get(source, 6)
            made[source] = Bench(source, tmp_path_factory.mktemp("files"), patients=patients, size=32, slices=8)
        return made[source]

    return bench


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in SLOW], ids=lambda fault: fault.id)
def test_fault(fault, benches, tmp_path, monkeypatch):
    benches(fault.source).prove(fault, tmp_path, monkeypatch)


@pytest.mark.parametrize("fault", SLOW, ids=lambda fault: fault.id)
def test_fault_of_the_system(fault, benches, tmp_path, monkeypatch):
    benches(fault.source).prove(fault, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault.id in POOLED], ids=lambda fault: fault.id)
def test_fault_in_a_worker(fault, benches, tmp_path, monkeypatch):
    benches(fault.source).prove(fault, tmp_path, monkeypatch, workers=2)
