"""TOML: what is written is read back, and every key is found on its line."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagemask.learn import toml

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=8)
PLAIN = st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), TEXT)
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=8
)
DOCUMENTS = st.dictionaries(TEXT, VALUES, max_size=4)


def paths(value, path=()):
    """Every path into nested tables and arrays, its own left out."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, one in inside:
        yield (*path, name)
        yield from paths(one, (*path, name))


@given(DOCUMENTS)
def test_what_is_written_is_read_back(document):
    assert tomllib.loads(toml.dumps(document)) == document


@given(DOCUMENTS)
def test_every_key_that_was_written_has_a_line_of_its_own(document):
    text = toml.dumps(document)
    assert set(toml.lines(text)) == set(paths(tomllib.loads(text)))


def test_tuples_are_lists_and_none_is_left_out():
    assert toml.dumps({"a": (1, 2.5), "b": None, "c": {"d": None}}) == "a = [1, 2.5]\n\n[c]\n"
    with pytest.raises(TypeError, match="NoneType"):
        toml.dumps({"a": [None]})
    with pytest.raises(TypeError, match="set"):
        toml.dumps({"a": {1}})


DOCUMENT = '''\
# title = "no key"
title = "a # b = 1"   # c = 2

[owner]
'first name' = """
[not a table]
key = 1
""\\""""""
"last \\u006eame" = 'x = [1]'
born = 1979-05-27 07:32:00  # d = 3
site."example.org".up = true
point = { x = 1, y = { "z.z" = [1,
  2, # three, four
  3] } }

  [ a . "b.c" ]
   k.l = 1
   k.m = 2.5

[[fruit]]
name = "apple"
[fruit.skin]
colour = "red"
[[fruit.kinds]]
name = "one"
[[fruit.kinds]]
name = "two"

[[fruit]]
[[fruit.kinds]]
name = "three"
'''
EXPECTED = {
    ("title",): 2,
    ("owner",): 4,
    ("owner", "first name"): 5,
    ("owner", "last name"): 9,
    ("owner", "born"): 10,
    ("owner", "site"): 11,
    ("owner", "site", "example.org"): 11,
    ("owner", "site", "example.org", "up"): 11,
    ("owner", "point"): 12,
    ("owner", "point", "x"): 12,
    ("owner", "point", "y"): 12,
    ("owner", "point", "y", "z.z"): 12,
    ("owner", "point", "y", "z.z", 0): 12,
    ("owner", "point", "y", "z.z", 1): 13,
    ("owner", "point", "y", "z.z", 2): 14,
    ("a",): 16,
    ("a", "b.c"): 16,
    ("a", "b.c", "k"): 17,
    ("a", "b.c", "k", "l"): 17,
    ("a", "b.c", "k", "m"): 18,
    ("fruit",): 20,
    ("fruit", 0): 20,
    ("fruit", 0, "name"): 21,
    ("fruit", 0, "skin"): 22,
    ("fruit", 0, "skin", "colour"): 23,
    ("fruit", 0, "kinds"): 24,
    ("fruit", 0, "kinds", 0): 24,
    ("fruit", 0, "kinds", 0, "name"): 25,
    ("fruit", 0, "kinds", 1): 26,
    ("fruit", 0, "kinds", 1, "name"): 27,
    ("fruit", 1): 29,
    ("fruit", 1, "kinds"): 30,
    ("fruit", 1, "kinds", 0): 30,
    ("fruit", 1, "kinds", 0, "name"): 31,
}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_every_key_is_found_on_its_line(end):
    text = DOCUMENT.replace("\n", end)
    assert set(paths(tomllib.loads(text))) == set(EXPECTED)
    assert toml.lines(text) == EXPECTED


VALUE_TEXTS = [
    "1",
    '"a # b = [c] {"',
    "'it is \" = #'",
    "'''x\n[y]\nz = 1'''''",
    '"""a\\"""\nb = 2 """""',
    "[1, # 2 ]\n 2,\n]",
    "[[], [{ a = 1 }]]",
    '{ a = 1, "b.c" = [1, 2], d.e = "}" }',
    "1979-05-27 07:32:00.5+01:00",
    "-1.5e-3",
    "+inf",
    "true # = 1",
]


def keys_as_written(name):
    """A key in every form that TOML has for it."""
    forms = [toml.value(name)]
    if name and set(name) <= set("abcXYZ019_-"):
        forms.append(name)
    if "'" not in name and all(character.isprintable() for character in name):
        forms.append(f"'{name}'")
    return st.sampled_from(forms)


KEYS = st.text("abcXYZ019_-", min_size=1, max_size=4) | TEXT
STATEMENTS = st.lists(
    st.tuples(
        KEYS.flatmap(lambda name: st.tuples(st.just(name), keys_as_written(name))),
        st.sampled_from(VALUE_TEXTS),
        st.sampled_from(["", "\n", "# x = 1\n", "  \t\n\n"]),
    ),
    max_size=6,
    unique_by=lambda one: one[0][0],
)


@given(STATEMENTS)
def test_keys_are_found_whatever_stands_before_them(statements):
    text, expected = "", {}
    for (name, written), value, before in statements:
        text += before
        expected[name] = text.count("\n") + 1
        text += f"{written} = {value}\n"
    assert tomllib.loads(text).keys() == expected.keys()
    found = toml.lines(text)
    assert {path[0]: line for path, line in found.items() if len(path) == 1} == expected
    assert set(found) == set(paths(tomllib.loads(text)))
