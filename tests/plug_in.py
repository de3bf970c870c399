"""The files of docs/plug-in.md, and a way to register them in this very process without installing them."""

import re
import sys
from pathlib import Path

PAGE = (Path(__file__).parent.parent / "docs" / "plug-in.md").read_text(encoding="utf-8")
NAME, MODULE = "thyroid-us", "thyroid_us"


def blocks():
    """(info string, text) of every fenced block of the page."""
    return re.findall(r"^```(\w[^\n]*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def page_files():
    """Path: text, of every block that names its file."""
    named = ((re.fullmatch(r'\w+ title="(.+)"', info), text) for info, text in blocks())
    return {match[1]: text for match, text in named if match}


def write(folder):
    """Write the files of the page below ``folder``; those paths, relative."""
    for name, text in page_files().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return sorted(page_files())


def register(folder, monkeypatch, *changes):
    """Put the package of the page on the path, with what pip would write beside it, and with changes: (file, old, new).

    The entry point is found as that of any distribution is, by worker processes too.
    """
    write(folder)
    home = folder / "thyroid-plug-in"
    for name, old, new in changes:
        path = home / name
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{name} of the page holds no {old!r}"
        path.write_text(text.replace(old, new), encoding="utf-8")
    info = home / "imagemask_thyroid_us-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: imagemask-thyroid-us\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text(f"[imagemask.generators]\n{NAME} = {MODULE}\n")
    monkeypatch.syspath_prepend(home)
    for module in (MODULE, f"{MODULE}.synthetic"):
        monkeypatch.setitem(sys.modules, module, None)  # so that it is not there afterwards
        del sys.modules[module]
