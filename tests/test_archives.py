"""Archives: unpacked whole or not at all, never outside, resumed, and compared with what was published."""

import gzip
import hashlib
import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import crash
import fakes
import packed
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagemask import archives, build, files, registry, testing
from imagemask.archives import extract, journal, members, readers, sevenzip
from imagemask.archives.extract import How, begun_folder, is_unpacked, unpack, unpacked_folder
from imagemask.cli import show
from imagemask.errors import InputError, UsageError
from imagemask.types import Archive

LUNG = {"T/imagesTr/lung_001.nii.gz": b"image" * 999, "T/labelsTr/lung_001.nii.gz": b"label", "T/empty": b""}
NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0\\:", exclude_categories=("Cs",)), min_size=1, max_size=12
).filter(lambda name: name not in (".", ".."))
TREES = st.dictionaries(st.lists(NAMES, min_size=1, max_size=3).map("/".join), st.binary(max_size=600), min_size=1)
KINDS = pytest.mark.parametrize("kind", packed.KINDS)


def sha256(path):
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def unpacked(archive, known=None, **how):
    """What lies in the folder after unpacking, {name: bytes}, without our notes."""
    unpack(archive, known, How(**how))
    return tree(unpacked_folder(archive))


def tree(folder):
    found = fakes.tree(folder)
    return {name: data for name, data in found.items() if not name.startswith(f"{files.NOTES}/")}


def left(archive):
    """What lies beside an archive."""
    return sorted(path.name for path in archive.parent.iterdir() if path != archive)


def refused(archive, words, *, kind=InputError, known=None, **how):
    """It is not unpacked: the error, and nothing is left."""
    with pytest.raises(kind) as caught:
        unpack(archive, known, How(**how))
    assert words in str(caught.value), caught.value
    assert caught.value.remedy
    assert left(archive) == []
    return caught.value


pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


class TestWhole:
    """What an archive holds lies in the folder afterwards, and nothing else."""

    @KINDS
    def test_every_member_is_written(self, tmp_path, kind):
        archive = packed.pack(tmp_path / f"A{kind}", LUNG)
        assert not is_unpacked(archive)
        assert unpacked(archive) == LUNG
        assert is_unpacked(archive)
        assert left(archive) == [f"A{kind}.unpacked"]

    @given(tree_=TREES, kind=st.sampled_from(packed.WITHOUT_7Z))
    def test_any_tree_comes_out_as_it_went_in_or_is_refused(self, tree_, kind):
        with tempfile.TemporaryDirectory() as folder:
            archive = packed.pack(Path(folder) / f"A{kind}", tree_)
            kept = {name: data for name, data in tree_.items() if not any(map(files.is_junk, name.split("/")))}
            try:
                found = unpacked(archive)
            except InputError as error:
                collides = any(word in error.reason for word in ("under one name", "of one name", "holds no file"))
                assert collides or "drive letter" in error.reason or files.NOTES in error.reason  # noqa: PT017
                assert left(archive) == []
            else:
                assert found == kept

    @KINDS
    def test_modes_are_ours_whatever_the_archive_says(self, tmp_path, kind):
        archive = packed.pack(tmp_path / f"A{kind}", LUNG)
        old = os.umask(0o022)
        try:
            unpack(archive, None, How())
        finally:
            os.umask(old)
        modes = {path.is_dir(): path.stat().st_mode & 0o7777 for path in (unpacked_folder(archive) / "T").rglob("*")}
        assert modes == {True: 0o755, False: 0o644}

    @pytest.mark.parametrize("kind", [".tar", ".zip"])
    def test_folders_without_files_are_made(self, tmp_path, kind):
        archive = packed.pack(tmp_path / f"A{kind}", {**LUNG, "T/imagesTs": None})
        unpack(archive, None, How())
        assert (unpacked_folder(archive) / "T" / "imagesTs").is_dir()

    @KINDS
    def test_junk_is_left_out_and_counted_and_archives_inside_stay_packed(self, tmp_path, kind):
        extra = {"__MACOSX/T/._a": b"x", "T/imagesTr/._lung_001.nii.gz": b"x", "T/.DS_Store": b"x", "T/more.ZIP": b"PK"}
        archive = packed.pack(tmp_path / f"A{kind}", {**LUNG, **extra})
        notes = unpack(archive, None, How())
        assert tree(unpacked_folder(archive)) == {**LUNG, "T/more.ZIP": b"PK"}
        assert notes == (
            f"A{kind}: 3 files of operating systems were left out",
            f"A{kind}: archives inside it stay packed: T/more.ZIP (1)",
        )

    @KINDS
    def test_what_it_is_counts_and_not_what_it_is_called(self, tmp_path, kind):
        archive = packed.pack(tmp_path / "A.tgz", LUNG, kind=kind)
        assert unpacked(archive) == LUNG

    def test_all_has_reached_the_disk_before_the_stamp_has(self, tmp_path, monkeypatch):
        archive = packed.pack(tmp_path / "A.tar", LUNG)
        flushed = []
        monkeypatch.setattr(os, "fsync", lambda handle: flushed.append(os.fstat(handle).st_ino))
        unpack(archive, None, How())
        written = [unpacked_folder(archive) / name for name in (*LUNG, f"{files.NOTES}/stamp.json")]
        assert flushed == [path.stat().st_ino for path in written]

    def test_a_second_time_nothing_is_read(self, tmp_path, monkeypatch):
        archive = packed.pack(tmp_path / "A.tar", LUNG)
        unpack(archive, None, How())
        monkeypatch.setattr(extract, "reader_of", lambda _: pytest.fail("read"))
        assert unpack(archive, None, How()) == ()

    def test_progress_comes_to_all_bytes(self, tmp_path):
        archive = packed.pack(tmp_path / "A.tar", {"a": bytes(3 << 20), "b": b"123"})
        seen = []
        unpack(archive, None, How(progress=lambda *step: seen.append(step)))
        labels = list(dict.fromkeys(label for label, *_ in seen))
        assert labels == ["compare A.tar", "unpack A.tar"]
        for label in labels:
            steps = [(done, total) for what, done, total in seen if what == label]
            assert steps == sorted(steps)
            assert steps[-1][0] == steps[-1][1]
        assert seen[-1][1] == (3 << 20) + 3

    def test_the_stamp_tells_of_what(self, tmp_path):
        archive = packed.pack(tmp_path / "A.tar", LUNG)
        unpack(archive, None, How())
        stamp = json.loads((unpacked_folder(archive) / files.NOTES / "stamp.json").read_text())
        assert stamp == {
            "bytes": archive.stat().st_size,
            "mtime_ns": archive.stat().st_mtime_ns,
            "checksum": sha256(archive),
            "files": 3,
            "unpacked": sum(map(len, LUNG.values())),
        }

    def test_an_archive_in_the_way_of_old_tars(self, tmp_path):
        with tarfile.open(tmp_path / "A.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
            found, data = packed.info("a", b"1")
            archive.addfile(found, io.BytesIO(data))
        content = bytearray((tmp_path / "A.tar").read_bytes())
        content[257:265] = bytes(8)  # before POSIX there was no magic
        content[148:156] = b"%06o\0 " % (sum(content[:148]) + 8 * 32 + sum(content[156:512]))
        (tmp_path / "A.tar").write_bytes(content)
        assert unpacked(tmp_path / "A.tar") == {"a": b"1"}


class TestChanged:
    """An archive that is not the one that was unpacked."""

    def test_a_copy_with_another_time_is_the_same(self, tmp_path):
        archive = packed.pack(tmp_path / "A.tar", LUNG)
        unpack(archive, None, How())
        os.utime(archive, (1, 1))
        assert is_unpacked(archive)
        assert journal.read_stamp(unpacked_folder(archive)).mtime_ns != 10**9
        assert is_unpacked(archive, refresh=True)
        assert journal.read_stamp(unpacked_folder(archive)).mtime_ns == 10**9

    @pytest.mark.parametrize("other", [{"T/a": b"1"}, {**LUNG, "T/labelsTr/lung_001.nii.gz": b"LABEL"}])
    def test_another_version_is_refused_and_what_is_there_is_kept(self, tmp_path, other):
        archive = packed.pack(tmp_path / "A.tar", LUNG)
        unpack(archive, None, How())
        packed.pack(archive, other)
        os.utime(archive, (1, 1))
        with pytest.raises(InputError, match=r"A.tar.unpacked: was unpacked from another version of A.tar. Remove"):
            unpack(archive, None, How())
        assert tree(unpacked_folder(archive)) == LUNG

    def test_an_archive_that_is_gone_is_not_missed(self, tmp_path):
        archive = packed.pack(tmp_path / "A.tar", LUNG)
        unpack(archive, None, How())
        archive.unlink()
        assert archives.is_archive(archive)
        assert archives.locate(archive, (), lambda _: False) == archives.Place(unpacked_folder(archive))

    @pytest.mark.parametrize("stamp", [None, b"{", b"[]", b'{"bytes": 1}'])
    def test_a_folder_that_is_not_ours_is_never_touched(self, tmp_path, stamp):
        archive = packed.pack(tmp_path / "A.tar", LUNG)
        home = unpacked_folder(archive)
        (home / files.NOTES).mkdir(parents=True)
        (home / "thesis.docx").touch()
        if stamp is not None:
            (home / files.NOTES / "stamp.json").write_bytes(stamp)
        with pytest.raises(InputError, match="is in the way: it was not made by unpacking"):
            unpack(archive, None, How())
        assert (home / "thesis.docx").exists()

    def test_one_that_changes_while_it_is_unpacked_is_not_kept(self, tmp_path, monkeypatch):
        archive = packed.pack(tmp_path / "A.tar", LUNG)
        real = readers.Tar.extract

        def growing(self, wanted, sink):
            real(self, wanted, sink)
            with archive.open("ab") as file:
                file.write(bytes(512))

        monkeypatch.setattr(readers.Tar, "extract", growing)
        refused(archive, "A.tar: changed while it was unpacked")


class TestPublished:
    """What the publisher says of it."""

    def known(self, archive, **fields):
        told = {"bytes": archive.stat().st_size, "checksum": sha256(archive), **fields}
        return Archive(name=archive.name, **told)

    @pytest.mark.parametrize("kind", ["md5", "sha256"])
    def test_the_right_one_is_unpacked_without_a_note(self, tmp_path, kind):
        archive = packed.pack(tmp_path / "A.tar", LUNG)
        checksum = f"{kind}:{hashlib.new(kind, archive.read_bytes()).hexdigest()}"
        assert unpack(archive, self.known(archive, checksum=checksum), How()) == ()
        assert journal.read_stamp(unpacked_folder(archive)).checksum == checksum

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"bytes": 5}, "has 10240 bytes, and 5 are published"),
            ({"checksum": "md5:" + "0" * 32}, "is not the published one: its checksum is md5:"),
            ({"checksum": "sha256:" + "0" * 64}, "that of the publisher sha256:000"),
        ],
    )
    def test_another_one_is_refused_unless_that_is_allowed(self, tmp_path, fields, words):
        archive = packed.pack(tmp_path / "A.tar", {"T/a": b"1"})
        known = self.known(archive, **fields)
        error = refused(archive, words, known=known)
        assert "--allow-checksum-mismatch" in error.remedy
        (note,) = unpack(archive, known, How(allow_mismatch=True))
        assert note.startswith("A.tar: ")
        assert words in note
        assert tree(unpacked_folder(archive)) == {"T/a": b"1"}

    def test_one_of_another_size_is_not_hashed(self, tmp_path, monkeypatch):
        archive = packed.pack(tmp_path / "A.tar", LUNG)
        monkeypatch.setattr(extract, "checksum_of", lambda *_: pytest.fail("hashed"))
        refused(archive, "are published", known=self.known(archive, bytes=5))

    def test_a_tar_without_a_mark_of_its_end_is_whole_only_by_its_checksum(self, tmp_path):
        archive = packed.pack(tmp_path / "A.tar", {"a": b"1", "b": b"2"})
        archive.write_bytes(archive.read_bytes()[:2048])
        known = self.known(archive)
        refused(archive, "the last member that is whole is b: it has no mark of its end")
        assert unpacked(archive, known) == {"a": b"1", "b": b"2"}

    def test_but_not_where_the_checksum_is_another(self, tmp_path):
        archive = packed.pack(tmp_path / "A.tar", {"a": b"1", "b": b"2"})
        known = self.known(archive)
        archive.write_bytes(archive.read_bytes()[:2048])
        refused(archive, "no mark of its end", known=known, allow_mismatch=True)


HOSTILE = {
    "upwards": "../x",
    "upwards inside": "a/../../x",
    "upwards and back": "a/../x",
    "absolute": "/etc/x",
    "drive": "C:/x",
    "drive alone": "c:x",
    "backslash": "a\\..\\x",
    "notes": ".imagemask/stamp.json",
    "notes in capitals": ".IMAGEMASK/stamp.json",
    "long part": "x" * 256,
    "long path": "/".join(["x" * 200] * 6),
}


class TestRefused:
    """What no honest archive holds. All of it is refused, and nothing was written."""

    @KINDS
    @pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
    def test_names_that_may_not_be_written(self, tmp_path, kind, name):
        (tmp_path / "home").mkdir()
        archive = packed.pack(tmp_path / "home" / f"A{kind}", {"good": b"1", name: b"hostile"})
        error = refused(archive, "is refused: its member ")
        assert "Do not trust this archive" in error.remedy
        assert [path.name for path in tmp_path.iterdir()] == ["home"]

    @pytest.mark.parametrize("name", ["\ud800", "a/\udfff"])
    def test_a_name_that_is_no_text_of_any_kind(self, name):
        with pytest.raises(members.ReaderError, match="no name that a file system takes"):
            members.examine([members.Member(0, name, "file")], 1)

    def test_a_nul_that_cuts_a_name(self, tmp_path):
        archive = packed.pack(tmp_path / "A.zip", {"aXb": b"1"})
        archive.write_bytes(archive.read_bytes().replace(b"aXb", b"a\0b"))
        refused(archive, "a NUL")

    @KINDS
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("T/a", "T/A"),
            ("T/\u00e9", "T/e\u0301"),
            ("T/stra\u00dfe", "T/STRASSE"),
            ("T", "T/a"),
            ("t/a", "T"),
            ("a", "./a"),
        ],
    )
    def test_two_members_of_one_name(self, tmp_path, kind, one, other):
        archive = packed.pack(tmp_path / f"A{kind}", {one: b"1", other: b"2"})
        refused(archive, "is refused: '")

    @pytest.mark.parametrize("kind", [".tar", ".zip"])
    def test_one_name_twice(self, tmp_path, kind):
        archive = tmp_path / f"A{kind}"
        if kind == ".tar":
            packed.tar_of(archive, packed.info("a", b"1"), packed.info("a", b"2"))
        else:
            with zipfile.ZipFile(archive, "w") as file:
                file.writestr("a", b"1")
                with pytest.warns(UserWarning, match="Duplicate name"):
                    file.writestr("a", b"2")
        refused(archive, "is refused: 'a' and 'a' would be written under one name")

    @pytest.mark.parametrize(
        "kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"V", b"Z"], ids=lambda kind: kind.decode()
    )
    def test_what_is_no_file(self, tmp_path, kind):
        archive = packed.tar_of(tmp_path / "A.tar", packed.info("good", b"1"), packed.info("x", None, type=kind))
        refused(archive, "its member 'x' is a device, a pipe or the like")

    def test_a_device_in_a_zip(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "A.zip", "w") as file:
            found = zipfile.ZipInfo("tty")
            found.create_system, found.external_attr = 3, 0o020666 << 16
            file.writestr(found, b"")
        refused(tmp_path / "A.zip", "is a device")

    OUT = ("/etc/passwd", "../../x", "a/../../../x", "C:/x", "..\\x")

    @pytest.mark.parametrize("target", OUT)
    @pytest.mark.parametrize("kind", ["symlink", "hardlink", "zip"])
    def test_links_out_of_it(self, tmp_path, kind, target):
        kinds = {"symlink": tarfile.SYMTYPE, "hardlink": tarfile.LNKTYPE}
        if kind == "zip":
            archive = packed.zip_link(tmp_path / "A.zip", "T/x", target, good=b"1")
        else:
            link = packed.info("T/x", None, type=kinds[kind], linkname=target)
            archive = packed.tar_of(tmp_path / "A.tar", packed.info("good", b"1"), link)
        refused(archive, "its member 'T/x' is a link ")

    def test_a_file_behind_a_link_out_of_it(self, tmp_path):
        link = packed.info("T/x", None, type=tarfile.SYMTYPE, linkname="/tmp")
        archive = packed.tar_of(tmp_path / "A.tar", link, packed.info("T/x/evil", b"1"))
        refused(archive, "leads out of it, to '/tmp'")

    def test_a_hard_link_to_what_comes_later(self, tmp_path):
        link = packed.info("x", None, type=tarfile.LNKTYPE, linkname="good")
        archive = packed.tar_of(tmp_path / "A.tar", link, packed.info("good", b"1"))
        refused(archive, "is a link to 'good', which is no file before it")

    def test_symbolic_links_inside_are_left_out_and_named(self, tmp_path):
        link = packed.info("T/sub/x", None, type=tarfile.SYMTYPE, linkname="../good")
        archive = packed.tar_of(tmp_path / "A.tar", packed.info("T/good", b"1"), link)
        assert unpack(archive, None, How()) == ("A.tar: symbolic links inside it were left out: T/sub/x (1)",)
        assert tree(unpacked_folder(archive)) == {"T/good": b"1"}
        archive = packed.zip_link(tmp_path / "A.zip", "T/x", "good", good=b"1")
        assert unpacked(archive) == {"good": b"1"}

    def test_hard_links_inside_become_copies(self, tmp_path):
        links = [
            packed.info(name, None, type=tarfile.LNKTYPE, linkname=target)
            for name, target in (("T/b", "T/a"), ("c", "./T/b"), ("T/none", "T/e"))
        ]
        archive = packed.tar_of(tmp_path / "A.tar", packed.info("T/a", b"12"), packed.info("T/e", b""), *links)
        assert unpacked(archive) == {"T/a": b"12", "T/b": b"12", "c": b"12", "T/e": b"", "T/none": b""}
        assert (unpacked_folder(archive) / "c").stat().st_nlink == 1


class TestBombs:
    """Limits, held by what is counted."""

    @KINDS
    def test_too_many_members(self, tmp_path, kind, monkeypatch):
        monkeypatch.setattr(members, "MOST_MEMBERS", 2)
        refused(packed.pack(tmp_path / f"A{kind}", LUNG), "it holds more than 2 members")

    @KINDS
    def test_too_many_bytes(self, tmp_path, kind, monkeypatch):
        monkeypatch.setattr(members, "MOST_BYTES", 4000)
        refused(packed.pack(tmp_path / f"A{kind}", LUNG), "it would unpack to more than 4.0 kB")

    @pytest.mark.parametrize("kind", [".tar.gz", ".zip", ".7z"])
    def test_too_high_a_ratio(self, tmp_path, kind, monkeypatch):
        monkeypatch.setattr(members, "RATIO_FROM", 1 << 20)
        monkeypatch.setattr(members, "HIGHEST_RATIO", 100)
        refused(
            packed.pack(tmp_path / f"A{kind}", {"zeros": bytes(4 << 20)}), "would unpack to 4.2 MB or more, 100 times"
        )

    @KINDS
    def test_a_disk_that_is_too_small(self, tmp_path, kind, monkeypatch):
        archive = packed.pack(tmp_path / f"A{kind}", LUNG)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
        with pytest.raises(
            InputError, match=r"needs 5.0 kB to be unpacked, and 1 bytes are free on its disk. Make room"
        ):
            unpack(archive, None, How())
        monkeypatch.undo()
        assert unpacked(archive) == LUNG

    def test_a_zip_whose_members_share_their_bytes(self, tmp_path):
        archive = packed.pack(tmp_path / "A.zip", {"a": random.Random(1).randbytes(5000)})
        with zipfile.ZipFile(archive, "a") as file:
            file.filelist *= 9
            file._didModify = True
        refused(archive, "its members overlap, as in a bomb")

    def test_a_header_is_not_believed_how_long_it_is(self, tmp_path):
        header = tarfile.TarInfo("long name")
        header.type, header.size = tarfile.GNUTYPE_LONGNAME, 8 << 30
        (tmp_path / "A.tar.gz").write_bytes(gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20)))
        refused(tmp_path / "A.tar.gz", "a header of 8589934592 bytes")

    def test_a_member_that_is_longer_than_told_is_cut_off_and_refused(self, tmp_path):
        archive = packed.pack(tmp_path / "A.zip", {"first": b"1", "a": b"x" * 3000})
        with zipfile.ZipFile(archive) as file:
            size = file.getinfo("a").file_size.to_bytes(4, "little")
        archive.write_bytes(archive.read_bytes().replace(size, (2000).to_bytes(4, "little")))
        refused(archive, "the last member that is whole is first: Bad CRC-32 for file 'a'")

    def test_the_sink_counts_for_itself(self, tmp_path):
        (tmp_path / files.NOTES).mkdir()
        sink = journal.Writer(tmp_path, journal.Journal(tmp_path), "unpack", journal.silent)
        sink.begin(members.Member(0, "a", "file", 2, path="a"))
        sink.feed(b"1")
        with pytest.raises(members.DamagedError, match="longer than the archive says"):
            sink.feed(b"23")
        with pytest.raises(members.DamagedError, match="'a' is shorter than the archive says"):
            sink.begin(members.Member(1, "b", "file", 2, path="b"))
        sink.close()


class TestDamaged:
    """Cut short, or changed: an error with the last good member, and nothing is left."""

    def archive(self, folder, kind):
        chance = random.Random(3)
        return packed.pack(folder / f"A{kind}", {f"T/{name}": chance.randbytes(3000) for name in "abcdef"})

    @pytest.mark.parametrize("kind", packed.KINDS)
    @pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
    def test_cut_short(self, tmp_path, kind, share):
        archive = self.archive(tmp_path, kind)
        whole = archive.read_bytes()
        end = 6 * 3584 if kind == ".tar" else len(whole)  # and then zeros, which nobody misses
        archive.write_bytes(whole[: int(end * share)])
        error = refused(archive, "fetch it again")
        assert f"{archive}: " in error.reason
        if share > 0.5 and kind in (".tar", ".zip"):
            assert "the last member that is whole is T/" in error.reason
            assert error.reason.split("whole is ")[1][:3] in {"T/b", "T/c", "T/d", "T/e"}

    def test_a_member_is_changed(self, tmp_path):
        archive = self.archive(tmp_path, ".zip")
        content = bytearray(archive.read_bytes())
        content[len(content) * 6 // 10] ^= 1
        archive.write_bytes(content)
        error = refused(archive, "is damaged, the last member that is whole is T/c: ")
        assert "fetch it again" in error.remedy

    def test_a_member_of_a_7z_is_changed(self, tmp_path):
        archive = self.archive(tmp_path, ".7z")
        content = bytearray(archive.read_bytes())
        content[2000] ^= 255
        archive.write_bytes(content)
        refused(archive, "A.7z: is damaged, ")

    def test_a_header_in_the_middle_of_a_tar_is_changed(self, tmp_path):
        """tarfile takes it for the end, and would leave out what follows."""
        archive = self.archive(tmp_path, ".tar")
        content = bytearray(archive.read_bytes())
        content[3 * 3584 + 5] ^= 1
        archive.write_bytes(content)
        with tarfile.open(archive) as file:
            assert len(file.getnames()) == 3
        refused(archive, "there is no header where one should be, at byte 10752")

    def test_the_checksum_of_gzip_is_looked_at(self, tmp_path):
        archive = self.archive(tmp_path, ".tar.gz")
        content = bytearray(archive.read_bytes())
        content[-6] ^= 1
        archive.write_bytes(content)
        refused(archive, "CRC check failed")

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"", "is empty"),
            (b"<!DOCTYPE html>", "begins with b'<!DOCTYP', as no archive does: often a web page"),
            (bytes(1024), "holds no file"),
            (b"PK\x05\x06" + bytes(18), "holds no file"),
        ],
    )
    def test_no_archive_at_all(self, tmp_path, content, words):
        (tmp_path / "A.tar").write_bytes(content)
        refused(tmp_path / "A.tar", f"A.tar: {words}")

    @given(
        kind=st.sampled_from(packed.WITHOUT_7Z),
        changes=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=4),
        share=st.floats(0.1, 1),
    )
    def test_any_damage_is_an_error_or_does_no_harm(self, kind, changes, share):
        with tempfile.TemporaryDirectory() as folder:
            archive = self.archive(Path(folder), kind)
            content = bytearray(archive.read_bytes())
            for place, byte in changes:
                content[int(place * len(content))] = byte
            archive.write_bytes(content[: int(share * len(content))])
            try:
                unpack(archive, None, How())
            except InputError:
                assert left(archive) == []
            else:
                assert left(archive) == [f"A{kind}.unpacked"]

    @settings(max_examples=40)
    @given(place=st.floats(0, 0.999), byte=st.integers(0, 255))
    def test_any_damage_of_a_7z(self, place, byte):
        pytest.importorskip("py7zr")
        with tempfile.TemporaryDirectory() as folder:
            archive = self.archive(Path(folder), ".7z")
            whole = archive.read_bytes()
            content = bytearray(whole)
            content[int(place * len(content))] = byte
            archive.write_bytes(content)
            try:
                found = unpacked(archive)
            except InputError:
                assert left(archive) == []
            else:
                assert all(len(data) == 3000 for data in found.values())

    def test_encrypted_members_are_not_guessed(self, tmp_path):
        archive = packed.pack(tmp_path / "A.zip", {"a": b"1"})
        content = archive.read_bytes()
        at = content.index(b"PK\x01\x02") + 8
        archive.write_bytes(content[:at] + b"\x01" + content[at + 1 :])
        refused(archive, "A.zip: is encrypted, its member 'a' at least. Unpack it yourself")

    def test_a_way_of_packing_that_is_not_read(self, tmp_path):
        archive = packed.pack(tmp_path / "A.zip", {"a": b"1" * 99})
        content = archive.read_bytes()
        at = content.index(b"PK\x01\x02") + 10
        archive.write_bytes(content[:at] + b"\x09\x00" + content[at + 2 :])  # deflate64
        refused(archive, "is packed in a way that is not read")


class TestSevenZip:
    """py7zr decodes; what it would do with names and bombs is not left to it."""

    def test_without_it_the_remedy_is_the_extra(self, tmp_path, monkeypatch):
        (tmp_path / "A.7z").write_bytes(b"7z\xbc\xaf\x27\x1c" + bytes(26))
        monkeypatch.setitem(sys.modules, "py7zr", None)
        error = refused(tmp_path / "A.7z", ".7z archives need py7zr. pip install 'imagemask[7z]'", kind=UsageError)
        assert error.exit_code == 2

    def test_an_encrypted_one(self, tmp_path):
        py7zr = pytest.importorskip("py7zr")
        with py7zr.SevenZipFile(tmp_path / "A.7z", "w", password="secret") as file:
            file.writestr(b"1", "a")
        refused(tmp_path / "A.7z", "A.7z: is encrypted. Unpack it yourself")

    @pytest.mark.parametrize("method", ["FILTER_ZSTD", "FILTER_DEFLATE"])
    def test_methods_that_fill_the_memory(self, tmp_path, method):
        py7zr = pytest.importorskip("py7zr")
        with py7zr.SevenZipFile(tmp_path / "A.7z", "w", filters=[{"id": getattr(py7zr, method), "level": 3}]) as file:
            file.writestr(b"1" * 999, "a")
        refused(tmp_path / "A.7z", "which is not read. Unpack it yourself")

    @pytest.mark.parametrize("method", ["FILTER_LZMA", "FILTER_BZIP2", "FILTER_COPY"])
    def test_methods_that_do_not(self, tmp_path, method):
        py7zr = pytest.importorskip("py7zr")
        with py7zr.SevenZipFile(tmp_path / "A.7z", "w", filters=[{"id": getattr(py7zr, method)}]) as file:
            file.writestr(b"1" * 999, "T/a")
        assert unpacked(tmp_path / "A.7z") == {"T/a": b"1" * 999}

    def test_links_are_left_out(self, tmp_path):
        py7zr = pytest.importorskip("py7zr")
        (tmp_path / "real").write_bytes(b"1")
        (tmp_path / "link").symlink_to("/etc/passwd")
        home = tmp_path / "home"
        home.mkdir()
        with py7zr.SevenZipFile(home / "A.7z", "w") as file:
            file.write(tmp_path / "real", "real")
            file.write(tmp_path / "link", "link")
        assert unpack(home / "A.7z", None, How()) == ("A.7z: symbolic links inside it were left out: link (1)",)
        assert tree(unpacked_folder(home / "A.7z")) == {"real": b"1"}

    def test_nothing_wanted_opens_nothing(self, tmp_path):
        pytest.importorskip("py7zr")
        sevenzip.SevenZip(tmp_path / "none").extract({}, None)


CUTS = {f"T/{name}": random.Random(name).randbytes(2000) for name in "abcdef"}


class TestResumed:
    """Stopped anywhere, and run again."""

    def stop_after(self, monkeypatch, number, error=KeyboardInterrupt):
        """Let the ``number``-th member be the last that is written."""
        real, written = journal.Journal.add, []

        def add(self, member, crc):
            real(self, member, crc)
            written.append(member.path)
            if len(written) == number:
                raise error

        monkeypatch.setattr(journal.Journal, "add", add)
        return written

    def stopped(self, archive, monkeypatch, number):
        """A run that is stopped after so many members."""
        with monkeypatch.context() as patch:
            self.stop_after(patch, number)
            with pytest.raises(KeyboardInterrupt):
                unpack(archive, None, How())

    @KINDS
    def test_what_is_whole_is_not_written_again(self, tmp_path, kind, monkeypatch):
        archive = packed.pack(tmp_path / f"A{kind}", CUTS)
        self.stopped(archive, monkeypatch, 3)
        assert left(archive) == [f".A{kind}.unpacking"]
        written = self.stop_after(monkeypatch, 99)
        monkeypatch.setattr(extract, "checksum_of", lambda *_: pytest.fail("hashed again"))
        assert unpacked(archive) == CUTS
        assert written == ["T/d", "T/e", "T/f"]

    @pytest.mark.parametrize("damage", ["shorter", "other", "gone", "journal cut", "journal gone"])
    def test_what_only_seems_whole_is_written_again(self, tmp_path, damage, monkeypatch):
        archive = packed.pack(tmp_path / "A.tar", CUTS)
        self.stopped(archive, monkeypatch, 3)
        begun = begun_folder(archive)
        one, book = begun / "T" / "b", begun / files.NOTES / "journal.jsonl"
        {
            "shorter": lambda: one.write_bytes(b""),
            "other": lambda: one.write_bytes(bytes(2000)),
            "gone": one.unlink,
            "journal cut": lambda: book.write_bytes(book.read_bytes()[:-30]),
            "journal gone": book.unlink,
        }[damage]()
        assert unpacked(archive) == CUTS

    def test_what_was_begun_of_another_archive_is_removed(self, tmp_path, monkeypatch):
        archive = packed.pack(tmp_path / "A.tar", {**CUTS, "T/0": b"0", "U/0": b"0"})
        self.stopped(archive, monkeypatch, 8)
        packed.pack(archive, CUTS)
        os.utime(archive, (1, 1))
        assert unpacked(archive) == CUTS

    @pytest.mark.parametrize("moment", ["before the journal goes", "before the rename"])
    def test_stopped_when_all_is_written(self, tmp_path, moment, monkeypatch):
        archive = packed.pack(tmp_path / "A.tar", CUTS)

        real = journal.write_stamp

        def stop(*given, **_):
            if moment == "before the journal goes":
                real(*given)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(
                *((extract, "write_stamp") if moment == "before the journal goes" else (Path, "rename")), stop
            )
            with pytest.raises(KeyboardInterrupt):
                unpack(archive, None, How())
        monkeypatch.setattr(extract, "Writer", lambda *_: pytest.fail("written again"))
        assert unpacked(archive) == CUTS
        assert sorted(path.name for path in (unpacked_folder(archive) / files.NOTES).iterdir()) == [
            ".lock",
            "stamp.json",
        ]

    def test_two_runs_are_kept_apart(self, tmp_path):
        archive = packed.pack(tmp_path / "A.tar", LUNG)
        notes = begun_folder(archive) / files.NOTES
        notes.mkdir(parents=True)
        with files.lock(notes / ".lock"), pytest.raises(UsageError, match="another run is working in this folder"):
            unpack(archive, None, How())
        assert unpacked(archive) == LUNG

    def test_a_run_that_waited_for_nothing_finds_it_done(self, tmp_path, monkeypatch):
        archive = packed.pack(tmp_path / "A.tar", LUNG)
        real, asked = extract.reader_of, []

        def reader_of(path):
            if not asked:  # another run does it all, just after this one has looked
                asked.append(1)
                unpack(path, None, How())
            return real(path)

        monkeypatch.setattr(extract, "reader_of", reader_of)
        assert unpack(archive, None, How()) == ()
        assert left(archive) == ["A.tar.unpacked"]

    @pytest.mark.slow
    @pytest.mark.parametrize("kind", [".tar", ".tar.gz", ".zip", ".7z"])
    def test_killed_at_a_rename_and_run_again(self, tmp_path, kind):
        chance = random.Random(kind)
        content = {f"T/{number % 3}/{number}": chance.randbytes(chance.randrange(4000)) for number in range(9)}
        packed.pack(tmp_path / f"A{kind}", content)
        total = killed(tmp_path / "whole", tmp_path / f"A{kind}", at=0)
        assert total > 9
        expected = fakes.tree(tmp_path / "whole")
        for at in range(1, total + 1):
            here = tmp_path / str(at)
            killed(here, tmp_path / f"A{kind}", at=at)
            killed(here, tmp_path / f"A{kind}", at=0)
            assert fakes.tree(here) == expected, f"after a kill at rename {at}"


def killed(here, archive, *, at):
    """Unpack a copy of ``archive`` in a process of its own, killed at a rename; the number of renames."""
    if not here.exists():
        here.mkdir()
        shutil.copy2(archive, here / archive.name)
    code = """import sys; from imagemask.archives.extract import How, unpack; from pathlib import Path
unpack(Path(sys.argv[1]), None, How())"""
    command = [sys.executable, "-c", code, str(here / archive.name)]
    done, renames = crash.start(crash.hook(here.parent / "hooks"), here, command, at=at)
    assert done.returncode == (-signal.SIGKILL if at else 0), done.stderr
    return renames


class TestDisk:
    """The disk is full, or read-only."""

    def test_a_full_disk_keeps_what_is_done(self, tmp_path):
        archive = packed.pack(tmp_path / "A.tar", {"a": bytes(100), "b": bytes(9000), "c": b"1"})
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
        try:
            with pytest.raises(InputError, match="b: cannot be written: File too large. The disk .* make room and run"):
                unpack(archive, None, How())
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert (begun_folder(archive) / "a").exists()
        assert unpacked(archive) == {"a": bytes(100), "b": bytes(9000), "c": b"1"}

    def test_a_folder_that_cannot_be_written(self, tmp_path, monkeypatch):
        archive = packed.pack(tmp_path / "A.tar", LUNG)

        def refuse(path, *_args, **_kwargs):
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(Path, "mkdir", refuse)
        refused(archive, "cannot be written: Permission denied. Copy the archive to a folder that you can write to")

    def test_an_archive_that_cannot_be_read(self, tmp_path, monkeypatch):
        archive = packed.pack(tmp_path / "A.tar", LUNG)

        def refuse(path, *_args, **_kwargs):
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(Path, "open", refuse)
        with pytest.raises(InputError, match=r"A.tar: cannot be read: Permission denied. Check its permissions"):
            unpack(archive, None, How())

    def test_a_disk_that_fails_is_not_a_damaged_archive(self, tmp_path, monkeypatch):
        archive = packed.pack(tmp_path / "A.tar", LUNG)

        def fail(*_):
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(readers._Stream, "read", fail)
        refused(archive, "A.tar: cannot be read: Input/output error")


KNOWN = (Archive(name="Task.tar"), Archive(name="more.zip"))


class TestLocate:
    """Which folder is read, and what is unpacked before."""

    def never(self, _raw):
        return False

    def test_an_archive_is_read_where_it_is_unpacked_to(self, tmp_path):
        archive = packed.pack(tmp_path / "TASK.tar", LUNG)
        place = archives.locate(archive, KNOWN, self.never)
        assert place == archives.Place(tmp_path / "TASK.tar.unpacked", ((archive, KNOWN[0]),))
        archives.unpack_all(place, How())
        assert archives.locate(archive, KNOWN, self.never) == archives.Place(place.folder)

    def test_one_that_nobody_knows_is_noted(self, tmp_path):
        archive = packed.pack(tmp_path / "copy.tar", LUNG)
        place = archives.locate(archive, KNOWN, self.never)
        assert place.packed == ((archive, None),)
        assert place.notes == (
            "copy.tar is none of the archives that are known of this source: nothing says whether it is whole",
        )
        assert archives.locate(archive, (), self.never).notes == ()

    @pytest.mark.parametrize("name", ["A.tar", "A.TAR.GZ", "A.tgz", "A.zip", "A.7z"])
    def test_an_archive_is_known_by_its_name(self, tmp_path, name):
        assert not archives.is_archive(tmp_path / name)
        (tmp_path / name).touch()
        assert archives.is_archive(tmp_path / name)

    @pytest.mark.parametrize("name", ["A.nii.gz", "A", "A.tar.txt", "tar"])
    def test_other_files_are_none(self, tmp_path, name):
        (tmp_path / name).touch()
        assert not archives.is_archive(tmp_path / name)
        (tmp_path / "folder.tar").mkdir()
        assert not archives.is_archive(tmp_path / "folder.tar")

    def test_a_folder_s_known_archives_are_unpacked_in_place(self, tmp_path):
        first = packed.pack(tmp_path / "task.tar", LUNG)
        (tmp_path / "sub").mkdir()
        second = packed.pack(tmp_path / "sub" / "more.zip", LUNG)
        packed.pack(tmp_path / "other.zip", LUNG)
        (tmp_path / "sub" / "deep").mkdir()
        packed.pack(tmp_path / "sub" / "deep" / "Task.tar", LUNG)
        place = archives.locate(tmp_path, KNOWN, self.never)
        assert place.folder == tmp_path
        assert sorted(place.packed) == sorted([(first, KNOWN[0]), (second, KNOWN[1])])

    def test_an_archive_inside_what_is_unpacked_is_not_looked_at(self, tmp_path):
        packed.pack(tmp_path / "more.zip", {"Task.tar": b"1"})
        archives.unpack_all(archives.locate(tmp_path, KNOWN, self.never), How())
        assert archives.locate(tmp_path, KNOWN, self.never).packed == ()

    def test_what_a_person_has_unpacked_is_not_unpacked_again(self, tmp_path):
        packed.pack(tmp_path / "Task.tar", LUNG)
        place = archives.locate(tmp_path, KNOWN, lambda raw: raw == tmp_path)
        assert place == archives.Place(tmp_path, notes=("the folder is read as it is: Task.tar stays packed",))

    @pytest.mark.parametrize("begun", [".more.zip.unpacking", "more.zip.unpacked"])
    def test_what_was_begun_goes_on_although_there_are_cases_by_now(self, tmp_path, begun):
        for name in ("Task.tar", "more.zip"):
            packed.pack(tmp_path / name, LUNG)
        if begun.endswith("unpacked"):
            unpack(tmp_path / "more.zip", None, How())
        else:
            (tmp_path / begun).mkdir()
        packed_still = archives.locate(tmp_path, KNOWN, lambda _: True).packed
        assert (tmp_path / "Task.tar", KNOWN[0]) in packed_still

    def test_a_dry_run_only_looks(self, tmp_path):
        archive = packed.pack(tmp_path / "Task.tar", LUNG)
        place = archives.locate(archive, KNOWN, self.never)
        with pytest.raises(UsageError, match=r"Task.tar: is still packed, 3 files of 5.0 kB in all, and a dry run"):
            archives.unpack_all(place, How(look_only=True))
        assert left(archive) == []
        archive.write_bytes(archive.read_bytes()[:3000])
        with pytest.raises(InputError, match="is damaged"):
            archives.unpack_all(place, How(look_only=True))


class TestFolders:
    """What lists a raw folder sees what was unpacked, and not what is being unpacked."""

    def test_walk(self, tmp_path):
        archive = packed.pack(tmp_path / "A.tar", LUNG)
        unpack(archive, None, How())
        (tmp_path / ".B.tar.unpacking" / "T").mkdir(parents=True)
        (tmp_path / ".B.tar.unpacking" / "T" / "half.nii.gz").touch()
        listing = files.walk(tmp_path)
        found = {path.relative_to(tmp_path).as_posix() for path in listing.files}
        assert found == {"A.tar", *(f"A.tar.unpacked/{name}" for name in LUNG)}
        assert (listing.junk, listing.links, listing.unreadable) == ((), (), ())

    @pytest.mark.parametrize("place", ["A.tar", "sub/A.tar"])
    def test_source_root(self, tmp_path, place):
        (tmp_path / "sub").mkdir()
        (tmp_path / "sub" / ".B.tar.unpacking" / "imagesTr").mkdir(parents=True)
        below = "deeper/" if place == "A.tar" else ""
        archive = packed.pack(tmp_path / place, {f"{below}{name}": data for name, data in LUNG.items()})
        unpack(archive, None, How())
        root = files.source_root(tmp_path, ["imagesTr"], accepted="x")
        assert root == unpacked_folder(archive) / below / "T"

    def test_an_error_does_not_list_what_is_ours(self, tmp_path):
        archive = packed.pack(tmp_path / "A.tar", {"x/y": b"1"})
        unpack(archive, None, How())
        reason = files.unknown_layout(tmp_path, accepted="x").reason
        assert files.NOTES not in reason
        assert "A.tar.unpacked/x/" in reason


@pytest.mark.parametrize("kind", packed.KINDS)
@pytest.mark.parametrize("as_", ["file", "folder"])
def test_a_dataset_of_an_archive_is_that_of_its_folder(tmp_path, kind, as_, monkeypatch):
    fakes.install(monkeypatch, archives=(Archive(name=f"A{kind}"),))
    raw = fakes.raw_folder(tmp_path)
    fakes.run(raw, tmp_path / "plain")
    home = tmp_path / "packed"
    home.mkdir()
    archive = packed.pack_folder(home / f"A{kind}", raw)
    if as_ == "folder":  # the fake looks at the top of its folder only
        raw_given, read = home, home / f"A{kind}.unpacked"
        real = registry.load(fakes.NAME).discover
        fake = fakes.Fake()
        fake.discover = lambda folder, options: real(read, options)
        fakes.install(monkeypatch, fake, archives=(Archive(name=f"A{kind}"),))
    else:
        raw_given = archive
    job = build.prepare(fakes.NAME, raw=raw_given, out=tmp_path / "out", recipe={}, options={})
    built = build.run(job, build.How(workers=1), started=lambda _: None, progress=lambda _: None)
    assert built.merged.counts.built == 3
    pictures = {name: data for name, data in fakes.tree(tmp_path / "plain").items() if name.endswith(".png")}
    assert pictures == {name: data for name, data in fakes.tree(tmp_path / "out").items() if name.endswith(".png")}


def test_a_dataset_is_called_as_what_was_packed(tmp_path):
    raw = testing.phantom("folder", tmp_path / "raw", patients=2, size=32, slices=6)
    for kind in packed.WITHOUT_7Z:
        archive = packed.pack_folder(tmp_path / f"My scans{kind}", raw)
        job = build.prepare("folder", raw=archive, out=None, recipe={}, options={})
        assert (job.source.name, job.raw) == ("my-scans", unpacked_folder(archive))


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_bars_are_drawn_on_a_terminal_only(tmp_path, monkeypatch):
    archive = packed.pack(tmp_path / "A.tar", LUNG)
    for stream, drawn in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        bars = show.Bars()
        unpack(archive, None, How(progress=bars.step))
        bars.finish()
        shutil.rmtree(unpacked_folder(archive))
        for label in ("compare A.tar", "unpack A.tar"):
            assert (label in stream.getvalue()) == drawn
        assert ("100%" in stream.getvalue()) == drawn


def test_what_would_be_refused_afterwards_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    fakes.install(monkeypatch)
    archive = packed.pack_folder(tmp_path / "A.tar", fakes.raw_folder(tmp_path))
    with pytest.raises(UsageError, match="--stretch without --size"):
        build.prepare(fakes.NAME, raw=archive, out=tmp_path / "out", recipe={"stretch": True}, options={})
    with pytest.raises(UsageError, match="lie inside one another"):
        build.prepare(fakes.NAME, raw=archive, out=unpacked_folder(archive) / "out", recipe={}, options={})
    assert not unpacked_folder(archive).exists()
