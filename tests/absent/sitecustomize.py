"""Hides packages, as if they were not installed: from a Python with this folder on PYTHONPATH, and all that it starts.

IMAGEMASK_ABSENT names them, with commas between. An import fails, ``importlib.util.find_spec`` gives None, and there is
no version to ask for. (None in ``sys.modules`` would not do: Keras asks whether ``tensorflow`` is a key there.)
"""

import os
import sys

ABSENT = set(os.environ.get("IMAGEMASK_ABSENT", "").split(",")) - {""}


class Without:
    """A finder of modules that does not find the absent ones."""

    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in ABSENT else self.finder.find_spec(name, path, target)

    def find_distributions(self, context):
        find = getattr(self.finder, "find_distributions", None)
        return () if find is None or context.name in ABSENT else find(context)


if ABSENT:
    sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
