"""Training, evaluation and prediction over the rows of a dataset: the only folder that imports keras.

Nothing heavy is imported here. Keras chooses its backend when it is first imported: from KERAS_BACKEND, else from its
own configuration file. This package never sets it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

Tensor = Any
"""A tensor of the backend in use, or Keras' symbolic one: neither has a type that all backends share."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The remedy for a name that there is not: the one that was meant, or all that there are."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    return f"Did you mean {near[0]}?" if near else f"There are: {', '.join(names) or 'none'}"
