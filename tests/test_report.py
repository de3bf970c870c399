"""The page of a dataset: thumbnails and outlines, facts, verdicts, what the gallery reads; and nothing breaks out."""

import base64
import hashlib
import io
import json
import re
import shutil
from html.parser import HTMLParser

import cv2
import jinja2
import numpy as np
import pages
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import escape
from PIL import Image
from test_cli import call
from test_report_run import made

from imagemask import audit, card, manifest, preview, report
from imagemask.errors import InputError, UsageError
from imagemask.report import gallery, page, thumbs, verdict
from imagemask.report.gather import UNASSIGNED, gather
from imagemask.split import Stamp, write_stamp

HOSTILE = "\"'><script>window.pwned=1</script><img src=x onerror=window.pwned=1>&amp;</title><!--"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return pages.dataset(tmp_path_factory.mktemp("report") / "drawn")


@pytest.fixture
def quiet(monkeypatch):
    """An audit that finds nothing, at once."""
    monkeypatch.setattr(audit, "audit", lambda *_, **__: pages.said())


# Outlines


@st.composite
def blobs(draw):
    """A mask of a few discs and boxes, with holes, none of them thinner than four pixels."""
    height, width = draw(st.integers(24, 90)), draw(st.integers(24, 90))
    mask = np.zeros((height, width), np.uint8)
    for value in draw(st.lists(st.sampled_from([1, 1, 0]), min_size=1, max_size=4)):
        y, x, radius = draw(st.integers(0, height)), draw(st.integers(0, width)), draw(st.integers(4, 20))
        cv2.circle(mask, (x, y), radius, value, cv2.FILLED)
    return cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((4, 4), np.uint8)).astype(bool)


def polygons(path):
    """The points of an SVG path of M, l, h, v and z."""
    for part in path.split("z")[:-1]:
        start, kind, steps = re.fullmatch(r"M(-?\d+ -?\d+)([lh])(.*)", part).groups()
        numbers = [int(one) for one in re.findall(r"-?\d+", steps)]
        if kind == "h":
            width, height, back = numbers
            assert (steps, back) == (f"{width}v{height}h{back}", -width)
            numbers = [width, 0, 0, height, back, 0]
        points = np.cumsum([[int(one) for one in start.split()], *np.reshape(numbers, (-1, 2))], axis=0)
        yield points.astype(np.int32)


@given(blobs(), st.sampled_from([1.0, 2.0, 4.0]))
def test_an_outline_filled_is_the_mask_up_to_a_thumbnail_pixel_at_its_edge(mask, scale):
    size = round(mask.shape[1] * scale), round(mask.shape[0] * scale)
    drawn = np.zeros((size[1], size[0]), np.uint8)
    path = thumbs.outline(mask, size)
    if mask.any():
        cv2.fillPoly(drawn, list(polygons(path)), 1)
    else:
        assert path == ""
    wanted = cv2.resize(mask.view(np.uint8) * 255, size, interpolation=cv2.INTER_LINEAR) > 127
    beyond = {"borderType": cv2.BORDER_CONSTANT, "borderValue": 0}  # the picture's own border is an edge, too
    edge = cv2.morphologyEx(wanted.view(np.uint8), cv2.MORPH_GRADIENT, np.ones((9, 9), np.uint8), **beyond) > 0
    assert not ((drawn > 0) != wanted)[~edge].any()


@pytest.mark.parametrize("size", [(40, 40), (160, 160), (768, 768)])
def test_what_is_too_small_to_draw_is_drawn_all_the_same(size):
    mask = np.zeros((1000, 1000), bool)
    mask[700, 300] = True
    found = re.match(r"M(\d+) (\d+)", thumbs.outline(mask, size))
    assert abs(int(found[1]) / size[0] - 0.3) < 0.06
    assert abs(int(found[2]) / size[1] - 0.7) < 0.06


def test_a_long_outline_is_simplified_further():
    ragged = np.random.default_rng(0).random((400, 400)) > 0.5
    ragged = cv2.medianBlur(ragged.view(np.uint8), 5).astype(bool)
    assert len(thumbs.outline(ragged, (768, 768))) < len(thumbs._path(contours(ragged), 1.0)) / 1.5


def contours(mask):
    fine = (cv2.resize(mask.view(np.uint8) * 255, (768, 768)) > 127).view(np.uint8)
    return cv2.findContours(fine, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)[0]


# Thumbnails


@given(st.integers(1, 400), st.integers(1, 400), st.sampled_from([128, 192]), st.booleans())
@settings(max_examples=25)
def test_a_thumbnail_keeps_the_aspect_ratio_and_is_never_grown(height, width, side, colour):
    image = np.full((height, width, 3) if colour else (height, width), 90, np.uint8)
    made = thumbs.thumb(image, np.zeros((height, width), np.uint8), {255: 0}, side=side)
    assert max(made.width, made.height) == min(side, max(height, width))
    assert abs(made.width / made.height - width / height) <= 1 / made.height * (1 + width / height)
    kind, data = re.fullmatch(r"data:image/(webp|jpeg);base64,(.*)", made.uri).groups()
    opened = Image.open(io.BytesIO(base64.b64decode(data)))
    assert (opened.format.lower(), opened.size) == (kind, (made.width, made.height))
    assert abs(int(np.asarray(opened.convert("L")).mean()) - 90) <= 2


def test_a_thumbnail_keeps_the_colours_in_their_channels():
    image = np.zeros((64, 64, 3), np.uint8)
    image[..., 0] = 200
    data = thumbs.encode(image, 60).partition(",")[2]
    assert (
        np.abs(
            np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")).mean((0, 1)) - [200, 0, 0]
        ).max()
        < 12
    )


def test_each_class_has_its_outline_and_an_unknown_value_one_more():
    mask = np.zeros((60, 60), np.uint8)
    for value, place in ((1, 5), (2, 25), (9, 45)):
        mask[place : place + 10, place : place + 10] = value
    made = thumbs.thumb(mask, mask, {1: 0, 2: 1})
    assert [position for position, _ in made.outlines] == [0, 1, 2]
    starts = [int(path[1:].split()[0]) for _, path in made.outlines]
    assert starts == sorted(starts)
    mask[25:40, 25:40] = 2
    assert [position for position, _ in thumbs.thumb(mask, mask, {1: 0, 2: 1}).outlines] == [1, 0, 2]
    assert len(made) == len(made.uri) + sum(len(path) + 6 for _, path in made.outlines)


def test_thumbnails_are_the_largest_that_fit(drawn):
    keys = pages.frame_of(drawn)["key"].tolist()
    values = {1: 0, 2: 1}
    totals = [sum(len(thumbs.thumb_of(drawn, key, values, *look)) for key in keys) for look in thumbs.LOOKS]
    assert thumbs.fitting(drawn, keys, values) == thumbs.LOOKS[0]
    assert thumbs.fitting(drawn, keys, values, budget=1) == thumbs.LOOKS[-1]
    budget = totals[1] * 102 // 100  # the sample is not all of them
    assert totals[0] > budget
    assert thumbs.fitting(drawn, keys, values, budget) == thumbs.LOOKS[1]


def test_a_pair_that_cannot_be_read_says_why_and_the_others_are_there(drawn, tmp_path):
    folder = shutil.copytree(drawn, tmp_path / "broken")
    keys = pages.frame_of(folder)["key"].tolist()
    (folder / "images" / f"{keys[3]}.png").unlink()
    (folder / "masks" / f"{keys[5]}.png").write_bytes(b"no PNG")
    seen = []
    made = thumbs.thumbnails(folder, keys, {1: 0, 2: 1}, progress=lambda ended, of: seen.append((ended, of)))
    assert [at for at, one in enumerate(made) if isinstance(one, str)] == [3, 5]
    assert "missing" in made[3]
    assert sum(ended for ended, _ in seen) == len(keys) == seen[0][1]


# Facts


def test_the_splits_are_counted_without_copies(drawn):
    facts, rows = gather(drawn, pages.frame_of(drawn)), pages.frame_of(drawn)
    plain = rows[rows["variant"] == ""]
    assert [one.name for one in facts.sets] == ["train", "valid", "test", UNASSIGNED]
    assert [one.patients for one in facts.sets] == [3, 1, 1, 1]
    assert sum(one.images for one in facts.sets) == facts.total.images == len(plain)
    held_out = rows["split"].isin(["valid", "test"]) & (rows["variant"] != "")
    assert held_out.any()
    assert [one.variants for one in facts.sets if one.name in ("valid", "test")] == [0, 0]
    assert sum(one.variants for one in facts.sets) == facts.total.variants == len(rows) - len(plain) - held_out.sum()
    assert facts.unused == held_out.sum()
    assert "2 augmented copies of validation and test\n  images are laid out nowhere" in html_of(facts=facts)
    assert sum(one.foreground for one in facts.sets) == (plain["foreground"] > 0).sum()
    assert sum(one.share for one in facts.sets) == pytest.approx(1)
    some = plain[plain["foreground"] > 0]
    assert facts.total.area == pytest.approx(some["foreground"].sum() / (some["height"] * some["width"]).sum())
    assert facts.counts[:2] == (("patients", 6), ("image and mask pairs", len(plain)))
    assert ("label_values", rows["flags"].str.contains("label_values").sum()) in facts.flags


def test_copies_that_are_laid_out_everywhere_are_counted_everywhere(drawn, tmp_path):
    folder, rows = shutil.copytree(drawn, tmp_path / "everywhere"), pages.frame_of(drawn)
    write_stamp(folder, Stamp("0" * 64, variants="everywhere"))
    facts = gather(folder, rows)
    assert all(one.variants for one in facts.sets)
    assert (facts.total.variants, facts.unused) == (int((rows["variant"] != "").sum()), 0)


def test_without_patients_what_is_kept_whole_is_counted(drawn):
    rows = pages.frame_of(drawn)
    assert gather(drawn, rows.assign(patient="")).units == "groups"
    assert gather(drawn, rows.assign(patient="", group="")).counts[0] == ("cases", 6)


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({"window": ["-1350:150"]}, "Window: -1350 to 150 in the source's units (HU for CT)"),
        ({"window": ["lung", "bone", "0:80"]}, "red lung, green bone, blue 0 to 80"),
        ({"window": []}, "8-bit pictures as they are, 16-bit ones divided by 257"),
        ({"size": None}, "Size: the source's own."),
        ({"size": 256, "stretch": False}, "256x256, padded"),
        ({"size": 256, "stretch": True}, "squashed"),
        ({"keep_empty": True}, "Empty masks: kept"),
        (
            {"crops": [40], "flips": ["h"], "rotations": [5.0]},
            "centre crop by 40, mirrored (h), turned by 5.0 degrees",
        ),
        ({"flips": ["v"], "combine": True}, "mirrored (v), and their combinations"),
        ({"options": {"mask": "nucleus", "none": None}}, "Options of the generator: mask: nucleus."),
    ],
)
def test_the_recipe_is_told_in_words(drawn, tmp_path, recipe, words):
    document = manifest.read_dataset(drawn) | {"recipe": {"generator": "x", **recipe}}
    (tmp_path / manifest.DATASET).write_text(json.dumps(document))
    assert words in " ".join(gather(tmp_path, pages.frame_of(drawn)).recipe)


@pytest.mark.parametrize(
    "recipe", [{"size": 64, "window": ["-1350:150"]}, {"crops": [40], "rotations": [5.0], "keep_empty": True}]
)
def test_the_card_and_the_page_say_the_same_of_the_recipe(drawn, tmp_path, recipe):
    document = manifest.read_dataset(drawn) | {"recipe": {"generator": "x", **recipe}}
    (tmp_path / manifest.DATASET).write_text(json.dumps(document))
    rows = pages.frame_of(drawn)
    readme = card.readme.text(card.facts.gather(tmp_path, rows)).replace("`", "")
    for sentence in gather(tmp_path, rows).recipe[1:]:
        what, _, how = sentence.removesuffix(".").partition(": ")
        assert f"| {what.lower()} | {how} |" in readme


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
PARTS = ("name", "source", "recipe", "labels", "counts", "excluded", "versions", "flags")


@given(st.dictionaries(st.sampled_from(PARTS), JSON))
@settings(max_examples=40)
def test_whatever_stands_in_dataset_json_the_page_is_made(drawn, tmp_path_factory, document):
    folder = tmp_path_factory.mktemp("odd")
    (folder / manifest.DATASET).write_text(json.dumps(document))
    facts = gather(folder, pages.frame_of(drawn))
    assert html_of(facts=facts).startswith("<!doctype html>")


def html_of(**values):
    """A page of a dataset without pairs' thumbnails."""
    given = report._BARE | {"eyebrow": "Dataset report", "heading": "x", "pairs": gallery.script_json({})}
    return page.render(given | values)


# Verdicts


@pytest.mark.parametrize(
    ("severities", "tone", "words"),
    [
        ([], "good", "Sound: no errors"),
        (["advice"], "good", "Sound: no errors"),
        (["warning", "advice"], "warn", "Look at one thing"),
        (["warning", "warning"], "warn", "Look at 2 things"),
        (["error", "warning", "advice"], "bad", "2 things to look at"),
    ],
)
def test_the_headline_tells_sound_from_not_sound(severities, tone, words):
    findings = [(f"AU{number}", severity, "m", ()) for number, severity in enumerate(severities)]
    found = verdict.headline(pages.said(findings))
    assert found.tone == tone
    assert words in found.title


def test_a_verdict_is_no_better_than_what_could_be_judged():
    found = verdict.headline(pages.said(unjudged=("There are no two splits.",)))
    assert "as far as could be judged" in found.title
    assert "Sound" not in found.title
    assert found.tone != "good"


def test_findings_are_grouped_the_gravest_first_and_none_is_forgotten():
    files = tuple(f"images/k{number}.png" for number in range(50))
    findings = [("AU201", "warning", "dark", (file,)) for file in files]
    findings += [("AU101", "error", "p1 is in train and test", files), ("AU401", "advice", "small", ())]
    keys = {f"k{number}" for number in range(50)}
    grouped = verdict.groups(pages.said(findings), audit.CODES, keys)
    assert [one.code for one in grouped] == ["AU101", "AU201", "AU401"]
    assert [one.count for one in grouped] == [1, 50, 1]
    assert [one.in_gallery for one in grouped] == [True, True, False]
    assert grouped[0].shown[0].more == 30
    assert all(sum(len(seen.files) for seen in one.shown) <= verdict.SHOWN for one in grouped)
    assert grouped[0].why == audit.CODES["AU101"].why


@pytest.mark.parametrize(
    ("file", "key"),
    [
        ("images/a-0001.png", "a-0001"),
        ("masks/a-0001.png", "a-0001"),
        ("train/images/a-0001.png", "a-0001"),
        ("images/b.png", ""),
        ("manifest.csv", ""),
        ("other/a-0001.png", ""),
    ],
)
def test_a_file_leads_to_its_pair(file, key):
    assert verdict.key_of(file, {"a-0001"}) == key


# What the gallery reads


def test_the_columns_say_what_the_manifest_says(drawn):
    rows = pages.frame_of(drawn)
    told = gallery.columns(rows, {rows["key"][2]: {"AU201"}}, {"AU201": "dark"})
    for name in ("split", "patient", "variant", "source"):
        assert [told[name]["names"][at] for at in told[name]["at"]] == rows[name].tolist()
    flags = [{told["flag"]["names"][at] for at in some} for some in told["flags"]]
    assert flags[2] == {*rows["flags"][2].split(), "AU201"}
    assert told["flag"]["titles"][told["flag"]["names"].index("AU201")] == "dark"
    assert told["unit"] == "mm²"
    assert told["area"] == pytest.approx((rows["foreground"] * 0.4).tolist(), rel=1e-3)


def test_without_spacing_the_area_is_a_share(drawn):
    rows = pages.frame_of(drawn)
    rows.loc[rows["foreground"].idxmax(), "spacing_x"] = float("nan")
    area, unit = gallery.areas(rows)
    assert unit == "% of the picture"
    assert max(area) == pytest.approx(100 * rows["foreground"].max() / (40 * 48), rel=1e-3)


@given(st.recursive(st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_json_in_a_script_reads_back_and_cannot_end_it(value):
    text = str(gallery.script_json(value))
    assert json.loads(text) == value
    assert not set(text) & set("<>&\u2028\u2029")


# The page


class Parsed(HTMLParser):
    """What a browser would make of a page: elements, and the text of scripts and style."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.inside = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.inside.append([tag, dict(attrs).get("type"), ""])

    def handle_data(self, data):
        if self.cdata_elem:
            self.inside[-1][2] += data


@pytest.fixture
def hostile(drawn, tmp_path, monkeypatch):
    """A dataset of which every text tries to break out."""
    folder = shutil.copytree(drawn, tmp_path / "hostile")
    source = dict.fromkeys(("title", "url", "licence", "licence_url", "citation"), HOSTILE) | {"notes": [HOSTILE]}
    told = {"name": HOSTILE, "source": source, "excluded": {HOSTILE: HOSTILE}, "versions": {"imagemask": HOSTILE}}
    told["labels"] = [{"name": HOSTILE, "source_value": 1, "mask_value": 1}]
    told["recipe"] = {"generator": HOSTILE, "window": [HOSTILE], "options": {HOSTILE: HOSTILE}}
    (folder / manifest.DATASET).write_text(json.dumps(told))
    table = manifest.csv_bytes(("case", "file", "stage", "code", "reason", "remedy"), [[HOSTILE] * 6])
    (folder / manifest.QUARANTINE).write_bytes(table)
    rows = pages.frame_of(folder).assign(patient=HOSTILE, category=HOSTILE, source=HOSTILE, flags="<b>")
    manifest.write(folder, rows)
    finding = ("AU101", "error", HOSTILE, (HOSTILE, f"images/{rows['key'][0]}.png"))
    said = pages.said([finding], verdicts=(HOSTILE,), unjudged=(HOSTILE,))
    monkeypatch.setattr(audit, "audit", lambda *_, **__: said)
    return folder


def test_no_text_breaks_out(hostile, drawn, tmp_path):
    plain = Parsed(report.write(drawn, tmp_path / "plain.html").read_text())
    odd = Parsed(report.write(hostile, tmp_path / "hostile.html").read_text())
    scripts = [[one for tag, one, _ in seen.inside if tag == "script"] for seen in (plain, odd)]
    assert scripts[0] == scripts[1]
    assert not [attributes for tag, attributes in odd.elements if any(name.startswith("on") for name in attributes)]
    assert not [tag for tag, _ in odd.elements if tag == "img"]
    links = [attributes["href"] for tag, attributes in odd.elements if tag == "a"]
    assert all(link.startswith("#") for link in links)


def test_the_policy_lets_in_this_script_and_style_and_nothing_from_outside(drawn, quiet, tmp_path):
    seen = Parsed(report.write(drawn, tmp_path / "p.html").read_text())
    policy = next(one["content"] for tag, one in seen.elements if tag == "meta" and one.get("http-equiv"))
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    for tag in ("script", "style"):
        (own,) = [text for name, kind, text in seen.inside if name == tag and kind is None]
        digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
        assert rules[f"{tag}-src"] == f"'sha256-{digest}'"
    assert rules["default-src"] == "'none'"
    assert "http" not in policy
    assert not [
        one
        for tag, one in seen.elements
        if tag in ("link", "iframe", "script", "img") and ("src" in one or tag == "link")
    ]
    assert not [one for _, one in seen.elements if "style" in one]


def test_a_missing_value_is_an_error():
    with pytest.raises(jinja2.UndefinedError):
        page.render({})


def test_the_same_dataset_gives_the_same_page(drawn, quiet, tmp_path):
    first, second = (report.write(drawn, tmp_path / name).read_bytes() for name in ("a.html", "b.html"))
    assert first == second


@pytest.mark.slow
def test_workers_change_nothing(drawn, tmp_path):
    first, second = (report.write(drawn, tmp_path / "w.html", workers=workers).read_bytes() for workers in (1, 2))
    assert first == second


def blocks_of(path, name):
    """The JSON blocks of a page whose id begins with ``name``, by id."""
    found = re.findall(
        rf'<script type="application/json" id="({name}[^"]*)">(.*?)</script>', path.read_text(), re.DOTALL
    )
    return {place: json.loads(text) for place, text in found}


def test_every_pair_has_its_thumbnail_in_order(drawn, quiet, tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "BLOCK", 7)
    made = report.write(drawn, tmp_path / "t.html")
    blocks = blocks_of(made, "block-")
    assert list(blocks) == [f"block-{number}" for number in range(-(-30 // 7))]
    thumbnails = [one for block in blocks.values() for one in block]
    keys = blocks_of(made, "pairs")["pairs"]["keys"]
    assert keys == pages.frame_of(drawn)["key"].tolist()
    values = {1: 0, 2: 1}
    for key, (uri, width, height, outlines) in zip(keys, thumbnails, strict=True):
        one = thumbs.thumb_of(drawn, key, values, *thumbs.LOOKS[0])
        assert (uri, width, height) == (one.uri, one.width, one.height)
        assert [tuple(pair) for pair in outlines] == list(one.outlines)


def test_embedded_pairs_are_the_files_themselves_evenly_chosen(drawn, quiet, tmp_path):
    rows = pages.frame_of(drawn)
    full = blocks_of(report.write(drawn, tmp_path / "e.html", embed=5), "full-")
    assert {rows["key"][int(place[5:])] for place in full} == set(preview.choose(rows, 5)["key"])
    for place, uri in full.items():
        data = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
        assert data == (drawn / "images" / f"{rows['key'][int(place[5:])]}.png").read_bytes()


def test_full_size_pictures_are_looked_for_beside_the_page_only_where_it_lies_in_the_dataset(drawn, quiet, tmp_path):
    inside, outside = drawn / "page.html", tmp_path / "page.html"
    assert blocks_of(report.write(drawn, inside), "pairs")["pairs"]["folder"] == "images/"
    assert blocks_of(report.write(drawn, outside), "pairs")["pairs"]["folder"] is None
    inside.unlink()


def test_pairs_that_cannot_be_shown_are_counted_on_the_page(drawn, quiet, tmp_path):
    folder = shutil.copytree(drawn, tmp_path / "broken")
    (folder / "images" / f"{pages.frame_of(folder)['key'][0]}.png").unlink()
    assert "1 pair cannot be shown" in report.write(folder, tmp_path / "b.html").read_text()


def test_the_true_audit_is_on_the_page(drawn, tmp_path):
    text = report.write(drawn, tmp_path / "a.html").read_text()
    for sentence in audit.audit(drawn).verdicts:
        assert str(escape(sentence)) in text


@pytest.mark.parametrize("name", ["page.pdf", "page"])
def test_a_page_is_html_by_its_name(drawn, tmp_path, name):
    with pytest.raises(UsageError, match=r"\.html"):
        report.write(drawn, tmp_path / name)


def test_what_is_no_dataset_of_ours_is_refused(drawn, tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(UsageError, match="neither a dataset of ours nor a run"):
        report.write(tmp_path, tmp_path / "r.html")
    with pytest.raises(UsageError, match="is not there"):
        report.write(tmp_path / "gone", tmp_path / "r.html")
    with pytest.raises(InputError, match="no such folder"):
        report.write(drawn, tmp_path / "gone" / "r.html")
    shutil.copy(drawn / manifest.MANIFEST, tmp_path)
    with pytest.raises(InputError, match=r"dataset\.json: is missing"):
        report.write(tmp_path, tmp_path / "r.html")
    shutil.copy(drawn / manifest.DATASET, tmp_path)
    manifest.write(tmp_path, manifest.table([]))
    with pytest.raises(InputError, match="holds no pair"):
        report.write(tmp_path, tmp_path / "r.html")


# The command


def test_the_command_writes_into_the_dataset_and_says_where(drawn, quiet, tmp_path, monkeypatch):
    folder = shutil.copytree(drawn, tmp_path / "datasets" / "drawn")
    monkeypatch.chdir(tmp_path)
    done = call("report", "--png", "--embed", "2", "--workers", "1")
    lines = done.stdout.splitlines()
    assert lines[0] == "datasets/drawn/report.html"
    assert all((tmp_path / line).is_file() for line in lines)
    assert "datasets/drawn/Drawn_Statistics.png" in lines
    assert len(blocks_of(folder / "report.html", "full-")) == 2
    assert call("report", "drawn", "--out", "here.html", "--workers", "1").stdout == "here.html\n"


def test_in_a_run_folder_the_run_is_what_is_reported(drawn, quiet, tmp_path, monkeypatch):
    home = shutil.copytree(drawn, tmp_path / "drawn")
    monkeypatch.chdir(made(tmp_path / "run", home))
    assert call("report", "--workers", "1").stdout == "report.html\n"
    assert "Run report" in (tmp_path / "run" / "report.html").read_text()


def test_from_the_eighth_class_on_the_legend_has_dashes(drawn, quiet, tmp_path):
    folder = shutil.copytree(drawn, tmp_path / "many")
    labels = [{"name": f"class {at}", "source_value": at, "mask_value": at} for at in range(1, 31)]
    (folder / manifest.DATASET).write_text(json.dumps(manifest.read_dataset(drawn) | {"labels": labels}))
    text = report.write(folder, tmp_path / "r.html").read_text()
    legend = re.search(r'<ul class="legend">.*?</ul>', text, re.DOTALL)[0]
    marks = re.findall(r'<(?:span|path) class="(?:swatch )?(c\d[^"]*)"', legend)
    assert len(marks) == 30
    assert len(set(marks[:28])) == 28
    assert marks[7] == "c0 d1"


def test_the_command_opens_the_page_where_it_is_asked_to(drawn, quiet, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr("click.launch", opened.append)
    call("report", drawn, "--out", tmp_path / "r.html", "--open", "--workers", "1")
    assert opened == [(tmp_path / "r.html").as_uri()]


def test_the_command_refuses_a_foreign_folder(tmp_path):
    (tmp_path / "images").mkdir()
    assert "neither a dataset of ours nor a run" in call("report", tmp_path, code=2).stderr
