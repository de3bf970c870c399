"""A section of the page: what stands under one heading, and in the navigation."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup


@dataclass(frozen=True)
class Section:
    """``id`` is the anchor (letters, digits, hyphens; unique on the page), ``html`` is escaped already.

    ``html`` has no heading of its own level: the page writes ``title`` as <h2>, so what is inside begins with <h3>.
    Elements that the page's style sheet knows: ``<div class="scroll" tabindex="0" role="region" aria-label="...">``
    around a wide table, ``<th scope>`` and ``class="number"`` on cells of numbers, ``<div class="plots">`` around
    figures of plots and ``<div class="cases">`` around those of pictures, ``<p class="note">`` for small print,
    ``<dl class="facts">``, ``<ul class="legend">``.
    """

    id: str
    title: str
    html: Markup
