"""The report of many pairs in a real browser, and the data card of a large manifest.

Run with ``python benchmarks/report_page.py PAIRS [--pairs 5000] [--rows 1000000] [--work DIR]``. PAIRS holds `images/`
and `masks/`: published 512x512 slices of NIH Pancreas-CT, 126 of 31 patients. Each is shifted by up to 24 pixels a way,
every second copy flipped, too; a copy is its patient's. `imagemask build folder`, `split` and `report` make the page.

Headless Chromium opens it at its top and at its gallery, ten times, always in a fresh context. Opening counts from the
start of the navigation, an action from its event, to the end of the frame that shows what was asked for; a filter that
is typed waits 150 ms of it for more keys. Files are in the system's cache.

``--rows 0`` leaves the card out; ``--work`` keeps what was made there, and must hold nothing of it yet.
"""

from __future__ import annotations

import argparse
import importlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import split_manifest
from measure import Idleness, Memory, Took, judged, line, machine

ROUNDS, SHIFT = 10, 24
PAGE_MB, PAINT_SECONDS, ROWS_SECONDS = 25.0, 1.0, 20.0  # what is promised; the last of merge and split
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")

# What a visit runs in the page before its own script: ``settled`` waits for the end of the frame that shows something.
WATCH = """
window.settled = (fits) => new Promise((done, fail) => {
  const channel = new MessageChannel();
  channel.port1.onmessage = () => done(performance.now());
  const look = () => fits() ? channel.port2.postMessage(0) : requestAnimationFrame(look);
  requestAnimationFrame(look);
  setTimeout(() => fail(new Error(`not shown after a minute: ${fits}`)), 60000);
});
const inWindow = (box) => box.bottom > 0 && box.top < innerHeight;
window.thumbnails = async () => {
  const every = () => [...document.querySelectorAll("#grid a.pair .picture")];
  const cards = () => every().filter((card) => inWindow(card.getBoundingClientRect()));
  const loaded = (card) => card.querySelector("img")?.complete;
  await settled(() => cards().length && cards().every(loaded));
  await Promise.all(cards().map((card) => card.querySelector("img").decode()));
  return settled(() => true);
};
"""
OPENED = """async () => {
  const paints = () => performance.getEntriesByType("paint"); // two, told some time after the paint
  await settled(() => document.readyState === "complete" && paints().length > 1);
  const [page] = performance.getEntriesByType("navigation");
  const first = Object.fromEntries(paints().map((one) => [one.name, one.startTime]));
  return { ...first, "read to its end": page.domContentLoadedEventEnd };
}"""
FILTERED = """async ([name, value, words]) => {
  const field = document.querySelector(`[name=${name}]`), begin = performance.now();
  field.value = value;
  field.dispatchEvent(new Event("input", { bubbles: true }));
  const counted = await settled(() => document.getElementById("count").textContent === words);
  return { "its count": counted - begin, "its thumbnails": await thumbnails() - begin };
}"""
ENLARGED = """async () => {
  const [view, picture, note] = ["view", "view-picture", "view-note"].map((id) => document.getElementById(id));
  const begin = performance.now();
  document.querySelector("#grid a.pair").click();
  const opened = await settled(() => view.open && picture.querySelector("img"));
  await settled(() => note.textContent.startsWith("Full size"));
  await picture.querySelector("img").decode();
  return { "its thumbnail": opened - begin, "at full size": await settled(() => true) - begin };
}"""


def write(published: Path, raw: Path, pairs: int) -> None:
    """``pairs`` images and masks, shifted and flipped copies of ``published`` in turn, the first of each unmoved."""
    import cv2
    import numpy as np

    slices = sorted((published / "images").iterdir())
    rng = np.random.default_rng(5)
    for kind in ("images", "masks"):
        (raw / kind).mkdir(parents=True)
    for number in range(pairs):
        copy, at = divmod(number, len(slices))
        right, down = rng.integers(-SHIFT, SHIFT + 1, 2) if copy else (0, 0)
        for kind, suffix in (("images", ".jpg"), ("masks", ".png")):
            pixels = cv2.imread(str(published / kind / slices[at].name), cv2.IMREAD_GRAYSCALE)
            moved = cv2.warpAffine(pixels, np.float32([[1, 0, right], [0, 1, down]]), pixels.shape[::-1])
            moved = cv2.flip(moved, 1) if copy % 2 else moved
            written = moved if kind == "images" else np.where(moved >= 128, np.uint8(255), np.uint8(0))
            cv2.imwrite(str(raw / kind / f"{slices[at].stem}x{copy:02d}{suffix}"), written)


def command(work: Path, *words: object) -> None:
    """Run a command of imagemask in ``work``; what it says goes to a log there."""
    call = [sys.executable, "-m", "imagemask", *map(str, words)]
    with (work / "log.txt").open("ab") as log:
        subprocess.run(call, cwd=work, check=True, stdout=log, stderr=log)


def timed(function: str, *words: str) -> None:
    """As a child: run a command; print the seconds that it spent in ``function`` (module.name, of imagemask)."""
    from imagemask.cli import main as run

    place, _, name = function.rpartition(".")
    module, spent = importlib.import_module(f"imagemask.{place}"), 0.0
    call = getattr(module, name)

    def watched(*given: Any, **named: Any) -> Any:
        nonlocal spent
        begin = time.perf_counter()
        found = call(*given, **named)
        spent += time.perf_counter() - begin
        return found

    setattr(module, name, watched)
    run(words, standalone_mode=False)
    print(spent)


def clocked(function: str, *words: object) -> Took:
    """A command's ``seconds``, imports included, those ``within`` a function, and ``memory``, of all its processes."""
    call = [sys.executable, __file__, "timed", function, *map(str, words)]
    begin = time.perf_counter()
    with subprocess.Popen(call, stdout=subprocess.PIPE, text=True) as process:
        memory = Memory(process.pid)
        said, _ = process.communicate()
    seconds, peak = time.perf_counter() - begin, memory.stop()
    if process.returncode:
        raise SystemExit(f"imagemask {' '.join(map(str, words))} failed")
    return {"seconds": seconds, "within": float(said.split()[-1]), "memory": peak}


def visit(browser: Any, page: Path, filters: Sequence[tuple[str, str, str]]) -> Took:
    """Seconds (of the heap MB) by what was done. ``filters`` are a field, a value, and what the page then says."""
    context, view = fresh(browser)
    view.goto(page.as_uri())
    found = {f"open, {what}": took / 1000 for what, took in view.evaluate(OPENED).items()}
    context.close()
    context, view = fresh(browser)
    view.add_init_script("window.first = thumbnails();")
    view.goto(f"{page.as_uri()}#gallery")
    found["open at the gallery, its thumbnails"] = view.evaluate("() => first") / 1000
    for name, value, words in filters:
        took = view.evaluate(FILTERED, [name, value, words])
        found |= {f"filter by {name}, {what}": one / 1000 for what, one in took.items()}
        view.evaluate(FILTERED, [name, "", words.rpartition(" of ")[2]])
    found |= {f"large view, {what}": took / 1000 for what, took in view.evaluate(ENLARGED).items()}
    found["JavaScript heap at the end"] = context.new_cdp_session(view).send("Runtime.getHeapUsage")["usedSize"] / 1e6
    context.close()
    return found


def fresh(browser: Any) -> tuple[Any, Any]:
    """A context that knows nothing yet, and a page in it that watches."""
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    view = context.new_page()
    view.add_init_script(WATCH)
    return context, view


def browse(page: Path, filters: Sequence[tuple[str, str, str]]) -> None:
    """Print a line a figure of ROUNDS visits: median and range."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        print(f"Chromium {browser.version}, headless, {ROUNDS} visits: median (range)")
        idle = Idleness()
        visits = [visit(browser, page, filters) for _ in range(ROUNDS)]
        print(f"    the machine was {idle.share():.0%} idle meanwhile")
        browser.close()
    for what in visits[0]:
        each = sorted(one[what] for one in visits)
        said = line(what, median(each), " MB" if "heap" in what else " s")
        if what.startswith("open, first"):
            said = judged(what, median(each), PAINT_SECONDS, least=False, unit=" s")
        print(f"{said}   ({each[0]:.2f} to {each[-1]:.2f})")


def chromium() -> str:
    """The browser, found as the tests find it."""
    for found in filter(None, map(shutil.which, CHROMIUMS)):
        return found
    raise SystemExit(f"There is none of {', '.join(CHROMIUMS)}")


def report(published: Path, work: Path, pairs: int) -> None:
    """Make the dataset and its page, then look at it."""
    from imagemask import manifest

    begin = time.perf_counter()
    write(published, work / "raw", pairs)
    command(work, *("build", "folder", "--raw", "raw", "--name", "pancreas", "--patient", r"(PANCREAS_\d+)"))
    command(work, "split", "datasets/pancreas", "--by-patient")
    dataset = work / "datasets" / "pancreas"
    rows, seconds = manifest.read(dataset), time.perf_counter() - begin
    print(f"{len(rows):,} pairs of {rows['patient'].nunique()} patients made in {seconds:.0f} s", flush=True)
    idle = Idleness()
    took = clocked("audit.audit", "report", dataset)
    page = dataset / "report.html"
    print(line("imagemask report", took["seconds"], " s"))
    print(line("    of it the audit", took["within"], " s"))
    print(line("    of it all else", took["seconds"] - took["within"], " s"))
    print(line("memory of all its processes at the peak", took["memory"], " MiB"))
    print(judged("the page", page.stat().st_size / 1e6, PAGE_MB, least=False, unit=" MB"))
    print(f"    the machine was {idle.share():.0%} idle meanwhile", flush=True)
    asked = (("split", "test"), ("patient", rows["patient"].mode()[0]))
    browse(page, [(name, value, f"{(rows[name] == value).sum():,} of {len(rows):,} pairs") for name, value in asked])


def card(work: Path, rows: int) -> None:
    """What the card takes of the commands that keep it."""
    begin, dataset = time.perf_counter(), work / "rows"
    split_manifest.make(dataset, rows)
    print(f"fragments of {rows:,} rows made in {time.perf_counter() - begin:.0f} s", flush=True)
    idle = Idleness()
    for words in (("merge", dataset), ("split", dataset, "--layout", "none"), ("merge", dataset)):
        took = clocked("card.write", *words)
        print(judged(f"imagemask {words[0]}", took["seconds"], ROWS_SECONDS, least=False, unit=" s"))
        print(line("    of it the card", took["within"], " s"), flush=True)
    print(f"    the machine was {idle.share():.0%} idle meanwhile")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("published", type=Path, metavar="PAIRS")
    parser.add_argument("--pairs", type=int, default=5000)
    parser.add_argument("--rows", type=int, default=split_manifest.ROWS, help="of the manifest whose card is timed")
    parser.add_argument("--work", type=Path, help="where to work, and to leave what was made")
    asked = parser.parse_args()
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        work = (asked.work or Path(folder)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        report(asked.published.resolve(), work, asked.pairs)
        if asked.rows:
            card(work, asked.rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["timed"]:
        timed(*sys.argv[2:])
    else:
        main()
