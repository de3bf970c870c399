"""NIfTI files as they should be: every type, byte order and axis order, against nibabel and SimpleITK."""

from __future__ import annotations

import gzip
import pickle
import re
import tracemalloc
from itertools import permutations, product
from pathlib import Path

import nibabel
import nibabel.testing
import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st

from imagemask.volumes import nifti
from imagemask.volumes.geometry import in_plane_spacing, relate, upright
from imagemask.volumes.nifti import open_nifti, planes, read_labels, same_content, write_nifti
from imagemask.volumes.nifti.stream import Stream

ROOT = Path(__file__).parent.parent
REAL = ROOT.parent / "shared" / "real" / "volumes"
SHIPPED = Path(nibabel.testing.data_path)
real_files = sorted(REAL.rglob("*.nii.gz"))
shipped_files = [
    SHIPPED / name for name in ("anatomical.nii", "standard.nii.gz", "reoriented_anat_moved.nii")
]  # big endian int16, uint8 with scaling off, big endian float32

LAS = np.diag([-0.8, 0.9, 1.5, 1.0])
CODES = [
    "".join(pair[side] for pair, side in zip(order, sides, strict=True))
    for order in permutations(("RL", "AP", "SI"))
    for sides in product((0, 1), repeat=3)
]
TYPES = ["uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]
reuses_tmp_path = settings(settings.get_profile("fixtures reused"), max_examples=60)
shapes = st.tuples(*[st.integers(1, 5)] * 3)


def voxels(shape, dtype="int16") -> np.ndarray:
    """Different values everywhere, negative ones too where there are any."""
    count = int(np.prod(shape))
    start = 0 if np.dtype(dtype).kind == "u" else -min(count // 2, 100)
    return (np.arange(count) % 120 + start).reshape(shape).astype(dtype)


def affine_for(codes: str, spacing=(0.8, 0.9, 1.5)) -> np.ndarray:
    """An affine with the axis codes, made of nibabel's orientation tools."""
    turn = nibabel.orientations.inv_ornt_aff(nibabel.orientations.axcodes2ornt(codes), (5, 5, 5))
    affine = np.linalg.inv(turn)
    affine[:3, :3] *= np.array(spacing)
    affine[:3, 3] = (11, -22, 33)
    return affine


def read(path: Path) -> np.ndarray:
    file = open_nifti(path)
    return np.stack(list(planes(file, upright(file.grid))))


@reuses_tmp_path
@given(
    shape=shapes,
    dtype=st.sampled_from(TYPES),
    codes=st.sampled_from(CODES),
    version=st.sampled_from([1, 2]),
    big_endian=st.booleans(),
    packed=st.booleans(),
    scaling=st.sampled_from([(1.0, 0.0), (1.0, -1024.0), (0.5, 3.0), (-2.0, 0.25)]),
)
def test_any_file_reads_as_nibabel_reads_it(tmp_path, shape, dtype, codes, version, big_endian, packed, scaling):
    path = tmp_path / ("a.nii.gz" if packed else "a.nii")
    slope, inter = scaling
    stored = voxels(shape, dtype)
    write_nifti(
        path, stored, affine_for(codes), gzip=packed, slope=slope, inter=inter, version=version, big_endian=big_endian
    )
    file = open_nifti(path)
    assert (file.grid.shape, file.gzipped, file.slope, file.inter) == (shape, packed, slope, inter)
    assert file.flags == (("single_slice",) if shape[2] == 1 else ())
    theirs = nibabel.load(path)
    assert np.array_equal(file.grid.affine, theirs.affine)
    assert nibabel.aff2axcodes(file.grid.affine) == tuple(codes)
    frame = upright(file.grid)
    found = list(planes(file, frame))
    assert len(found) == shape[frame.axes[0]]
    wanted = np.asanyarray(theirs.dataobj)
    assert np.array_equal(np.stack(found), frame.upright(wanted).astype(found[0].dtype))
    unscaled_integers = scaling == (1.0, 0.0) and np.dtype(dtype).kind != "f"
    assert found[0].dtype == (np.dtype(dtype) if unscaled_integers else np.float32)


@reuses_tmp_path
@given(
    image_codes=st.sampled_from(CODES),
    label_codes=st.sampled_from(CODES),
    marker=st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 5)),
)
def test_a_marker_in_image_and_label_lands_on_the_predicted_pixel(tmp_path, image_codes, label_codes, marker):
    """``marker`` is given in voxels towards Left, Posterior and Superior, which are columns, rows and slices."""
    sizes = {"L": 4, "P": 5, "S": 6}
    axis_of = {"L": "LR", "P": "PA", "S": "SI"}
    for name, codes, value in (("image", image_codes, 3000), ("label", label_codes, 1)):
        stored = np.zeros([next(sizes[n] for n in "LPS" if code in axis_of[n]) for code in codes], dtype=np.int16)
        index = []
        for code in codes:
            number = next(n for n, name_ in enumerate("LPS") if code in axis_of[name_])
            count = sizes["LPS"[number]]
            index.append(marker[number] if code in "LPS" else count - 1 - marker[number])
        stored[tuple(index)] = value
        affine = affine_for(codes, spacing=(1, 1, 1))
        affine[:3, 3] = 0
        # The corner of the body that all volumes share is the one farthest to Right, Anterior and Inferior.
        lowest = (affine[:3, :3] @ np.diag(np.array(stored.shape) - 1)).clip(max=0).sum(axis=1)
        affine[:3, 3] = -lowest + (7, 8, 9)
        write_nifti(tmp_path / f"{name}.nii.gz", stored, affine)
    image, label = open_nifti(tmp_path / "image.nii.gz"), open_nifti(tmp_path / "label.nii.gz")
    frame = upright(image.grid)
    pixels = np.stack(list(planes(image, frame)))
    masks = frame.upright(relate(image.grid, label.grid).onto_image(read_labels(label)))
    column, row, number = marker
    number = number if "S" in image_codes else sizes["S"] - 1 - number
    assert [tuple(at) for at in np.argwhere(pixels == 3000)] == [(number, row, column)]
    assert [tuple(at) for at in np.argwhere(masks == 1)] == [(number, row, column)]


@pytest.mark.parametrize("path", [*real_files, *shipped_files], ids=lambda path: path.name)
def test_real_files_read_as_simpleitk_reads_them(path):
    file = open_nifti(path)
    frame = upright(file.grid)
    ours = np.stack(list(planes(file, frame)))
    theirs = SimpleITK.ReadImage(str(path))
    values = SimpleITK.GetArrayFromImage(theirs).transpose(2, 1, 0)
    assert np.array_equal(ours, frame.upright(values))
    for index in [(0, 0, 0), (1, 2, 3), tuple(n - 1 for n in file.grid.shape)]:
        left, posterior, superior = theirs.TransformIndexToPhysicalPoint(index)
        place = file.grid.affine @ (*index, 1)
        assert place[:3] == pytest.approx((-left, -posterior, superior), abs=1e-3)
    spacing_y, spacing_x = in_plane_spacing(file.grid, frame)
    assert {round(spacing_y, 4), round(spacing_x, 4)} <= {round(size, 4) for size in theirs.GetSpacing()}


@pytest.mark.skipif(not real_files, reason="the real volumes are not here")
def test_the_spleen_lies_low_on_the_viewers_right():
    folder = REAL / "lung-tumor"
    image = open_nifti(folder / "imagesTr" / "lung_001.nii.gz")
    label = open_nifti(folder / "labelsTr" / "lung_001.nii.gz")
    frame = upright(image.grid)
    masks = frame.upright(relate(image.grid, label.grid).onto_image(read_labels(label)))
    pixels = np.stack(list(planes(image, frame)))
    _, rows, columns = np.nonzero(masks)
    height, width = masks.shape[1:]
    assert rows.mean() > 0.55 * height
    assert columns.mean() > 0.65 * width
    bone_rows = np.nonzero(pixels[:, :, width // 3 : 2 * width // 3] > 300)[1]
    assert bone_rows.mean() > 0.6 * height, "the spine is not at the bottom"


@reuses_tmp_path
@given(
    dtype=st.sampled_from(TYPES),
    values=st.lists(st.integers(0, 100), min_size=1, max_size=4),
    packed=st.booleans(),
    big_endian=st.booleans(),
)
def test_labels_come_as_the_smallest_integers(tmp_path, dtype, values, packed, big_endian):
    label = np.resize(np.array(values, dtype=dtype), (3, 4, 5))
    path = tmp_path / "label.nii.gz"
    write_nifti(path, label, LAS, gzip=packed, big_endian=big_endian)
    found = read_labels(open_nifti(path))
    assert found.dtype == np.uint8
    assert np.array_equal(found, label)


@given(
    places=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 4), st.integers(0, 8)), max_size=6),
    value=st.sampled_from([1, 255, 300, -2, 0.9995]),
    chunk=st.integers(1, 70),
)
@settings(settings.get_profile("fixtures reused"))
def test_labels_are_where_they_were_whatever_is_read_at_a_time(tmp_path, monkeypatch, places, value, chunk):
    """Only from the first to the last that is not background is written, of each piece."""
    label = np.zeros((7, 5, 9), np.float32)
    for place in places:
        label[place] = value
    write_nifti(tmp_path / "label.nii.gz", label, LAS)
    monkeypatch.setattr(nifti.voxels, "_CHUNK", chunk)
    np.testing.assert_array_equal(read_labels(open_nifti(tmp_path / "label.nii.gz")), np.rint(label))


@pytest.mark.parametrize(
    ("values", "stored", "wanted"),
    [
        ([0, 255], "int16", "uint8"),
        ([0, 256], "int16", "uint16"),
        ([0, -1], "int16", "int16"),
        ([0, 70_000], "int32", "uint32"),
        ([-1, 70_000], "float32", "int32"),
        ([0, 1 << 40], "int64", "uint64"),
        ([0, 1.0005], "float32", "uint8"),
        ([0, 1 - 9e-4], "float64", "uint8"),
    ],
)
def test_labels_widen_only_as_far_as_they_must(tmp_path, values, stored, wanted):
    # One value in the first and one in the last of several chunks, so that widening keeps what was read before.
    label = np.zeros((80, 80, 90), dtype=stored)
    label[3, 2, 1], label[0, 0, 0], label[-1, -1, -1] = 5, *values
    write_nifti(tmp_path / "label.nii.gz", label, LAS)
    found = read_labels(open_nifti(tmp_path / "label.nii.gz"))
    assert found.dtype == wanted
    assert found[3, 2, 1] == 5
    assert [found[0, 0, 0], found[-1, -1, -1]] == [round(value) for value in values]
    assert np.count_nonzero(found) == 1 + np.count_nonzero(values)


def test_scaled_labels_are_scaled(tmp_path):
    label = voxels((3, 4, 5), "uint8") % 3
    write_nifti(tmp_path / "label.nii.gz", label, LAS, slope=2.0, inter=1.0)
    assert np.array_equal(read_labels(open_nifti(tmp_path / "label.nii.gz")), label * 2 + 1)


@pytest.mark.parametrize("slope", [0.0, np.nan, np.inf])
@pytest.mark.parametrize("inter", [0.0, 5.0, np.nan])
def test_a_slope_that_is_none_means_unscaled(tmp_path, slope, inter):
    image = voxels((3, 4, 5))
    write_nifti(tmp_path / "a.nii", image, LAS, gzip=False, slope=slope, inter=inter)
    file = open_nifti(tmp_path / "a.nii")
    assert not file.scaled
    assert np.array_equal(read(tmp_path / "a.nii"), upright(file.grid).upright(image))


@pytest.mark.parametrize(("shape", "flags"), [((3, 4, 5, 1), ("squeezed",)), ((3, 4, 5, 1, 1), ("squeezed",))])
def test_trailing_dimensions_of_one_are_dropped(tmp_path, shape, flags):
    write_nifti(tmp_path / "a.nii.gz", voxels(shape), LAS)
    file = open_nifti(tmp_path / "a.nii.gz")
    assert (file.grid.shape, file.flags) == ((3, 4, 5), flags)
    assert np.array_equal(read_labels(file), voxels((3, 4, 5)))


def test_gzip_is_known_by_its_magic_and_not_by_the_name(tmp_path):
    packed, plain = tmp_path / "packed.nii", tmp_path / "plain.nii.gz"
    write_nifti(packed, voxels((3, 4, 5)), LAS, gzip=True)
    write_nifti(plain, voxels((3, 4, 5)), LAS, gzip=False)
    assert [(open_nifti(path).gzipped, open_nifti(path).flags) for path in (packed, plain)] == [
        (True, ("name_misleads",)),
        (False, ("name_misleads",)),
    ]
    assert np.array_equal(read(packed), read(plain))


def test_several_gzip_members_are_one_file(tmp_path):
    path = tmp_path / "a.nii.gz"
    write_nifti(path, voxels((3, 4, 5)), LAS)
    whole = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(whole[:400]) + gzip.compress(whole[400:]) + bytes(20))
    assert np.array_equal(read_labels(open_nifti(path)), voxels((3, 4, 5)))


def test_header_extensions_are_passed_over(tmp_path):
    path = tmp_path / "a.nii.gz"
    image = nibabel.Nifti1Image(voxels((3, 4, 5)), LAS)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"x" * 3_000_000))
    image.to_filename(path)
    assert open_nifti(path).offset > 3_000_000
    assert np.array_equal(read_labels(open_nifti(path)), voxels((3, 4, 5)))


def test_sform_counts_before_qform_and_a_difference_is_noted(tmp_path):
    other = affine_for("RAS")
    write_nifti(tmp_path / "both.nii", voxels((3, 4, 5)), LAS, gzip=False, qform=other)
    file = open_nifti(tmp_path / "both.nii")
    assert (file.flags, file.grid.affine.tolist()) == (("qform_differs",), np.float32(LAS).tolist())
    write_nifti(tmp_path / "q.nii", voxels((3, 4, 5)), LAS, gzip=False, qform=other, sform_code=0)
    file = open_nifti(tmp_path / "q.nii")
    assert file.flags == ()
    assert np.allclose(file.grid.affine, other, atol=1e-5)
    broken = {"quatern_b": 2.0, "quatern_c": 2.0}
    write_nifti(tmp_path / "invalid.nii", voxels((3, 4, 5)), LAS, gzip=False, fields=broken)
    assert open_nifti(tmp_path / "invalid.nii").flags == ("qform_differs",)


@pytest.mark.parametrize(("slope", "same"), [(1.0, True), (2.0, False)])
def test_twins_are_compared_by_value(tmp_path, slope, same):
    a, b = tmp_path / "a.nii", tmp_path / "b.nii.gz"
    write_nifti(a, voxels((60, 70, 80)), LAS, gzip=False)
    write_nifti(b, voxels((60, 70, 80), "float32"), LAS, slope=slope, big_endian=True)
    assert same_content(open_nifti(a), open_nifti(b)) is same


def test_twins_that_lie_elsewhere_or_differ_in_one_voxel_are_not_the_same(tmp_path):
    image = voxels((60, 70, 80), "float32")
    image[0, 0, 0] = np.nan
    changed = image.copy()
    changed[-1, -1, -1] += 1
    contents = {"a": (image, LAS), "b": (image, LAS), "c": (changed, LAS), "d": (image, affine_for("RAS"))}
    contents["e"] = (image[:, :, :-1], LAS)
    for name, (array, affine) in contents.items():
        write_nifti(tmp_path / name, array, affine, gzip=name == "b")
    files = {name: open_nifti(tmp_path / name) for name in contents}
    assert [same_content(files["a"], files[name]) for name in "abcde"] == [True, True, False, False, False]


def test_the_same_array_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_nifti(tmp_path / name, voxels((5, 6, 7)), LAS)
    packed = (tmp_path / "a").read_bytes()
    assert packed == (tmp_path / "b").read_bytes()
    assert packed[:10] == b"\x1f\x8b\x08\x00" + bytes(4) + b"\x04\xff"  # no name, no time
    order = np.asfortranarray(voxels((5, 6, 7)))
    write_nifti(tmp_path / "c", order, LAS)
    assert (tmp_path / "c").read_bytes() == packed


def test_a_header_can_be_sent_to_another_process(tmp_path):
    write_nifti(tmp_path / "a.nii.gz", voxels((3, 4, 5)), LAS)
    file = pickle.loads(pickle.dumps(open_nifti(tmp_path / "a.nii.gz")))
    assert np.array_equal(read_labels(file), voxels((3, 4, 5)))
    assert file.nbytes == 120


class Watched(Stream):
    """A stream that notes how much is asked for at a time."""

    requests: list[int]

    def _fill(self, array):
        Watched.requests.append(array.nbytes)
        return super()._fill(array)


@pytest.fixture
def requests(monkeypatch):
    Watched.requests = []
    monkeypatch.setattr("imagemask.volumes.nifti.voxels.Stream", Watched)
    return Watched.requests


@pytest.mark.parametrize(("codes", "streams"), [("LAS", True), ("PRI", True), ("SAL", False), ("LSA", False)])
def test_slices_that_lie_one_after_the_other_are_read_one_by_one(tmp_path, requests, codes, streams):
    write_nifti(tmp_path / "a.nii.gz", voxels((6, 7, 8)), affine_for(codes))
    file = open_nifti(tmp_path / "a.nii.gz")
    found = planes(file, upright(file.grid))
    next(found)
    if streams:
        assert requests == [file.offset, 6 * 7 * 2], "more than the header and one slice was read"
        assert len(list(found)) == 7
        assert requests[2:-1] == [6 * 7 * 2] * 7
    else:
        assert requests[:2] == [file.offset, file.nbytes], "the volume was not read at once, into one array"
        assert len(requests) > 2, "the checksum was not compared before the first slice"


def test_no_volume_is_held_where_slices_can_stream(tmp_path):
    shape = (256, 256, 60)
    write_nifti(tmp_path / "a.nii.gz", voxels(shape, "float32"), LAS)
    file = open_nifti(tmp_path / "a.nii.gz")
    tracemalloc.start()
    for plane in planes(file, upright(file.grid)):
        assert plane.dtype == np.float32
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * 256 * 256 * 4 + (2 << 20)


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").is_file(), reason="asks Linux for the memory")
def test_what_is_not_labelled_takes_no_memory(tmp_path):
    label = np.zeros((256, 256, 1024), np.uint8)
    label[100:110, 100:110, 500] = 1
    write_nifti(tmp_path / "label.nii.gz", label, LAS)
    file = open_nifti(tmp_path / "label.nii.gz")
    before = memory()
    found = read_labels(file, (1,))
    assert [np.count_nonzero(found[:, :, index]) for index in (0, 500, 1023)] == [0, 100, 0]
    assert np.count_nonzero(found) == 100
    assert memory() - before < label.nbytes / 4


def memory():
    """Bytes of this process that are no file's."""
    found = re.search(r"Anonymous:\s+(\d+) kB", Path("/proc/self/smaps_rollup").read_text())  # exact, unlike RssAnon
    return int(found[1]) * 1024


def test_float_labels_never_become_more_than_small_integers_and_a_chunk(tmp_path):
    shape = (200, 200, 200)
    label = np.zeros(shape, dtype=np.float64)
    label[50:90, 50:90, 50:90] = 1
    write_nifti(tmp_path / "label.nii.gz", label, LAS)
    file = open_nifti(tmp_path / "label.nii.gz")
    tracemalloc.start()
    found = read_labels(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.nbytes == 8_000_000
    assert peak < found.nbytes + (12 << 20), "the label was held as floats"


@pytest.mark.parametrize("packed", [True, False])
def test_a_system_that_reads_in_small_pieces_is_asked_again(tmp_path, packed, monkeypatch):
    # Linux returns 2 GiB at most from one read.
    write_nifti(tmp_path / "a", voxels((6, 7, 8)), LAS, gzip=packed)
    file = open_nifti(tmp_path / "a")
    opened = Stream.__init__

    def in_pieces(self, path):
        opened(self, path)
        whole = self._readinto
        self._readinto = lambda view: whole(view[:7])

    monkeypatch.setattr(Stream, "__init__", in_pieces)
    assert np.array_equal(read_labels(file), voxels((6, 7, 8)))


def test_what_is_public():
    assert all(hasattr(nifti, name) for name in nifti.__all__)
