"""`imagemask check`: what is said of a raw folder before any work."""

import errno
import gzip
import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fifos import fifo
from hypothesis import given
from hypothesis import strategies as st

from imagemask import check as module
from imagemask import images, registry
from imagemask.archives import state as archive_state
from imagemask.archives.state import ArchiveState
from imagemask.check import Duplicate, Problem, check
from imagemask.errors import CaseError, InputError, UsageError
from imagemask.types import Archive, Case, Expected, Options, Slice, Source, WritesPhantom

BYTES = b"picture"
DATA = b"archive"
MD5, SHA = (f"{kind}:{hashlib.new(kind, DATA).hexdigest()}" for kind in ("md5", "sha256"))


def source_of(**facts):
    plain = {
        "name": "fake",
        "title": "x",
        "url": "x",
        "get": ("ask",),
        "licence": "x",
        "citation": "x",
        "group": "none",
    }
    return Source(**{**plain, "labels": {1: "x"}, **facts})


def discover(raw, _options):
    """A case for every stem in images/ and masks/: ``a.png`` belongs to the case ``a``."""
    if not (raw / "images").is_dir():
        raise InputError(f"{raw}: not recognised", remedy="Accepted: images/ and masks/")
    found = {
        folder: {path.stem.partition(".")[0]: path for path in (raw / folder).iterdir()}
        for folder in ("images", "masks")
    }
    for stem in sorted({*found["images"], *found["masks"]}):
        parts = [(found[folder][stem],) if stem in found[folder] else () for folder in ("images", "masks")]
        yield Case(stem, stem, *parts)


def read(case, _options):
    if not case.masks:
        raise CaseError("missing_label", f"{case.id} has no label", file=case.images[0], remedy="Add it")
    if not case.images:
        raise IndexError("no image")
    yield Slice(0, np.zeros((2, 2)), np.zeros((2, 2), np.uint8))


@pytest.fixture
def fake(monkeypatch):
    """A source that is registered as ``fake``; its parts can be replaced."""
    one = SimpleNamespace(SOURCE="fake", Options=Options, discover=discover, read=read, source=source_of())
    real = registry.load
    monkeypatch.setattr(registry, "load", lambda name: one if name == "fake" else real(name))
    monkeypatch.setattr(registry, "source", lambda _: one.source)
    return one


@pytest.fixture
def raw(tmp_path):
    """Two good cases, a and b, with different pictures."""
    for folder in ("images", "masks"):
        (tmp_path / "raw" / folder).mkdir(parents=True)
    for name in ("a", "b"):
        (tmp_path / "raw" / "images" / f"{name}.png").write_bytes(BYTES + name.encode())
        (tmp_path / "raw" / "masks" / f"{name}.png").write_bytes(BYTES)
    return tmp_path / "raw"


@pytest.mark.usefixtures("fake")
class TestCases:
    """What is found, and what a build would do with it."""

    def test_a_good_folder_is_complete(self, raw):
        report = check("fake", raw)
        assert (report.exit_code, report.complete, report.stopped, report.phantom) == (0, True, "", False)
        assert report.found == {"cases": 2, "images": 2, "masks": 2}
        assert (report.quarantined, report.duplicates, report.missing, report.extra) == ([], [], [], [])

    def test_a_folder_that_is_not_there_or_no_folder_stops_a_build(self, tmp_path):
        (tmp_path / "file").touch()
        for name, message in [("none", "there is no such folder"), ("file", "is not a folder")]:
            report = check("fake", tmp_path / name)
            assert (report.exit_code, report.complete) == (4, False)
            assert report.stopped.endswith(message)
            assert "imagemask info fake" in report.remedy

    def test_a_folder_that_may_not_be_read_stops_a_build_and_is_not_called_damaged(self, raw, monkeypatch):
        opened = Path.read_bytes

        def refuse(path):
            if path.name == module.PHANTOM:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return opened(path)

        monkeypatch.setattr(Path, "read_bytes", refuse)
        report = check("fake", raw)
        assert (report.exit_code, report.stopped) == (4, f"{raw / module.PHANTOM}: cannot be read: Permission denied")
        assert "you may read it" in report.remedy

    def test_nor_is_one_that_the_generator_may_not_list(self, raw, fake, monkeypatch):
        def refuse(*_):
            raise PermissionError(errno.EACCES, "Permission denied", str(raw / "images"))

        fake.discover = refuse
        monkeypatch.setattr(module.files, "walk", refuse)
        report = check("fake", raw)
        assert (report.exit_code, report.stopped) == (4, f"{raw / 'images'}: cannot be read: Permission denied")
        assert report.unreadable == ["images"]

    @pytest.mark.parametrize(("slices", "deeper"), [(0, 0), (1, 0), (2, 2), (3, 2)])
    def test_cases_of_which_only_the_first_slice_was_looked_at_are_counted(self, raw, fake, slices, deeper):
        def several(case, options):
            for index in range(slices):
                assert index < 2, "the third slice tells nothing that the second does not"
                yield Slice(index, np.zeros((2, 2)), np.zeros((2, 2), np.uint8))

        fake.read = several
        report = check("fake", raw)
        assert (report.first_slice_only, report.complete) == (deeper, True)

    def test_one_that_would_be_quarantined_is_not_counted_among_them(self, raw, fake):
        def several(case, options):
            yield from (Slice(index, np.zeros((2, 2)), np.zeros((2, 2), np.uint8)) for index in range(2))

        fake.read = several
        (raw / "images" / "b.png").write_bytes(b"")
        assert check("fake", raw).first_slice_only == 1

    def test_what_a_build_would_note_is_told_with_the_sound_cases_that_have_it(self, raw, fake):
        (raw / "images" / "c.png").write_bytes(b"")
        (raw / "masks" / "c.png").write_bytes(BYTES)

        def noted(case, options):
            yield Slice(0, np.zeros((2, 2)), np.zeros((2, 2), np.uint8), flags=("odd", "twin_dropped"))

        fake.discover = lambda raw, options: [replace(case, flags=("odd",)) for case in discover(raw, options)]
        fake.read = noted
        assert check("fake", raw).noted == {"odd": ["a", "b"], "twin_dropped": ["a", "b"]}

    def test_another_layout_stops_a_build_with_the_generator_s_words(self, tmp_path):
        report = check("fake", tmp_path)
        assert (report.exit_code, report.stopped) == (4, f"{tmp_path}: not recognised")
        assert report.remedy == "Accepted: images/ and masks/"

    def test_a_folder_without_a_case_stops_a_build(self, tmp_path):
        for folder in ("images", "masks"):
            (tmp_path / folder).mkdir()
        assert check("fake", tmp_path).stopped == f"{tmp_path}: holds no case that can be built"

    def test_so_does_one_whose_every_case_would_be_quarantined(self, raw):
        for path in (raw / "masks").iterdir():
            path.write_bytes(b"")
        report = check("fake", raw)
        assert (report.exit_code, len(report.quarantined)) == (4, 2)

    def test_what_is_missing_is_said_in_the_generator_s_words(self, raw):
        (raw / "masks" / "a.png").unlink()
        report = check("fake", raw)
        assert report.quarantined == [Problem("a", "images/a.png", "missing_label", "a has no label", "Add it")]
        assert (report.exit_code, report.complete) == (3, False)
        assert report.found == {"cases": 1, "images": 2, "masks": 1}

    def test_a_generator_that_trips_over_an_incomplete_case_is_no_bug_of_check(self, raw):
        (raw / "images" / "a.png").unlink()
        (problem,) = check("fake", raw).quarantined
        assert (problem.code, problem.reason) == ("unexpected_error", "IndexError: no image")

    def test_progress_is_told_case_by_case_of_those_that_are_not_excluded(self, raw, fake):
        fake.source = source_of(excluded={"b": "withdrawn"})
        (raw / "images" / "c.png").write_bytes(b"")
        told = []
        check("fake", raw, progress=lambda done, cases: told.append((done, cases)))
        assert told == [(1, 2), (2, 2)]

    def test_a_generator_s_reason_comes_before_what_a_look_at_the_files_tells(self, raw, fake):
        (raw / "images" / "a.png").write_bytes(b"")
        refused = CaseError("grid_mismatch", f"{raw}/images/a.png lies elsewhere", file=raw / "masks" / "a.png")

        def refuse(case, options):
            if case.id == "a":
                raise refused
            yield from read(case, options)

        fake.read = refuse
        (problem,) = check("fake", raw).quarantined
        assert problem == Problem("a", "masks/a.png", "grid_mismatch", "images/a.png lies elsewhere")

    def test_a_file_that_the_generator_may_not_read_is_a_problem_of_its_case(self, raw, fake):
        def refuse(case, options):
            raise PermissionError(errno.EACCES, "Permission denied", str(case.masks[0]))

        fake.read = refuse
        report = check("fake", raw)
        assert [(one.code, one.file) for one in report.quarantined] == [
            ("unreadable_file", "masks/a.png"),
            ("unreadable_file", "masks/b.png"),
        ]
        assert "permissions" in report.quarantined[0].remedy

    def test_what_is_wrong_with_the_source_as_a_whole_is_no_problem_of_a_case(self, raw, fake):
        def refuse(case, options):
            raise InputError("no room")

        fake.read = refuse
        with pytest.raises(InputError, match="no room"):
            check("fake", raw)

    def test_an_incomplete_case_that_can_be_read_is_no_problem(self, raw, fake):
        (raw / "masks" / "a.png").unlink()
        fake.read = lambda case, options: iter(())
        assert check("fake", raw).exit_code == 0

    def test_an_empty_file_is_a_problem_of_its_case(self, raw):
        (raw / "images" / "b.png").write_bytes(b"")
        (problem,) = check("fake", raw).quarantined
        assert (problem.case, problem.file, problem.code) == ("b", "images/b.png", "empty_file")

    @pytest.mark.parametrize(("error", "code"), [(errno.EACCES, "unreadable_file"), (errno.ENOENT, "missing_file")])
    def test_a_file_that_cannot_be_opened_is_a_problem_of_its_case(self, raw, monkeypatch, error, code):
        opened = Path.open

        def refuse(path, *args, **kwargs):
            if path.name == "b.png" and path.parent.name == "masks":
                raise OSError(error, "refused", str(path))
            return opened(path, *args, **kwargs)

        monkeypatch.setattr(Path, "open", refuse)
        (problem,) = check("fake", raw).quarantined
        assert (problem.case, problem.file, problem.code) == ("b", "masks/b.png", code)
        assert problem.reason == "b.png cannot be read: refused"

    @given(begin=st.binary(min_size=1, max_size=400), suffix=st.sampled_from([".nii", ".nii.gz", ".NII"]))
    def test_a_nifti_file_begins_as_one_or_as_gzip(self, tmp_path_factory, begin, suffix):
        path = tmp_path_factory.mktemp("nifti") / f"a{suffix}"
        for data in (
            begin,
            gzip.compress(begin),
            (348).to_bytes(4, "big") + begin,
            (540).to_bytes(4, "little") + begin,
        ):
            path.write_bytes(data)
            good = data[:2] == b"\x1f\x8b" or int.from_bytes(data[:4], "little") in (348, 540)
            good |= int.from_bytes(data[:4], "big") in (348, 540)
            if good:
                module._look_at(path)
            else:
                with pytest.raises(CaseError, match="is neither NIfTI nor gzip: it begins with") as caught:
                    module._look_at(path)
                assert caught.value.code == "not_nifti"

    def test_excluded_cases_are_reported_with_their_reason_and_not_looked_at(self, raw, fake):
        fake.source = source_of(excluded={"b": "withdrawn", "c": "not here"})
        (raw / "images" / "b.png").write_bytes(b"")
        report = check("fake", raw)
        assert (report.excluded, report.quarantined, report.exit_code) == ({"b": "withdrawn"}, [], 0)
        assert report.found["cases"] == 1

    def test_ids_are_compared_both_ways(self, raw, fake):
        fake.source = source_of(expected=Expected(cases=2, ids=("a", "c")), excluded={"b": "x"})
        report = check("fake", raw)
        assert (report.missing, report.extra, report.complete, report.exit_code) == (["c"], [], False, 0)
        fake.source = source_of(expected=Expected(cases=1, ids=("a",)))
        assert check("fake", raw).extra == ["b"]

    def test_without_expectations_nothing_is_missing_or_extra(self, raw):
        report = check("fake", raw)
        assert report.expected == {"cases": None, "images": None, "masks": None}

    def test_too_few_masks_are_incomplete(self, raw, fake):
        fake.source = source_of(expected=Expected(cases=2, images=2, masks=3))
        assert not check("fake", raw).complete

    def test_options_reach_the_generator(self, raw, fake):
        class Chosen(Options):
            limit: int = 2

        given = []
        fake.Options = Chosen
        fake.discover = lambda raw, options: given.append(options.limit) or discover(raw, options)
        check("fake", raw)
        check("fake", raw, Chosen(limit=1))
        check("fake", raw, {"limit": "3"})
        assert given == [2, 1, 3]
        with pytest.raises(UsageError, match=r"^--limit 'few': Input should be a valid integer"):
            check("fake", raw, {"limit": "few"})

    def test_a_generator_that_describes_itself_is_asked(self, raw, fake):
        fake.describe = lambda source, raw, options: source.model_copy(update={"excluded": {"a": raw.name}})
        assert check("fake", raw).excluded == {"a": "raw"}

    def test_a_report_is_plain_data(self, raw):
        (raw / "images" / "b.png").write_bytes(b"")
        document = json.loads(json.dumps(asdict(check("fake", raw))))
        assert document["quarantined"][0]["code"] == "empty_file"

    def test_an_unknown_name_is_refused(self, raw):
        with pytest.raises(UsageError, match="there is no source called 'fakes'"):
            check("fakes", raw)


@pytest.mark.usefixtures("fake")
class TestDuplicates:
    """Cases that are one."""

    def cases(self, fake, raw, *ids):
        path = raw / "images" / "a.png"
        fake.discover = lambda raw, options: [Case(one, one, (path,), (path,)) for one in ids]

    @pytest.mark.parametrize(("ids", "kind"), [(("a", "a"), "id"), (("a", "A"), "letters"), (("ß", "SS"), "letters")])
    def test_cases_of_one_name_stop_a_build(self, raw, fake, ids, kind):
        self.cases(fake, raw, *ids, "other")
        report = check("fake", raw)
        assert Duplicate(kind, ids) in report.duplicates
        assert (report.exit_code, report.remedy) == (4, "Rename the file that it comes from")
        assert f"{ids[0]!r} and {ids[1]!r} would be written under one name" in report.stopped

    def test_images_that_are_equal_byte_for_byte_are_named_and_stop_nothing(self, raw):
        for name in ("c", "d"):
            (raw / "images" / f"{name}.png").write_bytes((raw / "images" / "a.png").read_bytes())
            (raw / "masks" / f"{name}.png").write_bytes(b"mask")
        report = check("fake", raw)
        assert report.duplicates == [Duplicate("bytes", ("a", "c", "d"), 1)]
        assert (report.exit_code, report.complete) == (0, True)

    def test_equal_masks_are_no_duplicates(self, raw):
        assert (raw / "masks" / "a.png").read_bytes() == (raw / "masks" / "b.png").read_bytes()
        assert check("fake", raw).duplicates == []

    @given(st.lists(st.binary(max_size=3), min_size=1, max_size=6), st.integers(0, 5))
    def test_equal_means_every_byte(self, tmp_path_factory, contents, split):
        folder = tmp_path_factory.mktemp("bytes")
        cases = []
        for number, content in enumerate(contents):
            path = folder / str(number)
            path.write_bytes(content)
            cases.append(Case(f"{number % (split + 1)}-", "", (path,), ()))
        merged = [
            Case(one, "", tuple(path for case in cases if case.id == one for path in case.images), ())
            for one in sorted({case.id for case in cases})
        ]
        groups = {}
        for case in merged:
            for path in case.images:
                groups.setdefault(path.read_bytes(), []).append(case.id)
        wanted = {tuple(sorted(set(ids))) for content, ids in groups.items() if content and len(set(ids)) > 1}
        assert {one.cases for one in module._same_bytes(merged)} == wanted

    def test_only_files_that_look_alike_are_read_whole(self, raw, monkeypatch):
        # c has a's size and another middle; d has a's middle and another end.
        long = {"a": b"0" * 200_000, "c": b"0" * 99_999 + b"1" + b"0" * 100_000, "d": b"0" * 199_999 + b"1"}
        for name, content in long.items():
            (raw / "images" / f"{name}.png").write_bytes(content)
            (raw / "masks" / f"{name}.png").write_bytes(b"mask")
        hashed = []
        real = module.files.sha256
        monkeypatch.setattr(module.files, "sha256", lambda path: hashed.append(path.stem) or real(path))
        assert check("fake", raw).duplicates == []
        assert sorted(hashed) == ["a", "d"]

    def test_an_unreadable_picture_is_a_problem_and_not_a_duplicate(self, raw, fake):
        gone = (raw / "none",)
        fake.discover = lambda raw, options: [*discover(raw, options), Case("z", "z", gone, gone)]
        report = check("fake", raw)
        assert (report.duplicates, [one.code for one in report.quarantined]) == ([], ["missing_file"])


@pytest.mark.usefixtures("fake")
class TestSurroundings:
    """What lies beside the cases."""

    def test_junk_links_and_folders_that_cannot_be_listed_are_counted(self, raw, tmp_path):
        (raw / "images" / "._a.png").touch()
        (raw / ".DS_Store").touch()
        (tmp_path / "elsewhere").mkdir()
        (raw / "link").symlink_to(tmp_path / "elsewhere")
        (raw / "images" / "._a.png").rename(raw / "._a.png")
        report = check("fake", raw)
        assert (report.junk, report.links, report.unreadable) == (2, ["link"], [])

    def test_a_pipe_is_not_opened_and_named(self, raw):
        with fifo(raw / "images" / "a.png"), fifo(raw / "notes"):
            report = check("fake", raw)
        assert report.special == ["images/a.png", "notes"]

    def test_they_are_counted_where_a_build_would_stop_too(self, tmp_path):
        (tmp_path / ".DS_Store").touch()
        assert check("fake", tmp_path).junk == 1

    @pytest.mark.parametrize(
        ("known", "content", "state"),
        [
            ({"bytes": 7, "checksum": MD5}, None, "absent"),
            ({"bytes": 7, "checksum": MD5}, DATA, "good"),
            ({"checksum": SHA}, DATA, "good"),
            ({"bytes": 8, "checksum": MD5}, DATA, "other_size"),
            ({"bytes": 7, "checksum": MD5}, b"ARCHIVE", "other_checksum"),
            ({"bytes": 7}, DATA, "unverified"),
            ({}, DATA, "unverified"),
        ],
    )
    def test_an_archive_is_compared_with_what_its_distributor_says(self, raw, fake, known, content, state):
        fake.source = source_of(archives=(Archive(name="a.tar", **known),))
        if content is not None:
            (raw / "download").mkdir()
            (raw / "download" / "a.tar").write_bytes(content)
        (archive,) = check("fake", raw).archives
        assert (archive.state, archive.path) == (state, "" if content is None else "download/a.tar")
        assert archive.bytes == (None if content is None else 7)

    def test_an_archive_of_another_size_is_not_hashed(self, raw, fake, monkeypatch):
        fake.source = source_of(archives=(Archive(name="a.tar", bytes=8, checksum=MD5),))
        (raw / "a.tar").write_bytes(DATA)
        monkeypatch.setattr(archive_state, "checksum_of", lambda *_: pytest.fail("hashed"))
        assert check("fake", raw).archives[0].checksum == ""

    def test_an_archive_that_cannot_be_read_says_so(self, raw, fake, monkeypatch):
        def refuse(*_):
            raise PermissionError

        fake.source = source_of(archives=(Archive(name="a.tar", checksum=MD5),))
        (raw / "a.tar").write_bytes(DATA)
        monkeypatch.setattr(archive_state, "checksum_of", refuse)
        (found,) = check("fake", raw).archives
        told = {"reason": "cannot be read", "remedy": "Check permissions"}
        assert found == ArchiveState("a.tar", "unreadable", path="a.tar", expected_checksum=MD5, **told)


@pytest.mark.usefixtures("fake")
class TestPhantoms:
    """A synthetic source says itself what it holds."""

    def mark(self, raw, **said):
        plain = {"source": "fake", "patients": 2, "cases": 2, "images": 2, "masks": 2, "ids": ["a", "b"], "faults": {}}
        (raw / module.PHANTOM).write_text(json.dumps({**plain, **said}))

    def test_expectations_are_those_of_the_phantom(self, raw, fake):
        fake.source = source_of(expected=Expected(cases=63, ids=("x",)))
        self.mark(raw)
        report = check("fake", raw)
        assert (report.phantom, report.complete, report.expected["cases"]) == (True, True, 2)

    def test_a_case_that_is_broken_on_purpose_is_not_extra(self, raw):
        self.mark(raw, cases=1, images=1, masks=1, ids=["a"], faults={"b": "empty_file"})
        (raw / "images" / "b.png").write_bytes(b"")
        report = check("fake", raw)
        assert (report.extra, report.missing, [one.case for one in report.quarantined]) == ([], [], ["b"])

    @pytest.mark.parametrize("damage", ["{", "[]", '{"cases": "many"}'])
    def test_a_damaged_mark_stops(self, raw, damage):
        (raw / module.PHANTOM).write_text(damage)
        report = check("fake", raw)
        assert (report.exit_code, report.stopped) == (4, f"{raw / module.PHANTOM}: is damaged")


WITH_PHANTOM = [name for name in registry.names() if isinstance(registry.load(name), WritesPhantom)]
SMALL = {"patients": 3, "size": 48, "slices": 8, "seed": 3}


@pytest.mark.parametrize("name", WITH_PHANTOM)
def test_a_phantom_of_a_real_source_is_complete(name, tmp_path):
    registry.load(name).phantom(tmp_path / "raw", faults=False, **SMALL)
    report = check(name, tmp_path / "raw")
    assert (report.exit_code, report.complete, report.phantom) == (0, True, True)
    assert report.found == report.expected


def test_a_phantom_is_not_asked_for_what_other_options_read(tmp_path):
    """It counts OTU_2d, and holds pictures with a contrast agent beside."""
    registry.load("ovarian-tumor").phantom(tmp_path / "raw", faults=False, **SMALL)
    report = check("ovarian-tumor", tmp_path / "raw", {"subset": "3d"})
    assert (report.exit_code, report.phantom, report.missing, report.extra) == (0, True, [], [])
    assert report.found["cases"] > 0
    assert set(report.expected.values()) == {None}


@pytest.mark.parametrize("options", [{"mask": "classes"}, {"normal": "drop"}, {"normal": "background"}])
def test_with_other_options_that_read_the_same_cases_it_still_is(tmp_path, options):
    registry.load("ovarian-tumor").phantom(tmp_path / "raw", faults=False, **(SMALL | {"patients": 8}))
    assert check("ovarian-tumor", tmp_path / "raw", options).complete
    for path in (tmp_path / "raw").rglob("2.JPG"):
        path.unlink()
    for path in (tmp_path / "raw").rglob("2[._]*PNG"):
        path.unlink()
    report = check("ovarian-tumor", tmp_path / "raw", options)
    assert report.found["cases"] == report.expected["cases"] - 1
    assert not report.complete


def test_that_no_case_has_the_id_of_one_does_not_make_a_phantom_complete(tmp_path):
    registry.load("ovarian-tumor").phantom(tmp_path / "raw", faults=False, **(SMALL | {"patients": 8}))
    for path in sorted((tmp_path / "raw").rglob("*.txt")):
        path.unlink()
    for path in sorted((tmp_path / "raw").rglob("*.[JP][PN]G")):
        path.rename(path.with_name(f"90{path.name}"))
    report = check("ovarian-tumor", tmp_path / "raw", {"mask": "classes"})
    assert not report.complete
    assert len(report.missing) == report.expected["cases"]


@pytest.mark.parametrize("name", WITH_PHANTOM)
def test_what_check_predicts_of_a_broken_phantom_is_what_is_broken(name, tmp_path):
    registry.load(name).phantom(tmp_path / "raw", faults=True, **SMALL)
    faults = json.loads((tmp_path / "raw" / module.PHANTOM).read_text())["faults"]
    report = check(name, tmp_path / "raw")
    predicted = {one.case: one.code for one in report.quarantined}
    assert report.exit_code == 3
    assert predicted.items() <= faults.items()
    late = {"nan_voxels", "truncated_gzip"} if name == "lung-tumor" else set()
    assert {code for case, code in faults.items() if case not in predicted} == late
    assert len(predicted) >= 6
    assert (report.missing, report.extra) == ([], [])
    assert all(one.reason and one.remedy for one in report.quarantined)


def test_a_tree_that_builds_with_options_is_good_with_them_only(tmp_path):
    picture = np.arange(64, dtype=np.uint8).reshape(8, 8)
    for name in ("photos/1.png", "outlines/1_o.png"):
        path = tmp_path / "raw" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(images.encode_png(picture if "photos" in name else picture // 32, level=1))
    options = {"images": "photos/*.png", "masks": "outlines/*.png", "suffix": "_o"}
    assert check("folder", tmp_path / "raw").exit_code == 4
    assert check("folder", tmp_path / "raw", options).exit_code == 0


REAL = Path(__file__).parents[2] / "shared" / "real" / "volumes"


@pytest.mark.skipif(not REAL.is_dir(), reason="the real volumes are not here")
@pytest.mark.parametrize("name", ["lung-tumor", "pancreas"])
def test_a_real_source_that_is_far_from_complete_can_be_built(name):
    report = check(name, REAL / name)
    assert (report.exit_code, report.complete, report.phantom) == (0, False, False)
    assert report.found == {"cases": 1, "images": 1, "masks": 1}
    assert len(report.missing) >= 62
