"""The page: one template, one style sheet, one script, and a policy by which a browser runs nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup


def render(values: Mapping[str, Any]) -> str:
    """The page with ``values`` in report.html.j2. All that is not Markup is escaped; a missing value is an error.

    The policy (Content Security Policy 3) lets in pictures that lie in the page or beside it, and this style and script
    by their SHA-256; no network, no inline handler, no other script.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["percent"] = lambda share: f"{100 * share:.1f}%"
    environment.filters["thousands"] = lambda number: f"{number:,}"
    style, script = _file("report.css"), _file("report.js")
    # A page on disk has no origin, so that 'self' does not name its neighbours there: file: does.
    policy = (
        f"default-src 'none'; img-src 'self' file: data:; style-src '{_digest(style)}'; "
        f"script-src '{_digest(script)}'; base-uri 'none'; form-action 'none'"
    )
    template = environment.from_string(_file("report.html.j2"))
    return template.render(values, policy=policy, style=Markup(style), script=Markup(script))  # noqa: S704  our own


def _file(name: str) -> str:
    return resources.files("imagemask.report").joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}"
