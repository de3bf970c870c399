"""Section 7.1 of the failure catalogue, archives: rows G5 to G9, G11 and G12, from the command line.

Each archive is Task06_Lung as it is distributed, beside the marker of its phantom: given as ``--raw FILE``, or lying in
the folder that is given. What must come of it is the same.
"""

import hashlib
import io
import json
import random
import shutil
import tarfile
import zipfile
from dataclasses import dataclass

import fakes
import packed
import pytest
from faults import run

from imagemask import registry, testing
from imagemask.archives import members
from imagemask.types import Archive

NAME = "Task06_Lung"
AS_FILE, AS_FOLDER = "file", "folder"
pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")
PLACES = pytest.mark.parametrize("place", [AS_FILE, AS_FOLDER])


@dataclass(frozen=True)
class Row:
    """A row of the catalogue: the archive that ``make`` writes, and what is said of it."""

    id: str
    kind: str
    make: object
    words: str
    state: str


def cut(share):
    return lambda path, files: (packed.pack(path, files), path.write_bytes(path.read_bytes()[: int(share(path))]))


def tar_part(path):
    """Into the third image, or so."""
    return path.stat().st_size * 0.5


def almost_all(path):
    return path.stat().st_size * 0.97


def changed(path, files):
    """A byte of a picture is another one: only a checksum tells."""
    packed.pack(path, files)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def named(name):
    return lambda path, files: packed.pack(path, {**files, name: b"hostile"})


def linked(kind, target=""):
    def make(path, files):
        infos = [packed.info(name, data) for name, data in files.items()]
        return packed.tar_of(path, *infos, packed.info(f"{NAME}/x", None, type=kind, linkname=target))

    return make


def twice(path, files):
    packed.pack(path, files)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "a") as file, pytest.warns(UserWarning, match="Duplicate"):
            file.writestr(f"{NAME}/dataset.json", b"other")
        return
    with tarfile.open(path, "a") as file:
        found, data = packed.info(f"{NAME}/dataset.json", b"other")
        file.addfile(found, io.BytesIO(data))


def bomb(path, files):
    packed.pack(path, {**files, f"{NAME}/zeros": bytes(40 << 20)})


OUT = "leads out of the archive"
ROWS = [
    Row("G5 tar", ".tar", cut(tar_part), f"the last member that is whole is {NAME}/", "damaged"),
    Row("G5 tar.gz", ".tar.gz", cut(tar_part), f"the last member that is whole is {NAME}/", "damaged"),
    Row("G5 zip", ".zip", cut(almost_all), f"the last member that is whole is {NAME}/", "damaged"),
    Row("G5 7z", ".7z", cut(almost_all), "no member of it is known to be whole", "damaged"),
    Row("G7 up tar", ".tar", named("../x"), OUT, "refused"),
    Row("G7 up zip", ".zip", named(f"{NAME}/../../x"), OUT, "refused"),
    Row("G7 up 7z", ".7z", named("../x"), OUT, "refused"),
    Row("G7 absolute", ".tar", named("/tmp/x"), OUT, "refused"),
    Row("G7 drive", ".zip", named("C:/x"), "a drive letter", "refused"),
    Row("G7 backslash", ".zip", named("..\\x"), "a backslash", "refused"),
    Row("G8 link", ".tar", linked(tarfile.SYMTYPE, "/etc"), "leads out of it, to '/etc'", "refused"),
    Row("G8 link up", ".tar", linked(tarfile.SYMTYPE, "../../x"), "leads out of it", "refused"),
    Row("G8 hard link", ".tar", linked(tarfile.LNKTYPE, "/etc/passwd"), "is a link to '/etc/passwd'", "refused"),
    Row("G8 device", ".tar", linked(tarfile.CHRTYPE), "is a device", "refused"),
    Row("G8 pipe", ".tar", linked(tarfile.FIFOTYPE), "is a device, a pipe", "refused"),
    Row("G9 tar.gz", ".tar.gz", bomb, "MB or more, 20 times as much", "refused"),
    Row("G9 zip", ".zip", bomb, "MB or more, 20 times as much", "refused"),
    Row("G9 7z", ".7z", bomb, "MB or more, 20 times as much", "refused"),
    Row("G12 tar", ".tar", twice, "would be written under one name", "refused"),
    Row("G12 zip", ".zip", twice, "would be written under one name", "refused"),
    Row("G12 letters", ".zip", named(f"{NAME}/DATASET.JSON"), "would be written under one name", "refused"),
]


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    """A phantom source, its files as an archive holds them, and the pictures of a clean build."""
    folder = tmp_path_factory.mktemp("archives")
    raw = testing.phantom("lung-tumor", folder / "raw", patients=3, size=32, slices=8)
    assert run(["build", "lung-tumor", "--raw", raw, "--out", folder / "out", "--workers", 1]).exit_code == 0
    found = fakes.tree(raw)
    chance = random.Random(5)  # so that no archive of them is a bomb by itself, nor is small
    inside = {name: data for name, data in found.items() if name.startswith(NAME)}
    inside[f"{NAME}/zz_notes.bin"] = chance.randbytes(200_000)
    pictures = {name: data for name, data in fakes.tree(folder / "out").items() if name.endswith(".png")}
    return raw, inside, pictures


@pytest.fixture
def source(monkeypatch):
    """Let the source's archives be told: published([Archive, ...])."""
    real = registry.source

    def published(*archives):
        told = real("lung-tumor").model_copy(update={"archives": archives})
        monkeypatch.setattr(registry, "source", lambda name: told if name == "lung-tumor" else real(name))

    return published


def given(place, archive):
    return archive if place == AS_FILE else archive.parent


def home(tmp_path, kind, make, healthy, source):
    """A raw folder that holds nothing but the archive."""
    folder = tmp_path / "raw"
    folder.mkdir()
    archive = folder / f"{NAME}{kind}"
    source(Archive(name=archive.name))
    make(archive, healthy[1])
    return archive


def build(raw, out, *more):
    return run(["build", "lung-tumor", "--raw", raw, "--out", out, "--workers", 1, "--json", *more])


def members_of(healthy):
    """How many of them are no junk."""
    return sum(not name.split("/")[-1].startswith("._") for name in healthy[1])


def check(raw):
    ended = run(["check", "lung-tumor", "--raw", raw, "--json"])
    return ended.exit_code, json.loads(ended.stdout)


def pictures(out):
    return {name: data for name, data in fakes.tree(out).items() if name.endswith(".png")}


@PLACES
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_an_archive_that_cannot_be_used(row, place, healthy, source, tmp_path, monkeypatch):
    monkeypatch.setattr(members, "RATIO_FROM", 1 << 20)
    monkeypatch.setattr(members, "HIGHEST_RATIO", 20)
    archive = home(tmp_path, row.kind, row.make, healthy, source)
    exit_code, report = check(given(place, archive))
    [state] = report["archives"]
    assert (exit_code, state["state"]) == (4, row.state)
    assert row.words in report["stopped"]
    assert archive.name in report["stopped"]
    assert report["remedy"]
    ended = build(given(place, archive), tmp_path / "out")
    assert ended.exit_code == 4, ended
    [line] = ended.stderr.splitlines()
    assert line.startswith(f"imagemask: {archive}: ")
    assert row.words in line
    assert list(archive.parent.iterdir()) == [archive], "something half-extracted was left"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw"], "something was written outside"


@PLACES
@pytest.mark.parametrize("kind", packed.KINDS)
def test_a_whole_archive_is_built_as_its_folder_is(kind, place, healthy, source, tmp_path):
    archive = home(tmp_path, kind, packed.pack, healthy, source)
    exit_code, report = check(given(place, archive))
    assert (exit_code, report["packed"], report["stopped"]) == (0, [archive.name], "")
    assert report["archives"][0]["members"] == members_of(healthy)
    assert list(archive.parent.iterdir()) == [archive], "check has written something"
    ended = build(given(place, archive), tmp_path / "out")
    assert ended.exit_code == 0, ended
    assert pictures(tmp_path / "out") == healthy[2]
    exit_code, report = check(given(place, archive))
    assert (exit_code, report["packed"], report["archives"][0]["state"]) == (0, [], "unpacked")
    assert report["found"]["cases"] == 3
    assert run(["verify", tmp_path / "out"]).exit_code == 0


@PLACES
def test_g6_another_checksum(place, healthy, source, tmp_path):
    archive = home(tmp_path, ".tar", packed.pack, healthy, source)
    told = Archive(name=archive.name, bytes=archive.stat().st_size, checksum=f"md5:{md5(archive)}")
    changed(archive, healthy[1])
    source(told)
    exit_code, report = check(given(place, archive))
    assert (exit_code, report["archives"][0]["state"]) == (4, "other_checksum")
    ended = build(given(place, archive), tmp_path / "out")
    assert ended.exit_code == 4
    assert f"its checksum is md5:{md5(archive)}, that of the publisher {told.checksum}" in ended.stderr
    assert list(archive.parent.iterdir()) == [archive]


@PLACES
def test_g6_another_checksum_that_is_allowed(place, healthy, source, tmp_path):
    archive = home(tmp_path, ".zip", packed.pack, healthy, source)
    source(Archive(name=archive.name, checksum="sha256:" + "0" * 64))
    ended = build(given(place, archive), tmp_path / "out", "--allow-checksum-mismatch")
    assert ended.exit_code == 0, ended
    assert "imagemask: note: Task06_Lung.zip: is not the published one" in ended.stderr
    assert pictures(tmp_path / "out") == healthy[2]


@PLACES
@pytest.mark.parametrize("kind", [".tar", ".zip", ".7z"])
def test_g11_an_archive_inside(kind, place, healthy, source, tmp_path):
    archive = home(tmp_path, kind, named(f"{NAME}/imagesTs.tar"), healthy, source)
    ended = build(given(place, archive), tmp_path / "out")
    assert ended.exit_code == 0, ended
    assert f"imagemask: note: {archive.name}: archives inside it stay packed: {NAME}/imagesTs.tar (1)" in ended.stderr
    assert pictures(tmp_path / "out") == healthy[2]


@PLACES
@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "is empty"), (b"<html><body>Quota exceeded", "begins with b'<html><b', as no archive does")],
)
def test_what_is_no_archive(content, words, place, healthy, source, tmp_path):
    archive = home(tmp_path, ".tar", lambda path, _: path.write_bytes(content), healthy, source)
    exit_code, report = check(given(place, archive))
    assert (exit_code, report["archives"][0]["state"]) == (4, "refused")
    assert words in report["stopped"]
    ended = build(given(place, archive), tmp_path / "out")
    assert (ended.exit_code, list(archive.parent.iterdir())) == (4, [archive])
    assert words in ended.stderr


def test_an_archive_that_nobody_knows_is_built_with_a_note(healthy, tmp_path):
    archive = packed.pack(tmp_path / "copy.zip", healthy[1])
    exit_code, report = check(archive)
    assert (exit_code, [one["name"] for one in report["archives"]]) == (0, ["Task06_Lung.tar", "copy.zip"])
    assert report["notes"][0].startswith("copy.zip is none of the archives that are known of this source")
    ended = build(archive, tmp_path / "out")
    assert ended.exit_code == 0, ended
    assert "nothing says whether it is whole" in ended.stderr
    exit_code, report = check(archive)
    assert (exit_code, report["found"]["cases"], report["junk"], report["links"]) == (0, 3, 0, [])


def test_an_unpacked_folder_that_is_not_ours_stops_both(healthy, source, tmp_path):
    archive = home(tmp_path, ".tar", packed.pack, healthy, source)
    archive.with_name(f"{archive.name}.unpacked").mkdir()
    exit_code, report = check(archive)
    assert exit_code == 4
    assert "is in the way" in report["stopped"]
    assert build(archive, tmp_path / "out").exit_code == 4


def test_a_folder_unpacked_by_hand_is_not_unpacked_again(healthy, source, tmp_path):
    archive = home(tmp_path, ".tar", packed.pack, healthy, source)
    shutil.copytree(healthy[0] / NAME, archive.parent / NAME)
    exit_code, report = check(archive.parent)
    assert (exit_code, report["notes"]) == (0, ["the folder is read as it is: Task06_Lung.tar stays packed"])
    ended = build(archive.parent, tmp_path / "out")
    assert ended.exit_code == 0, ended
    assert "Task06_Lung.tar stays packed" in ended.stderr
    assert not archive.with_name(f"{archive.name}.unpacked").exists()
    assert pictures(tmp_path / "out") == healthy[2]


def test_a_dry_run_unpacks_nothing(healthy, source, tmp_path):
    archive = home(tmp_path, ".tar", packed.pack, healthy, source)
    ended = build(archive, tmp_path / "out", "--dry-run")
    assert ended.exit_code == 2
    assert f"{members_of(healthy)} files of " in ended.stderr
    assert list(archive.parent.iterdir()) == [archive]


def test_what_a_person_reads_of_a_packed_source(healthy, source, tmp_path):
    archive = home(tmp_path, ".zip", packed.pack, healthy, source)
    ended = run(["check", "lung-tumor", "--raw", archive])
    assert ended.exit_code == 0
    assert "archive      Task06_Lung.zip: unverified\n" in ended.stdout
    assert f"note         Task06_Lung.zip holds {members_of(healthy)} files of " in ended.stdout
    assert ended.stdout.endswith("still packed: a build begins by unpacking Task06_Lung.zip. Check again after that\n")


def md5(path):
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
