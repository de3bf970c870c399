"""Writes the table of keys in docs/training.md: python docs/training_keys.py. A test fails where it is stale."""

import re
import types
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from imagemask.learn import models, settings, toml

PAGE = Path(__file__).with_name("training.md")
_BETWEEN = re.compile(r"(?<=<!-- keys -->\n).*?(?=<!-- end of keys -->)", re.DOTALL)
_OF_THE_DATASET = {"model.height", "model.width", "model.channels", "model.classes"}
_SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


def table() -> str:
    """The table's lines: every key, with those of every model."""
    sections = {path[:1] for path in settings.fields() if len(path) > 1}
    known = {path: field for path, field in settings.fields().items() if path not in sections}
    lines = ["| key | what it may be | default | what it is |", "|---|---|---|---|"]
    lines += [_line(".".join(map(str, path)), field) for path, field in known.items()]
    for name in models.names():
        own = models.load(name).Options.model_fields
        lines += [_line(f"model.{key}` of `{name}", field) for key, field in own.items() if ("model", key) not in known]
    return "\n".join(lines) + "\n"


def page() -> str:
    """The page with a fresh table."""
    return _BETWEEN.sub(lambda _: table(), PAGE.read_text(encoding="utf-8"))


def _line(key: str, field: FieldInfo) -> str:
    default = "" if field.default is None or key in _OF_THE_DATASET else f"`{toml.value(field.default)}`"
    return f"| `{key}` | {_kind(field)} | {default} | {field.description} |"


def _kind(field: FieldInfo) -> str:
    """The type and its limits, in words."""
    limits = [
        f"{sign} {getattr(one, name)}" for one in field.metadata for name, sign in _SIGNS.items() if hasattr(one, name)
    ]
    return " ".join([_named(field.annotation), ", ".join(limits)]).strip()


def _named(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return ", ".join(f"`{one}`" for one in get_args(kind))
    if get_origin(kind) is tuple:
        return f"list of {_named(get_args(kind)[0])}"
    if isinstance(kind, types.UnionType):
        return " or ".join(_named(one) for one in get_args(kind) if one is not types.NoneType)
    return {bool: "`true`, `false`", int: "whole number", float: "number", str: "text"}[kind]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
