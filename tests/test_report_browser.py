"""The page of a dataset in a real Chromium, headless: what can be clicked, typed, linked to, heard and printed.

Where there is no Playwright or no Chromium these are skipped, each counted, unless IMAGEMASK_REQUIRE_BROWSER is set.
Every page is held to no error on its console and no request but for files beside it.
"""

import importlib
import os
import re
import shutil
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np
import pages
import pytest
from test_report_run import made

from imagemask import audit, images, manifest, report
from imagemask.report import gallery, thumbs

pytestmark = pytest.mark.browser

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
HOSTILE = "\"'><script>window.pwned=1</script><img src=x onerror=window.pwned=1>"
FINDINGS = [
    ("AU101", "error", "P 1 is in train and in test", ("images/c01-0000.png", "images/c01-0002.png")),
    ("AU201", "warning", "the image is constant", ("images/c02-0003.png",)),
    ("AU401", "advice", "the test set is small", ()),
]
SCHEMES = ("light", "dark")


def missing(what):
    assert not os.environ.get("IMAGEMASK_REQUIRE_BROWSER"), f"there is no {what}"
    pytest.skip(f"there is no {what}")


def imported(name):
    try:
        return importlib.import_module(name)
    except ImportError:
        return missing(name)


@pytest.fixture(scope="module")
def axe():
    return imported("axe_playwright_python.sync_playwright").Axe()


@pytest.fixture(scope="module")
def chromium():
    """A headless Chromium."""
    found = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if found is None:
        missing("Chromium")
    sync_playwright = imported("playwright.sync_api").sync_playwright
    imported("playwright.sync_api").expect.set_options(timeout=60_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """A dataset with its page in it, and an audit that has something to say; beside it a run over it."""
    folder = pages.dataset(tmp_path_factory.mktemp("browser") / "drawn", patients=30)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audit, "audit", lambda *_, **__: pages.said(FINDINGS))
        report.write(folder, folder / "report.html")
        report.write(folder, folder.parent / "elsewhere.html", embed=1)
        run = made(folder.parent / "run", folder)
        report.write(run, run / "report.html")
    return folder


@contextmanager
def opened(chromium, path, *, after="", scheme="light", width=1200, errors=0):
    """A page of its own. Fails on an error on its console (all but so many), and on a request that leaves the disk."""
    context = chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page, said, asked = context.new_page(), [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri() + after)
    try:
        yield page
        assert len(said) == errors, said
        assert {url.partition(":")[0] for url in asked} <= {"file", "data"}
    finally:
        context.close()


@pytest.fixture
def page(chromium, dataset):
    with opened(chromium, dataset / "report.html") as one:
        yield one


@pytest.fixture(scope="module")
def standing(chromium, dataset):
    """A page that several tests use one after another: each begins by clearing the filters."""
    with opened(chromium, dataset / "report.html") as one:
        yield one


def expect(locator):
    from playwright.sync_api import expect as wait_for

    return wait_for(locator)


def labelled(page, words):
    return page.get_by_label(words, exact=True)


def counted(page, number, total):
    """Wait until the page says that so many pairs are shown, and hold the cards to it: 60 at least, where there are."""
    words = f"{number} of {total} pairs" if number != total else f"{total} pairs"
    expect(page.locator("#count")).to_have_text(words)
    assert min(number, 60) <= page.locator("#grid > li").count() <= number


def shown(page):
    return page.locator("#grid .key").all_inner_texts()


@pytest.mark.parametrize(
    ("field", "value", "fits"),
    [
        ("split", "test", lambda row: row["split"] == "test"),
        ("split", "-", lambda row: row["split"] == ""),
        ("patient", "P 1", lambda row: row["patient"] == "P 1"),
        ("patient", "p 2", lambda row: "P 2" in row["patient"]),
        ("patient", "c03-0", lambda row: row["case"] == "c03"),
        ("variant", "-", lambda row: row["variant"] == ""),
        ("variant", "fliph", lambda row: row["variant"] == "fliph"),
        ("flag", "-", lambda row: row["flags"] == "" and row["key"] not in ("c01-0000", "c01-0002", "c02-0003")),
        ("flag", "spacing_differs", lambda row: "spacing_differs" in row["flags"]),
        ("flag", "AU201", lambda row: row["key"] == "c02-0003"),
        ("from", "100", lambda row: row["foreground"] * 0.4 >= 100),
        ("to", "0", lambda row: row["foreground"] == 0),
    ],
)
def test_a_filter_shows_what_fits_and_nothing_else(standing, dataset, field, value, fits):
    page = standing
    page.get_by_role("button", name="Clear").click()
    rows = pages.frame_of(dataset)
    wanted = [row["key"] for row in rows.to_dict("records") if fits(row)]
    assert 0 < len(wanted) < len(rows)
    control = page.locator(f"[name={field}]")
    if control.evaluate("element => element.tagName") == "SELECT":
        control.select_option(value)
    else:
        control.fill(value)
    counted(page, len(wanted), len(rows))
    assert shown(page)[:60] == wanted[:60]


def test_filters_join_and_are_cleared(page, dataset):
    rows = pages.frame_of(dataset)
    labelled(page, "Split").select_option("train")
    labelled(page, "Variant").select_option("fliph")
    counted(page, int(((rows["split"] == "train") & (rows["variant"] == "fliph")).sum()), len(rows))
    assert "split=train" in page.url
    page.get_by_role("button", name="Clear").click()
    counted(page, len(rows), len(rows))
    assert "#" not in page.url


def test_more_cards_come_as_the_end_comes_near_and_thumbnails_only_where_one_looks(page, dataset):
    total = len(pages.frame_of(dataset))
    assert total > 120
    expect(page.locator("#grid > li")).to_have_count(60)
    assert page.locator("#grid img").count() == 0
    page.locator("#filters").scroll_into_view_if_needed()
    expect(page.locator("#grid img").first).to_be_visible()
    assert page.locator("#grid img").count() < 60
    page.locator("#more").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#grid > li:nth-child(61) a")).to_be_focused()
    page.locator("footer").scroll_into_view_if_needed()
    expect(page.locator("#grid > li")).to_have_count(total)
    expect(page.locator("#more")).to_be_hidden()


@pytest.mark.parametrize("where", ["#gallery-bar", "#view"])
def test_overlays_are_outlines_fills_or_off_and_more_or_less_opaque(page, where):
    page.locator("a.pair").nth(2).scroll_into_view_if_needed()
    if where == "#view":
        page.locator("a.pair").nth(2).click()
    masks = page.locator("#grid li:nth-child(3) svg.masks")
    expect(masks.locator("path")).to_have_count(2)
    looks = {}
    for mode in ("Fill", "Off", "Outline"):
        button = page.locator(where).get_by_role("button", name=mode)
        button.click()
        expect(button).to_have_attribute("aria-pressed", "true")
        style = masks.locator("path").first.evaluate("element => getComputedStyle(element).fill")
        looks[mode] = (style != "none", masks.evaluate("element => getComputedStyle(element).display") != "none")
    assert looks == {"Outline": (False, True), "Fill": (True, True), "Off": (False, False)}
    page.locator(where).get_by_label("Opacity").fill("40")
    assert masks.evaluate("element => getComputedStyle(element).opacity") == "0.4"


def test_an_outline_lies_where_the_lesion_is(page, dataset):
    key = "c00-0003"
    page.goto(f"{page.url}#pair={key}")
    path = page.locator("#view-picture svg .c0")
    box = path.evaluate("element => { const b = element.getBBox(); return [b.x, b.y, b.width, b.height]; }")
    _, mask = pages.pair(3)
    rows, columns = np.nonzero(mask == 1)
    wanted = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
    assert np.abs(np.array(box) / thumbs.FINE - wanted).max() <= 0.75


def test_keys_lead_through_the_large_view(page, dataset):
    keys = pages.frame_of(dataset)["key"].tolist()
    title, root = page.locator("#view-title"), page.locator("html")
    page.locator("a.pair").first.click()
    expect(title).to_be_focused()
    for key, wanted in (
        ("ArrowRight", 1),
        ("ArrowRight", 2),
        ("ArrowLeft", 1),
        ("End", -1),
        ("ArrowRight", -1),
        ("Home", 0),
    ):
        page.keyboard.press(key)
        expect(title).to_have_text(keys[wanted])
        assert unquote(page.url).endswith(f"#pair={keys[wanted]}")
    expect(page.get_by_role("button", name="Previous pair")).to_be_disabled()
    for key, mode in (("f", "fill"), ("x", "off"), ("o", "outline")):
        page.keyboard.press(key)
        expect(root).to_have_attribute("data-overlay", mode)
    page.keyboard.press("End")
    page.keyboard.press("Escape")
    expect(page.locator("#view")).to_be_hidden()
    expect(page.locator("#grid > li:last-child a")).to_be_focused()
    assert page.locator("#grid > li").count() == len(keys)
    expect(page).to_have_url(re.compile(r"report\.html$"))
    expect(page.locator("#grid > li:last-child a")).to_be_in_viewport()


def test_a_slider_keeps_its_arrows(page):
    page.locator("a.pair").first.click()
    expect(page.locator("#view-title")).to_be_focused()
    title = page.locator("#view-title").inner_text()
    page.locator("#view-opacity").focus()
    page.keyboard.press("ArrowLeft")
    assert page.locator("#view-opacity").input_value() == "85"
    assert page.locator("#view-title").inner_text() == title


def test_the_large_view_steps_through_what_is_filtered(page, dataset):
    rows = pages.frame_of(dataset)
    keys = rows["key"][rows["split"] == "valid"].tolist()
    labelled(page, "Split").select_option("valid")
    counted(page, len(keys), len(rows))
    page.locator("a.pair").nth(1).click()
    expect(page.locator("#view-place")).to_have_text(f"2 of {len(keys)}")
    page.get_by_role("button", name="Next pair").click()
    expect(page.locator("#view-title")).to_have_text(keys[2])
    assert "split=valid" in page.url


def test_a_link_to_a_pair_opens_it_at_full_size(chromium, dataset):
    with opened(chromium, dataset / "report.html", after="#pair=c01-0001~fliph") as page:
        expect(page.locator("#view-title")).to_have_text("c01-0001~fliph")
        expect(page.locator("#view-note")).to_have_text("Full size, 48 x 40.")
        source = page.locator("#view-picture img").get_attribute("src")
        assert source.endswith("images/c01-0001~fliph.png")
        page.keyboard.press("Escape")
        expect(page.locator("#view")).to_be_hidden()
        expect(page.locator("#grid")).to_be_visible()


def test_a_link_may_carry_filters(chromium, dataset):
    rows = pages.frame_of(dataset)
    with opened(chromium, dataset / "report.html", after="#patient=P%201&flag=AU101") as page:
        counted(page, 2, len(rows))
        expect(labelled(page, "Flag")).to_have_value("AU101")
        expect(page.locator("#gallery")).to_be_in_viewport()


def test_the_back_button_closes_the_large_view_and_keeps_the_filters(page, dataset):
    labelled(page, "Split").select_option("test")
    expect(page.locator("#count")).to_contain_text("of")
    words = page.locator("#count").inner_text()
    page.locator("a.pair").first.click()
    expect(page.locator("#view")).to_be_visible()
    page.go_back()
    expect(page.locator("#view")).to_be_hidden()
    assert page.locator("#count").inner_text() == words
    page.go_forward()
    expect(page.locator("#view")).to_be_visible()
    page.get_by_role("button", name="Close").click()
    expect(page.locator("#view")).to_be_hidden()
    expect(page).to_have_url(re.compile("#split=test$"))


def test_a_finding_leads_to_its_pairs(page, dataset):
    page.get_by_role("link", name="images/c01-0002.png").click()
    expect(page.locator("#view-title")).to_have_text("c01-0002")
    assert "AU101" in page.locator("#view-facts").inner_text()
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Show them in the gallery").first.click()
    counted(page, 2, len(pages.frame_of(dataset)))


def test_a_pair_that_is_not_there_is_said(chromium, dataset):
    with opened(chromium, dataset / "report.html", after="#pair=nobody") as page:
        expect(page.locator("#count")).to_have_text("There is no pair nobody in this dataset")
        expect(page.locator("#view")).to_be_hidden()


def test_a_page_elsewhere_says_that_it_shows_the_thumbnail(chromium, dataset):
    path = dataset.parent / "elsewhere.html"
    rows = pages.frame_of(dataset)
    from imagemask import preview

    (embedded,) = preview.choose(rows, 1)["key"]
    other = next(key for key in rows["key"] if key != embedded)
    with opened(chromium, path, after=f"#pair={other}") as page:
        expect(page.locator("#view-note")).to_contain_text("does not lie in its dataset")
        page.goto(f"{path.as_uri()}#pair={embedded}")
        expect(page.locator("#view-note")).to_have_text("Full size, 48 x 40.")


def test_a_page_that_is_older_than_its_pictures_lays_no_outline_over_them(chromium, dataset, tmp_path):
    shutil.copy(dataset / "report.html", tmp_path)
    (tmp_path / "images").mkdir()
    larger = images.encode_png(np.zeros((80, 96), np.uint8), level=1)
    (tmp_path / "images" / "c00-0000.png").write_bytes(larger)
    with opened(chromium, tmp_path / "report.html", after="#pair=c00-0000") as page:
        expect(page.locator("#view-note")).to_contain_text("the picture is 96 x 80 by now, not 48 x 40")
        expect(page.locator("#view-note")).to_contain_text("older than its dataset")
        assert page.locator("#view-picture img").get_attribute("src").startswith("data:image/")


def test_from_the_eighth_class_on_outlines_are_dashed(chromium, tmp_path, monkeypatch):
    monkeypatch.setattr(audit, "audit", lambda *_, **__: pages.said())
    labels = [{"name": f"class {value}", "source_value": value, "mask_value": value} for value in range(9, 0, -1)]
    folder = pages.dataset(tmp_path / "many", labels=labels)  # value 1 is the ninth class, 2 the eighth
    report.write(folder, folder / "report.html")
    with opened(chromium, folder / "report.html", after="#pair=c01-0000") as page:
        path = page.locator("#view-picture svg .c0.d1")
        expect(path).to_have_count(1)
        assert path.evaluate("one => getComputedStyle(one).strokeDasharray") == "6px, 3px"


def test_a_page_that_was_moved_says_so(chromium, dataset, tmp_path):
    moved = shutil.copy(dataset / "report.html", tmp_path)
    with opened(chromium, Path(moved), after="#pair=c00-0000", errors=1) as page:
        expect(page.locator("#view-note")).to_contain_text("images/c00-0000.png is not beside this page")
        assert page.locator("#view-picture img").get_attribute("src").startswith("data:image/")


@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES)
def test_axe_finds_nothing(chromium, axe, dataset, scheme):
    with opened(chromium, dataset / "report.html", scheme=scheme) as page:
        page.locator("summary").evaluate_all("all => all.forEach((one) => { one.parentElement.open = true; })")
        page.locator("a.pair").nth(20).scroll_into_view_if_needed()
        expect(page.locator("#grid img").first).to_be_attached()
        for state in ("gallery", "dialog"):
            if state == "dialog":
                page.locator("a.pair").first.click()
                expect(page.locator("#view-note")).to_contain_text("Full size")
            hold(axe.run(page))


@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES)
def test_axe_finds_nothing_on_the_page_of_a_run(chromium, axe, dataset, scheme):
    with opened(chromium, dataset.parent / "run" / "report.html", scheme=scheme, width=700) as page:
        expect(page.locator("h1")).to_have_text("Run run over drawn")
        hold(axe.run(page))


def hold(found):
    assert found.violations_count == 0, found.generate_report()


def test_a_score_of_a_run_leads_to_the_slices_of_the_patient(chromium, dataset):
    rows = pages.frame_of(dataset)
    with opened(chromium, dataset.parent / "run" / "report.html") as page:
        page.locator("table").get_by_role("link", name="P 1", exact=True).click()
        counted(page, int((rows["patient"] == "P 1").sum()), len(rows))
        expect(page.locator("#gallery-bar")).to_be_in_viewport()


def test_colours_follow_the_scheme(chromium, dataset):
    papers = []
    for scheme in SCHEMES:
        with opened(chromium, dataset / "report.html", scheme=scheme) as page:
            papers.append(page.locator("body").evaluate("element => getComputedStyle(element).backgroundColor"))
    light, dark = (sum(int(part) for part in paper[4:-1].split(",")) for paper in papers)
    assert dark < 150
    assert light > 600


@pytest.mark.parametrize("width", [320, 700])
def test_nothing_is_wider_than_a_phone(chromium, dataset, width):
    with opened(chromium, dataset / "report.html", width=width) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == width
        page.locator("a.pair").nth(3).click()
        expect(page.locator("#view-note")).to_contain_text("Full size")
        assert page.locator("#view").evaluate("element => element.scrollWidth") == width
        for button in page.locator("#view button").all():
            place = button.bounding_box()
            assert place["x"] >= 0
            assert place["x"] + place["width"] <= width


def test_on_paper_there_are_no_controls(page):
    expect(page.locator("#filters")).to_be_visible()
    page.emulate_media(media="print")
    for control in ("#filters", "nav.bar", "#gallery-bar"):
        expect(page.locator(control)).to_be_hidden()
    expect(page.locator("#grid")).to_be_visible()


def test_the_keyboard_alone_is_enough(page):
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.locator("#f-to").focus()
    for _ in range(6):  # clear, three overlays, opacity, the first pair
        page.keyboard.press("Tab")
    expect(page.locator("a.pair").first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#view-title")).to_be_focused()


def test_hostile_names_are_only_text(chromium, dataset, tmp_path, monkeypatch):
    folder = shutil.copytree(dataset, tmp_path / "hostile")
    document = manifest.read_dataset(folder) | {"name": HOSTILE}
    (folder / manifest.DATASET).write_text(gallery.json.dumps(document))
    manifest.write(folder, pages.frame_of(folder).assign(patient=HOSTILE, source=HOSTILE, flags="<b>&"))
    said = pages.said([("AU101", "error", HOSTILE, (HOSTILE,))], verdicts=(HOSTILE,))
    monkeypatch.setattr(audit, "audit", lambda *_, **__: said)
    made = report.write(folder, folder / "report.html")
    with opened(chromium, made, after=f"#patient={quote(HOSTILE)}") as page:
        counted(page, len(pages.frame_of(folder)), len(pages.frame_of(folder)))
        page.locator("a.pair").first.click()
        expect(page.locator("#view-facts")).to_contain_text(HOSTILE)
        expect(page.locator("h1")).to_have_text(HOSTILE)
        assert page.evaluate("window.pwned") is None
        assert page.locator("b").count() == 0


def test_the_policy_stops_a_script_that_got_in(chromium, dataset):
    with opened(chromium, dataset / "report.html", errors=1) as page:
        page.evaluate(
            "() => document.body.append(Object.assign(document.createElement('script'), { text: 'window.pwned = 1' }))"
        )
        assert page.evaluate("window.pwned") is None


@pytest.mark.slow
def test_five_thousand_pairs_make_a_page_under_25_mb_that_draws_what_is_seen(chromium, tmp_path, monkeypatch):
    # Twenty pictures stand for all, thumbnails included: what is tried is the page, and the choice of their size.
    folder = pages.dataset(tmp_path / "many", patients=5, slices=4, size=(256, 256), noise=45)
    few = pages.frame_of(folder)
    keys = few["key"].tolist()
    rows = few.loc[np.arange(5000) % len(few)].assign(key=[f"{keys[at % len(keys)]}.{at:04d}" for at in range(5000)])
    manifest.write(folder, rows)
    values = {1: 0, 2: 1}
    looks = thumbs.fitting(folder, [keys[at % len(keys)] for at in range(5000)], values)
    made = [thumbs.thumb_of(folder, key, values, *looks) for key in keys]
    many = [made[keys.index(key.rpartition(".")[0])] for key in pages.frame_of(folder)["key"]]
    monkeypatch.setattr(report, "thumbnails", lambda *_, **__: many)
    monkeypatch.setattr(audit, "audit", lambda *_, **__: pages.said(FINDINGS))
    path = report.write(folder, folder / "report.html")
    assert 10e6 < path.stat().st_size < 25e6
    with opened(chromium, path, errors=1) as page:  # no full-size picture was written
        expect(page.locator("#count")).to_have_text("5,000 pairs")
        expect(page.locator("#grid > li")).to_have_count(60)
        assert page.locator("#grid img").count() == 0
        page.locator("#f-patient").fill("P 3")
        expect(page.locator("#count")).to_contain_text("of 5,000 pairs")
        page.locator("a.pair").first.click()
        expect(page.locator("#view-picture img")).to_be_visible()
        expect(page.locator("#view-note")).to_contain_text("is not beside this page")
