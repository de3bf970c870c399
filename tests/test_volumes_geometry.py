"""Every expectation is computed from the physical place of voxels, never from axes and flips."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagemask.errors import CaseError, UsageError
from imagemask.volumes.geometry import Grid, axes_grid, in_plane_spacing, like_image, relate, upright

SIGNED_PERMUTATIONS = [
    np.eye(3)[list(order)] * np.array(signs) for order in permutations(range(3)) for signs in product((1, -1), repeat=3)
]
SPACING = (0.8, 1.3, 2.5)
spacings = st.tuples(*[st.floats(0.3, 5)] * 3)
points = st.tuples(*[st.floats(-300, 300)] * 3)
# Within these no voxel of one line passes one of another, so ranks along a line do not depend on the tilt.
angles = st.floats(-8, 8)


def rotation(x: float, y: float, z: float) -> np.ndarray:
    """A rotation by degrees around the three axes of the world."""
    turned = np.eye(3)
    for axis, degrees in enumerate((x, y, z)):
        angle = np.radians(degrees)
        one, other = [index for index in range(3) if index != axis]
        step = np.eye(3)
        step[one, one] = step[other, other] = np.cos(angle)
        step[one, other], step[other, one] = -np.sin(angle), np.sin(angle)
        turned = step @ turned
    return turned


def affine_of(directions, spacing, origin) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = directions * np.array(spacing)
    affine[:3, 3] = origin
    return affine


@st.composite
def grids(draw, tilt=st.just((0.0, 0.0, 0.0))):
    directions = rotation(*draw(tilt)) @ draw(st.sampled_from(SIGNED_PERMUTATIONS))
    shape = draw(st.tuples(*[st.integers(1, 6)] * 3))
    return Grid(shape, affine_of(directions, draw(spacings), draw(points)))


def places(grid: Grid) -> np.ndarray:
    """The RAS millimetres of every voxel: shape (i, j, k, 3)."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1)
    return index @ grid.affine[:3, :3].T + grid.affine[:3, 3]


def predicted(grid: Grid, marker: tuple[int, int, int]) -> tuple[int, int, int]:
    """Slice, row and column of a voxel: its rank along the line through it that runs most along each body axis.

    Slices keep their stored order; rows are counted from the front, columns from the patient's right.
    """
    where = places(grid)
    ranks = {}
    for axis in range(3):
        line = where[tuple(slice(None) if other == axis else marker[other] for other in range(3))]
        world = int(np.abs(grid.affine[:3, axis]).argmax())
        here = line[marker[axis], world]
        ranks[world] = marker[axis] if world == 2 else int((line[:, world] > here + 1e-9).sum())
    return ranks[2], ranks[1], ranks[0]


@given(grid=grids(st.tuples(angles, angles, angles)), data=st.data())
def test_a_marker_lands_on_the_pixel_that_its_place_predicts(grid, data):
    marker = data.draw(st.tuples(*[st.integers(0, n - 1) for n in grid.shape]))
    volume = np.zeros(grid.shape, dtype=np.int16)
    volume[marker] = 1
    frame = upright(grid)
    turned = frame.upright(volume)
    assert [tuple(at) for at in np.argwhere(turned)] == [predicted(grid, marker)]
    assert np.shares_memory(turned, volume)


@pytest.mark.parametrize("directions", SIGNED_PERMUTATIONS, ids=lambda d: "".join(f"{x:+.0f}" for x in d.flat if x))
def test_each_of_the_48_orientations(directions):
    grid = Grid((3, 4, 5), affine_of(directions, SPACING, (10, 20, 30)))
    frame = upright(grid)
    volume = np.arange(60).reshape(grid.shape)
    turned = frame.upright(volume)
    for marker in np.ndindex(*grid.shape):
        assert turned[predicted(grid, marker)] == volume[marker]
    index = frame.axes[0]
    for number in range(grid.shape[index]):
        plane = volume.take(number, axis=index)
        assert np.array_equal(frame.upright_plane(plane), turned[number])
    sizes = np.abs(affine_of(directions, SPACING, (0, 0, 0))[:3, :3]).sum(axis=1)
    assert in_plane_spacing(grid, frame) == pytest.approx((sizes[1], sizes[0]))


def test_las_is_transposed_with_its_rows_reversed():
    # raw-formats.md 1.5: radiological display of an LAS volume is vol[:, ::-1, k].T
    volume = np.arange(60).reshape(3, 4, 5)
    turned = upright(axes_grid((3, 4, 5), "LAS", SPACING)).upright(volume)
    assert all(np.array_equal(turned[k], volume[:, ::-1, k].T) for k in range(5))


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize(("degrees", "fits"), [(14.9, True), (-14.9, True), (15.1, False), (40, False)])
def test_a_tilt_is_accepted_up_to_15_degrees(axis, degrees, fits):
    tilt = [0.0, 0.0, 0.0]
    tilt[axis] = degrees
    grid = Grid((2, 2, 2), affine_of(rotation(*tilt), SPACING, (0, 0, 0)))
    if fits:
        assert upright(grid).axes == (2, 1, 0)
        return
    with pytest.raises(CaseError, match=f"{abs(degrees):.1f} degrees") as caught:
        upright(grid)
    assert caught.value.code == "oblique"


def broken(row, column, value) -> np.ndarray:
    affine = affine_of(np.eye(3), SPACING, (0, 0, 0))
    affine[row, column] = value
    return affine


PARALLEL = affine_of(np.array([[1, 1, 0], [0, 1e-6, 0], [0, 0, 1]]), (1, 1, 1), (0, 0, 0))


@pytest.mark.parametrize(
    ("affine", "words"),
    [
        (broken(0, 0, np.nan), "NaN"),
        (broken(1, 3, np.inf), "infinity"),
        (broken(2, 2, 0), "singular"),
        (broken(1, 1, 1e-200), "singular"),
        (broken(0, 0, 1e300), "singular"),
        (np.zeros((4, 4)), "singular"),
        (PARALLEL, "singular"),
    ],
)
def test_an_affine_that_places_nothing_is_refused(affine, words):
    grid, sound = Grid((2, 2, 2), affine), axes_grid((2, 2, 2), "RAS", SPACING)
    for refused in (lambda: upright(grid), lambda: relate(grid, sound), lambda: relate(sound, grid)):
        with pytest.raises(CaseError, match=words) as caught:
            refused()
        assert caught.value.code == "bad_affine"
        assert "orientation option" in caught.value.remedy


@given(
    image=grids(st.tuples(*[st.floats(-180, 180)] * 3)),
    turn=st.sampled_from(SIGNED_PERMUTATIONS),
)
def test_a_label_stored_in_other_axes_lands_on_its_image(image, turn):
    """The label numbers its voxels by where they lie in the image; the label is stored along other axes."""
    axes = [int(np.abs(turn[:, column]).argmax()) for column in range(3)]
    shape = tuple(image.shape[axis] for axis in axes)
    to_image = np.eye(4)  # label index -> image index
    to_image[:3, :3] = turn
    to_image[:3, 3] = [image.shape[axis] - 1 if turn[axis].sum() < 0 else 0 for axis in range(3)]
    label = Grid(shape, image.affine @ to_image)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    there = np.rint(index @ to_image[:3, :3].T + to_image[:3, 3]).astype(int)
    numbers = np.arange(np.prod(shape)).reshape(image.shape)
    stored = numbers[tuple(there[..., axis] for axis in range(3))]

    relation = relate(image, label)
    assert np.array_equal(relation.onto_image(stored), numbers)
    assert np.shares_memory(relation.onto_image(stored), stored)
    assert relation.flags == (() if np.array_equal(turn, np.eye(3)) else ("label_reoriented",))


IMAGE = axes_grid((6, 5, 4), "LAI", SPACING)


def moved(matrix=0.0, origin=(0.0, 0.0, 0.0), spacing=(1.0, 1.0, 1.0), tilt=(0.0, 0.0, 0.0)) -> Grid:
    """IMAGE with entries of its matrix changed by a part of the voxel size, and its origin by voxels."""
    affine = IMAGE.affine.copy()
    affine[:3, :3] = rotation(*tilt) @ affine[:3, :3] * np.array(spacing)
    affine[0, 1] += matrix * SPACING[1]
    affine[:3, 3] += np.array(origin) * SPACING
    return Grid(IMAGE.shape, affine)


@pytest.mark.parametrize(
    ("label", "flags"),
    [
        (moved(), ()),
        (moved(matrix=5e-6, origin=(5e-4, 0, 0)), ()),  # what float32 leaves
        (moved(matrix=9e-4), ("grid_rounded",)),
        (moved(spacing=(1.0009, 1, 1)), ("grid_rounded",)),
        (moved(origin=(0, 0.09, 0)), ("grid_rounded",)),
        (moved(matrix=9e-4, origin=(0, 0, -0.09)), ("grid_rounded",)),
    ],
)
@pytest.mark.parametrize("origin_matters", [True, False])
def test_rounding_is_accepted_and_noted(label, flags, origin_matters):
    assert relate(IMAGE, label, origin_matters=origin_matters).flags == flags


@pytest.mark.parametrize(
    ("label", "words"),
    [
        (moved(spacing=(1.01, 1, 1)), "0.808 x 1.3 x 2.5 mm in the label"),
        (moved(spacing=(1, 1, 1.6)), "0.8 x 1.3 x 2.5 mm in the image and 0.8 x 1.3 x 4 mm in the label"),
        (moved(tilt=(0, 0, 12)), "axes differ by 12.00 degrees"),
        (moved(matrix=2e-3), "axes differ by 0.11 degrees"),
    ],
)
@pytest.mark.parametrize("origin_matters", [True, False])
def test_a_real_mismatch_is_refused_with_the_numbers(label, words, origin_matters):
    with pytest.raises(CaseError, match=words) as caught:
        relate(IMAGE, label, origin_matters=origin_matters)
    assert caught.value.code == "grid_mismatch"
    assert caught.value.remedy


def test_the_origin_alone_is_a_note_where_the_source_says_so():
    label = moved(origin=(3, 0, 4))
    assert relate(IMAGE, label, origin_matters=False).flags == ("origin_differs",)
    with pytest.raises(CaseError, match=r"first voxels lie 10\.28 mm apart") as caught:
        relate(IMAGE, label)
    assert caught.value.code == "grid_mismatch"


def test_flags_add_up():
    image = axes_grid((6, 5, 4), "RAS", SPACING)
    label = Grid((6, 5, 4), IMAGE.affine * np.array([1.0005, 1, 1, 1]))
    assert relate(image, label, origin_matters=False).flags == ("label_reoriented", "grid_rounded", "origin_differs")


def test_shapes_are_compared_along_the_axes_that_the_affines_say():
    # The same sizes in another order: the shape alone would invite a transposition (raw-formats.md, L8).
    swapped = Grid((5, 6, 4), IMAGE.affine)
    with pytest.raises(CaseError, match=r"image is 6x5x4, label is 5x6x4 along the same axes\. ") as caught:
        relate(IMAGE, swapped)
    assert caught.value.code == "shape_mismatch"
    permuted = Grid((6, 5, 4), IMAGE.affine[:, [1, 0, 2, 3]])
    with pytest.raises(CaseError, match=r"label is 5x6x4 along the same axes \(stored as 6x5x4\)"):
        relate(IMAGE, permuted)


def test_one_slice_short_is_a_shape_mismatch():
    with pytest.raises(CaseError, match="image is 6x5x4, label is 6x5x3"):
        relate(IMAGE, Grid((6, 5, 3), IMAGE.affine))


@pytest.mark.parametrize("axcodes", ["LAS", "RAS", "LPS", "LAI", "SPR", "iar"])
def test_declared_axes_lead_where_they_say(axcodes):
    grid = axes_grid((2, 3, 4), axcodes, SPACING)
    towards = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}
    for axis, code in enumerate(axcodes.upper()):
        step = places(grid)[tuple(np.eye(3, dtype=int)[axis])] - places(grid)[0, 0, 0]
        assert step == pytest.approx(np.array(towards[code]) * SPACING[axis])


@pytest.mark.parametrize("axcodes", ["LA", "LAX", "LRS", "LASI", ""])
def test_axes_that_are_none_are_refused(axcodes):
    for refused in (lambda: axes_grid((2, 2, 2), axcodes, SPACING), lambda: like_image(IMAGE, (2, 2, 2), axcodes)):
        with pytest.raises(UsageError, match="three axes"):
            refused()


@given(image=grids(st.tuples(angles, angles, angles)), turn=st.sampled_from(SIGNED_PERMUTATIONS))
def test_a_label_without_a_place_covers_its_image(image, turn):
    """Its first voxel lies in the corner of the image that its axis codes name."""
    names = ["RAS"[int(np.abs(turn[:, column]).argmax())] for column in range(3)]
    axcodes = "".join(
        name if turn[:, column].sum() > 0 else {"R": "L", "A": "P", "S": "I"}[name] for column, name in enumerate(names)
    )
    main = {"RAS"[int(np.abs(image.affine[:3, axis]).argmax())]: axis for axis in range(3)}
    shape = tuple(image.shape[main[name]] for name in names)
    label = like_image(image, shape, axcodes)
    relation = relate(image, label)
    assert set(relation.flags) <= {"label_reoriented"}
    corner = np.zeros(shape, dtype=bool)
    corner[0, 0, 0] = True
    there = np.argwhere(relation.onto_image(corner))[0]
    for name, code in zip(names, axcodes, strict=True):
        towards = image.affine["RAS".index(name), main[name]] * (1 if code == name else -1)
        assert there[main[name]] == (0 if towards > 0 else image.shape[main[name]] - 1)
