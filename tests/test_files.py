"""Files on disk: whole or not at all, locked, listed without surprises."""

import contextlib
import errno
import hashlib
import os
import resource
import socket
import tempfile
from pathlib import Path

import pytest
from fifos import fifo
from hypothesis import given
from hypothesis import strategies as st

from imagemask import files
from imagemask.errors import InputError, UsageError

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1).filter(
    lambda name: name not in (".", "..") and len(name.encode()) < 200
)


@pytest.fixture
def root(tmp_path):
    return tmp_path / "root"


def tree(root, *paths):
    """Empty files below ``root``; a path that ends in / is a folder."""
    for path in paths:
        target = root / path
        (target if path.endswith("/") else target.parent).mkdir(parents=True, exist_ok=True)
        if not path.endswith("/"):
            target.touch()
    return root


def names(root, paths):
    return [path.relative_to(root).as_posix() for path in paths]


@contextlib.contextmanager
def largest_file(size):
    """No file of this process may grow beyond ``size`` bytes: what a full disk is like."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@given(name=NAMES, old=st.none() | st.binary(), new=st.binary(max_size=4096))
def test_a_write_replaces_the_whole_file_and_leaves_nothing_else(name, old, new):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        if old is not None:
            path.write_bytes(old)
        files.write_atomic(path, new)
        assert path.read_bytes() == new
        assert [one.name for one in Path(folder).iterdir()] == [name]


def test_what_is_to_last_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    path, synced = tmp_path / "a", []
    path.write_bytes(b"old")
    fsync = os.fsync

    def watched(descriptor):
        synced.append((os.fstat(descriptor).st_ino, os.fstat(descriptor).st_size, path.read_bytes()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    files.write_atomic(path, b"quick")
    assert not synced
    files.write_atomic(path, b"to last", lasting=True)
    assert synced == [(path.stat().st_ino, len(b"to last"), b"quick")]
    assert names(tmp_path, tmp_path.iterdir()) == ["a"]


def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with (
        largest_file(10_000),
        pytest.raises(InputError, match=r"a: cannot be written: File too large. The disk .* is full"),
    ):
        files.write_atomic(path, bytes(20_000))
    assert path.read_bytes() == b"old"
    assert names(tmp_path, tmp_path.iterdir()) == ["a"]


def test_a_folder_that_is_not_there_is_an_error_with_its_name(tmp_path):
    with pytest.raises(InputError, match=r"b: cannot be written: No such file or directory. Choose a folder"):
        files.write_atomic(tmp_path / "a" / "b", b"")


def test_a_temporary_file_that_cannot_be_removed_does_not_hide_the_error(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "write", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(InputError, match="Read-only file system"):
        files.write_atomic(tmp_path / "a", b"a")


@given(name=NAMES)
def test_a_temporary_name_is_hidden_fixed_and_beside_the_file(name):
    temporary = files.temporary_name(Path("folder") / name)
    assert temporary.parent == Path("folder")
    assert temporary.name.startswith(".")
    assert temporary != Path("folder") / name
    assert temporary == files.temporary_name(Path("folder") / name)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_no_room_is_told_from_no_permission(number):
    assert "make room" in files.output_error(Path("a"), OSError(number, "x")).remedy
    assert "can write to" in files.output_error(Path("a"), OSError(errno.EACCES, "x")).remedy


def test_an_error_without_a_number_is_still_told():
    assert "it broke" in str(files.output_error(Path("a"), OSError("it broke")))


def test_a_folder_is_made_with_its_parents_and_may_be_there(tmp_path):
    for _ in range(2):
        files.make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file/b: cannot be written"):
        files.make_folder(tmp_path / "file" / "b")


@given(data=st.binary(max_size=10_000), piece=st.integers(1, 10_001))
def test_the_hash_is_that_of_the_bytes_in_whatever_pieces(data, piece):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "_PIECE", piece)
        path = Path(folder) / "a"
        path.write_bytes(data)
        assert files.sha256(path) == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(("held", "asked", "free"), [(0, 0, False), (0, 1, False), (1, 0, False), (1, 1, True)])
def test_only_shared_locks_are_held_together(tmp_path, held, asked, free):
    path = tmp_path / ".lock"
    with files.lock(path, shared=bool(held)):
        refused = contextlib.nullcontext() if free else pytest.raises(UsageError, match="another run is working")
        with refused, files.lock(path, shared=bool(asked)):
            pass


def test_a_lock_is_free_again_after_an_error(tmp_path):
    with contextlib.suppress(KeyError), files.lock(tmp_path / ".lock"):
        raise KeyError
    with files.lock(tmp_path / ".lock"), pytest.raises(UsageError), files.lock(tmp_path / ".lock"):
        pass


def test_a_lock_that_is_free_need_not_be_waited_for(tmp_path):
    with files.lock(tmp_path / ".lock", wait=True):
        assert (tmp_path / ".lock").is_file()


def test_a_lock_that_cannot_be_made_is_an_error(tmp_path):
    with pytest.raises(InputError, match="cannot be written"), files.lock(tmp_path / "a" / ".lock"):
        pass


@given(st.lists(NAMES, max_size=6), st.lists(NAMES, max_size=3))
def test_every_file_is_listed_once_and_as_one_thing(names, folders):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in folders:
            (root / f"d{name}").mkdir(exist_ok=True)
        places = [root, *(root / f"d{name}" for name in folders)]
        made = {places[number % len(places)] / f"f{name}" for number, name in enumerate(names)}
        for path in made:
            path.touch()
        listing = files.walk(root)
        assert listing.files == tuple(sorted(made))
        assert listing == files.Listing(listing.files, (), (), ())


def test_junk_is_counted_and_not_entered(root):
    tree(
        root, "a/b.dcm", "a/._b.dcm", ".DS_Store", "__MACOSX/a/b.dcm", "@eaDir/x", "Thumbs.db", "desktop.ini", ".hidden"
    )
    listing = files.walk(root)
    assert names(root, listing.files) == [".hidden", "a/b.dcm"]
    assert names(root, listing.junk) == [".DS_Store", "@eaDir", "Thumbs.db", "__MACOSX", "a/._b.dcm", "desktop.ini"]


def test_links_are_followed_to_files_inside_only(root, tmp_path):
    tree(root, "a/file", "outside/")
    tree(tmp_path, "elsewhere/file")
    for name, target in {
        "good": root / "a" / "file",
        "out": tmp_path / "elsewhere" / "file",
        "nowhere": root / "none",
        "loop": root / "loop",
        "folder": root / "a",
        "up": root,
    }.items():
        (root / name).symlink_to(target)
    listing = files.walk(root)
    assert names(root, listing.files) == ["a/file", "good"]
    assert names(root, listing.links) == ["folder", "loop", "nowhere", "out", "up"]


def test_pipes_and_sockets_are_no_files_to_look_at(root, monkeypatch):
    tree(root, "a/file")
    monkeypatch.chdir(root)  # the path of a socket has 107 bytes at most
    with fifo(root / "a" / "pipe"), socket.socket(socket.AF_UNIX) as one:
        one.bind("socket")
        (root / "to-a-pipe").symlink_to("a/pipe")
        listing = files.walk(root)
        assert names(root, listing.files) == ["a/file"]
        assert names(root, listing.special) == ["a/pipe", "socket"]
        assert names(root, listing.links) == ["to-a-pipe"]
        assert [files.is_special(root / name) for name in ("a/pipe", "socket", "to-a-pipe")] == [True] * 3
        assert not any(files.is_special(root / name) for name in ("a", "a/file", "none"))


def test_a_folder_that_cannot_be_listed_is_reported(root, monkeypatch):
    tree(root, "a/file", "b/file")
    listed = os.scandir

    def scandir(path):
        if Path(path).name == "a":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    listing = files.walk(root)
    assert names(root, listing.unreadable) == ["a"]
    assert names(root, listing.files) == ["b/file"]


@pytest.mark.parametrize("place", ["imagesTr/", "Task06/imagesTr/", "x/Task06/imagesTr/"])
def test_a_source_is_found_down_to_two_levels(root, place):
    tree(root, place, "__MACOSX/imagesTr/")
    assert files.source_root(root, ["imagesTr"], accepted="x") == (root / place).parent


def test_a_source_is_not_looked_for_deeper_nor_behind_links(root, tmp_path):
    tree(root, "a/b/c/imagesTr/")
    tree(tmp_path, "real/imagesTr/")
    (root / "link").symlink_to(tmp_path / "real")
    with pytest.raises(InputError, match=r"not recognised. It holds: a/, link/, a/b/. Accepted: this way"):
        files.source_root(root, ["imagesTr"], accepted="this way")


def test_two_sources_are_an_error_that_names_both(root):
    tree(root, "a/imagesTr/", "b/labelsTr/")
    with pytest.raises(InputError, match=r"2 copies of the source: .*a, .*b"):
        files.source_root(root, ["imagesTr", "labelsTr"], accepted="x")


def test_a_root_that_is_no_folder_is_told_from_one_that_is_missing(root):
    with pytest.raises(InputError, match="is not there"):
        files.source_root(root, [], accepted="x")
    root.touch()
    with pytest.raises(InputError, match="is not a folder"):
        files.source_root(root, [], accepted="x")


def test_an_unknown_layout_lists_no_more_than_is_read(root):
    tree(root, *(f"{number:02d}" for number in range(30)))
    assert "00, 01, 02, and 27 more" in files.unknown_layout(root, accepted="x", limit=3).reason
    assert "It holds: nothing" in files.unknown_layout(tree(root, "e/") / "e", accepted="x").reason


def test_a_folder_that_cannot_be_listed_counts_as_empty(root, monkeypatch):
    def refuse(_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert "It holds: nothing" in files.unknown_layout(tree(root, "a/"), accepted="x").reason


@given(st.lists(st.tuples(st.sampled_from([b"", b"a", b"b", b"ab", b"ba"]), st.sampled_from("xyz")), max_size=9))
def test_files_of_several_owners_that_hold_the_same_bytes_are_found(tmp_path_factory, drawn):
    folder = tmp_path_factory.mktemp("d")
    owned = []
    for number, (content, owner) in enumerate(drawn):
        path = folder / str(number)
        path.write_bytes(content)
        owned.append((path, owner))
    groups = files.equal([*owned, (folder / "gone", "x")])
    wanted = {}
    for path, owner in owned:
        wanted.setdefault(path.read_bytes(), []).append((path, owner))
    wanted.pop(b"", None)
    assert sorted(groups) == sorted(group for group in wanted.values() if len({owner for _, owner in group}) > 1)
