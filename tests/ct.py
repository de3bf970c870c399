"""What the tests of the two CT sources share: stored volumes with one marked voxel, and what becomes of cases."""

import shutil
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st

from imagemask import phantoms
from imagemask.errors import CaseError

REAL = Path(__file__).parent.parent.parent / "shared" / "real" / "volumes"
SMALL = {"patients": 7, "size": 48, "slices": 9, "seed": 4}
CODES = [
    "".join(pair[side] for pair, side in zip(order, sides, strict=True))
    for order in permutations(("RL", "AP", "SI"))
    for sides in product((0, 1), repeat=3)
]
SHAPE, SPACING, ORIGIN = (4, 7, 5), (0.7, 0.8, 1.5), (-30.0, 40.0, 9.0)
MARK = 3000
real_input = pytest.mark.skipif(not REAL.is_dir(), reason="the real volumes are not here")
places = st.tuples(*(st.integers(0, count - 1) for count in SHAPE))
per_example = settings(max_examples=60)


def tree(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def copy_of(tmp_path, source):
    return Path(shutil.copytree(source, tmp_path / "copy"))


def read_all(generator, raw, options=None):
    """What becomes of every case: its slices, or the code of its error."""
    options = options or generator.Options()
    found = {}
    for case in generator.discover(raw, options):
        try:
            found[case.id] = list(generator.read(case, options))
        except CaseError as error:
            found[case.id] = error.code
    return found


def only_case(generator, raw, options=None):
    options = options or generator.Options()
    (case,) = generator.discover(raw, options)
    return case, list(generator.read(case, options))


def failure(generator, raw, options=None):
    """The error of the only case that cannot be read."""
    options = options or generator.Options()
    errors = []
    for case in generator.discover(raw, options):
        try:
            list(generator.read(case, options))
        except CaseError as error:
            errors.append(error)
    (error,) = errors
    return error


def marked(codes, place, *, background=-500):
    """An image stored towards ``codes`` with one marked voxel, given by its upright place."""
    stored = np.full([SHAPE[phantoms._AXIS[code]] for code in codes], background, np.int16)
    phantoms.upright_of(stored, codes)[place] = MARK
    return stored


def outlined(codes, place):
    """The label that goes with it."""
    return (marked(codes, place) == MARK).astype(np.uint8)


def affine(codes, *, spacing=SPACING, origin=ORIGIN):
    return phantoms.affine_of(SHAPE, codes, spacing, origin)


def assert_marked(slices, place, *, feet_first=True):
    """Image and mask are marked on one pixel of one slice: the one that the upright place predicts."""
    plane, row, column = place
    index = plane if feet_first else SHAPE[0] - 1 - plane
    images, masks = (np.stack([np.asarray(getattr(one, name)) for one in slices]) for name in ("image", "mask"))
    assert [one.index for one in slices] == list(range(SHAPE[0]))
    assert np.argwhere(images == MARK).tolist() == [[index, row, column]]
    assert np.argwhere(masks).tolist() == [[index, row, column]]
    assert all(one.spacing == pytest.approx((SPACING[1], SPACING[0]), rel=1e-5) for one in slices)
