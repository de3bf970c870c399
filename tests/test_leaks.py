"""A picture, or a patient, in several of the sets that a source ships."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagemask.pictures import leaks
from imagemask.types import Case


@pytest.fixture
def make(tmp_path):
    """Makes a case with an image, and a mask, of given bytes."""
    count = iter(range(1000))

    def case(name, split="train", *, image=b"", mask=b"m", patient=""):
        paths = []
        for content in (image or name.encode(), mask):
            if content:
                paths.append(tmp_path / f"{next(count)}.png")
                paths[-1].write_bytes(content)
        return Case(name, patient, tuple(paths[:1]), tuple(paths[1:]), 10, split=split)

    return case


def test_what_is_there_once_stays_as_it_is_sorted(make):
    cases = [make("b"), make("a", "test"), make("c", "")]
    assert leaks.without_copies(cases) == ([cases[1], cases[0], cases[2]], [])


def test_one_frame_twice_in_a_set_is_one_case_called_as_the_one_that_knows_more(make):
    number, named = make("1", image=b"x"), make("z000", image=b"x", patient="z")
    ([one], leaking) = leaks.without_copies([number, named])
    assert (one.id, one.patient, one.bytes, one.flags) == ("z000", "z", 20, ())
    assert (one.images, one.masks) == ((*named.images, *number.images), (*named.masks, *number.masks))
    assert leaking == []


def test_a_frame_without_a_mask_joins_the_one_that_has_it(make):
    bare, masked = make("a", image=b"x", mask=b"", patient="p"), make("b", image=b"x")
    ([one], _) = leaks.without_copies([bare, masked])
    assert (one.id, len(one.images), len(one.masks)) == ("b", 2, 1)


def test_cases_of_one_id_are_one_though_their_images_differ(make):
    first, second = make("a", image=b"x"), make("a", image=b"y")
    ([one], _) = leaks.without_copies([first, second])
    assert one.images == (*first.images, *second.images)


def test_a_frame_in_two_sets_stays_in_both_and_is_flagged(make):
    cases = [make("a", "train", image=b"x"), make("b", "test", image=b"x"), make("c", "train", image=b"x"), make("d")]
    found, leaking = leaks.without_copies(cases)
    assert [(case.id, case.split, case.flags) for case in found] == [
        ("a", "train", ("leak_risk",)),
        ("b", "test", ("leak_risk",)),
        ("d", "train", ()),
    ]
    assert leaking == ["a", "b"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcde"),
            st.sampled_from(["train", "test"]),
            st.sampled_from([b"x", b"y", b"z"]),
            st.sampled_from(["", "p"]),
        ),
        max_size=8,
    )
)
def test_no_file_is_lost_and_no_set_changes(tmp_path_factory, drawn):
    folder = tmp_path_factory.mktemp("d")
    cases = []
    for number, (name, split, content, patient) in enumerate(drawn):
        path = folder / str(number)
        path.write_bytes(content)
        cases.append(Case(f"{split}+{name}", patient, (path,), (), split=split))
    found, leaking = leaks.without_copies(cases)
    placed = {path: case.split for case in cases for path in case.images}
    assert {path: case.split for case in found for path in case.images} == placed
    assert sum(len(case.images) for case in found) == len(cases)
    ids = [case.id for case in found]
    assert ids == sorted(set(ids))
    sets = {
        content: {placed[path] for path in placed if path.read_bytes() == content} for content in (b"x", b"y", b"z")
    }
    for case in found:
        leaks_here = any(len(sets[path.read_bytes()]) > 1 for path in case.images)
        assert (case.id in leaking) == ("leak_risk" in case.flags) == leaks_here
    contents = [{path.read_bytes() for path in case.images} for case in found if case.split == "train"]
    assert sum(map(len, contents)) == len(set().union(*contents)), "a frame is there twice in a set"


def test_a_patient_in_two_sets_is_named_and_flagged_and_stays(make):
    cases = [
        make("a", "train", patient="p"),
        make("b", "test", patient="p"),
        make("c", "test", patient="q"),
        make("d", "", patient="q"),
        make("e", "train"),
        make("f", "test"),
    ]
    found, named = leaks.parted(cases)
    assert named == ["p (test and train)"]
    assert [case.flags for case in found] == [("patient_in_splits",)] * 2 + [()] * 4
    assert [case.split for case in found] == [case.split for case in cases]
