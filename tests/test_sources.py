"""Source manifests: what is written is what is read, and a wrong key is named with its place."""

import tomllib
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue, TypeAdapter

from imagemask import sources
from imagemask.errors import InputError
from imagemask.types import Archive, Expected, Source

SHIPPED = sorted(file.name for file in resources.files(sources.BUILT_IN).iterdir() if file.name.endswith(".toml"))
MINIMAL = """
name = "some-source"
title = "Some source"
url = "https://example.org"
get = ["Ask for it."]
licence = "CC0"
citation = "Nobody"
group = "patient"
labels = { 1 = "tumour" }
"""

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=20)
FILLED = TEXT.filter(bool)
ARCHIVES = st.builds(
    Archive,
    name=FILLED,
    url=TEXT,
    bytes=st.none() | st.integers(1, 10**12),
    checksum=st.none() | st.from_regex(r"\A(md5:[0-9a-f]{32}|sha256:[0-9a-f]{64})\Z"),
)
EXPECTED = st.builds(
    Expected, cases=st.none() | st.integers(1, 999), images=st.none() | st.integers(0, 999), ids=st.tuples(TEXT, TEXT)
)
SOURCES = st.builds(
    Source,
    name=st.from_regex(r"\A[a-z][a-z0-9-]*\Z"),
    title=TEXT,
    url=TEXT,
    get=st.tuples(TEXT),
    licence=FILLED,
    citation=FILLED,
    notes=st.tuples(TEXT, TEXT),
    archives=st.lists(ARCHIVES, max_size=2).map(tuple),
    labels=st.dictionaries(st.integers(0, 255), TEXT, min_size=1, max_size=3),
    window=st.tuples(TEXT),
    background=st.integers(0, 255),
    expected=EXPECTED,
    excluded=st.dictionaries(TEXT, TEXT, max_size=2),
    group=st.sampled_from(["patient", "image", "none"]),
    columns=st.tuples(TEXT),
)


def toml(value):
    """``value`` as TOML, in line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(str(key))} = {toml(one)}" for key, one in value.items() if one is not None) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return str(value) if isinstance(value, int) else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def written(source):
    document = TypeAdapter(dict[str, JsonValue]).validate_python(source.model_dump(mode="json"))
    return "".join(f"{key} = {toml(value)}\n" for key, value in document.items())


@given(SOURCES)
def test_what_is_written_is_read(source):
    assert sources.parse(written(source), place="x") == source


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_manifest_is_called_like_its_source(name):
    source = sources.load(name.removesuffix(".toml"))
    assert f"{source.name}.toml" == name
    assert len(source.expected.ids) in (0, source.expected.cases)  # not every source names its cases


def test_the_counts_of_the_public_archives():
    # The Decathlon's dataset.json lists 63 cases; TCIA's page 80 series, after 0025 and 0070 were withdrawn.
    assert sources.load("lung-tumor").expected.cases == 63
    pancreas = sources.load("pancreas")
    assert (pancreas.expected.cases, pancreas.expected.masks) == (80, 82)
    assert set(pancreas.excluded) == {"PANCREAS_0025", "PANCREAS_0070"}


def test_a_byte_order_mark_is_no_matter(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text(MINIMAL, encoding="utf-8-sig")
    assert sources.read(path).name == "some-source"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("titel = 'x'", r"titel: Extra inputs"),
        ("licence = ''", r"licence: String should have at least 1"),
        ("get = []", r"get: .* at least 1 item"),
        ("labels = {}", r"labels: "),
        ("name = 'Some Source'", r"name: String should match"),
        ("background = 256", r"background: "),
        ("group = 'family'", r"group: Input should be 'patient', 'image' or 'none'"),
        ("expected = { cases = 0 }", r"expected.cases: "),
        ("archives = [{ name = 'a', checksum = 'md5:123' }]", r"archives.0.checksum: "),
        ("archives = [{ name = 'a', bytes = 0 }]", r"archives.0.bytes: "),
    ],
)
def test_a_wrong_key_is_named(change, message):
    key = change.partition(" = ")[0]
    kept = "\n".join(line for line in MINIMAL.splitlines() if not line.startswith(f"{key} "))
    with pytest.raises(InputError, match=f"^the place: .*{message}"):
        sources.parse(f"{kept}\n{change}\n", place="the place")


@pytest.mark.parametrize("key", sorted(tomllib.loads(MINIMAL)))
def test_a_missing_key_is_named(key):
    kept = "\n".join(line for line in MINIMAL.splitlines() if not line.startswith(f"{key} "))
    with pytest.raises(InputError, match=rf"x: {key}: Field required. docs/manifests.md"):
        sources.parse(kept, place="x")


def test_every_wrong_key_is_named_at_once():
    with pytest.raises(InputError, match=r"licence: .*; .*group: "):
        sources.parse(MINIMAL.replace('"CC0"', '""').replace('"patient"', '"x"'), place="x")


def test_what_is_not_toml_is_said_with_its_line():
    with pytest.raises(InputError, match=r"x: not TOML: .*line 2"):
        sources.parse("a = 1\nb = \n", place="x")


def test_a_file_that_cannot_be_read_is_an_error(tmp_path):
    (tmp_path / "latin.toml").write_bytes(b"title = '\xe4'")
    for name in ("none.toml", "latin.toml"):
        with pytest.raises(InputError, match=f"{name}: cannot be read"):
            sources.read(tmp_path / name)


def test_a_name_without_a_manifest_is_an_error():
    with pytest.raises(InputError, match=r"no source manifest nothing.toml in imagemask.manifests"):
        sources.load("nothing")


class TestFacts:
    """A small TOML file beside somebody's own data."""

    def facts(self, tmp_path, text):
        path = tmp_path / "facts.toml"
        path.write_text(text, encoding="utf-8")
        return sources.facts(path, sources.parse(MINIMAL, place="x"))

    def test_without_the_file_nothing_is_said(self, tmp_path):
        assert sources.facts(tmp_path / "none.toml", sources.parse(MINIMAL, place="x")) == {}

    def test_what_it_says_is_validated_and_nothing_else_is_returned(self, tmp_path):
        told = self.facts(tmp_path, "\ufefflicence = 'MIT'\nlabels = { 2 = 'cyst' }\n")
        assert told == {"licence": "MIT", "labels": {2: "cyst"}}

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("licence = ''", r"facts.toml: licence: String should have at least 1"),
            ("license = 'MIT'", r"facts.toml: unknown keys license\. It may hold .*licence"),
            ("licence = ", r"facts.toml: cannot be read: "),
        ],
    )
    def test_what_is_wrong_with_it_is_said(self, tmp_path, text, message):
        with pytest.raises(InputError, match=message):
            self.facts(tmp_path, text)

    def test_a_file_that_is_no_text_is_an_error(self, tmp_path):
        (tmp_path / "facts.toml").write_bytes(b"licence = '\xe4'")
        with pytest.raises(InputError, match="cannot be read"):
            sources.facts(tmp_path / "facts.toml", sources.parse(MINIMAL, place="x"))


@given(SOURCES, FILLED)
def test_an_amended_source_differs_in_what_was_told_and_in_nothing_else(source, licence):
    other = sources.amended(source, {"licence": licence}, place="x")
    assert other.model_dump() == {**source.model_dump(), "licence": licence}
    with pytest.raises(InputError, match="x: licence"):
        sources.amended(source, {"licence": ""}, place="x")


NAMES = st.text(st.characters(exclude_characters=",=", categories=("L", "N", "Zs", "Pd")), min_size=1, max_size=8)
LABELS = st.dictionaries(st.integers(1, 65535), NAMES.map(str.strip).filter(bool), min_size=1, max_size=5).filter(
    lambda labels: len(set(labels.values())) == len(labels)
)


@given(LABELS)
def test_labels_are_read_as_they_are_written(labels):
    text = ", ".join(f"{value} = {name}" for value, name in labels.items())
    assert sources.parse_labels(text) == (labels, True)


@given(NAMES.map(str.strip).filter(bool))
def test_a_single_name_is_the_foregrounds(name):
    assert sources.parse_labels(f" {name} ") == ({1: name}, False)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", ",", "=", "1=", "=a", "0=a", "-1=a", "1.5=a", "65536=a", "x=a", "²=a", "1=a=b"),
        *("1=a,1=b", "1=a,2=a", "1=a,", "1=a,b", "a,b"),
    ],
)
def test_labels_that_mean_nothing_are_refused(text):
    with pytest.raises(ValueError, match=r"VALUE=NAME|values are 1 to 65535"):
        sources.parse_labels(text)
