"""Which pictures of thousands may be copies of each other: multi-index hashing of thumbnails, turned or not.

A perceptual hash is the signs of a thumbnail's low frequencies (the discrete cosine transform, without the mean) in
random directions: two pictures that are alike agree in most bits (Charikar, "Similarity estimation techniques from
rounding algorithms", STOC 2002). Each frequency is first measured against what it is over all pictures, so that what
they have in common, a body in the middle of each, makes no two of them alike. A flip changes signs of frequencies, a
transposition swaps them: the hashes of all eight symmetries follow from one transform.

The hash is cut into bands. Pictures that agree in one whole band share a bucket, and only they are compared; a band is
as wide as keeps a bucket small, so the work grows as n log n. A bucket of more than CROWD pictures (there is one where
thousands look the same) is sorted by the bits that follow, and each of its pictures is compared with the CROWD next to
it: a copy agrees in those, too.

A crop moves everything, and more bits with it: each picture is looked up a second time with TRIMMED of it cut off.

Pairs that agree in most bits are confirmed on their thumbnails: as much of the one is taken as the other explains,
moved or cropped a little, to first order (the tangent distance of Simard, LeCun and Denker, NIPS 1992). Of up to EVERY
pictures all pairs are, without hashing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import starmap
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from imagemask.audit.fingerprints import SIDE

Indices = NDArray[np.int64]
Floats = NDArray[np.float32]

ALIKE = 0.945
"""The least cosine between the frequencies of two thumbnails, moved or cropped, that makes them candidates."""
_HALFWAY = 0.8  # the same of a whole and its crop where it is the crop that is moved
EVERY = 2000
CROWD = 32
TRIMMED = 0.02
"""The share cut off at each side: the middle of what a crop by up to 4% cuts off."""
_FREQUENCIES = 10  # along each axis: a crop moves higher ones beyond recognition
_BANDS, _BITS = 24, 16
_UNLIKE = 100  # bits of _BANDS * _BITS that may differ: a cosine of 0.75 comes to 88, give or take 8
_ALONE = 0.3  # how far a frequency is taken as independent of the others
_AVERAGE = 50  # as many pictures as the general expectation of a frequency is worth
_AT_ONCE, _CONFIRMED_AT_ONCE, _PICTURES_AT_ONCE = 1 << 18, 1 << 15, 1 << 9  # pairs and pictures: what bounds the memory
_SEED = 20040601


class Candidates(NamedTuple):
    """Pairs of rows, ``first`` < ``second``, best first; the symmetry that makes ``second`` like ``first``; cosine."""

    first: Indices
    second: Indices
    symmetry: Indices
    cosine: Floats

    def take(self, chosen: NDArray[np.generic]) -> Candidates:
        """Those of the positions, or of the mask, ``chosen``."""
        return Candidates(self.first[chosen], self.second[chosen], self.symmetry[chosen], self.cosine[chosen])


Wanted = Callable[[int, Indices, Indices], NDArray[np.bool_]]
"""Which pairs of rows (first, second), the second under a symmetry, are to be looked at."""


@dataclass(frozen=True, slots=True)
class Thumbnails:
    """Thumbnails (n x SIDE x SIDE): those of ``pictures`` at ``rows``, copied only as they are looked at."""

    pictures: NDArray[np.uint8]
    rows: Indices

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, some: slice | Indices) -> NDArray[np.uint8]:
        return self.pictures[self.rows[some]]


def find(thumbnails: Thumbnails, wanted: Wanted) -> Candidates:
    """The pairs of ``thumbnails`` that may be copies, each once, under its best symmetry; best first.

    A quarter turn undoes the other one, so that above EVERY thumbnails a pair may be confirmed under both, as the one
    picture turned and as the other: the higher cosine counts.

    The memory is some 1.5 kilobytes a thumbnail, and some bytes a pair that shares a bucket; of up to EVERY thumbnails,
    35 bytes a pair.
    """
    if len(thumbnails) < 2:
        return _joined([])
    scale = _Scale.of(thumbnails)
    every = len(thumbnails) <= EVERY
    proposed = _all(len(thumbnails), wanted) if every else _hashed(thumbnails, scale, wanted)
    # Not a comprehension: it would keep the pairs of one symmetry while those of the next are sought.
    return _best(_joined(list(starmap(partial(_confirmed, thumbnails, scale), proposed))))


def _confirmed(thumbnails: Thumbnails, scale: _Scale, symmetry: int, pairs: Indices) -> Candidates:
    """Those of ``pairs`` (``first * n + second``) whose thumbnails are alike under a symmetry."""
    there = _frequencies(thumbnails, scale, symmetry)
    back = there if _BACK[symmetry] == symmetry else _frequencies(thumbnails, scale, _BACK[symmetry])
    found = []
    for first, second in _portions(pairs, len(thumbnails)):
        cosine = _moved(thumbnails, first, there[second], scale)
        open_ = np.flatnonzero((cosine >= _HALFWAY) & (cosine < ALIKE))  # either may be the crop of the other
        open_ = open_[np.argsort(second[open_], kind="stable")]
        cosine[open_] = _moved(thumbnails, second[open_], back[first[open_]], scale)
        lower, higher = np.minimum(first, second), np.maximum(first, second)
        symmetries = np.where(first < second, symmetry, _BACK[symmetry])
        found.append(Candidates(lower, higher, symmetries, cosine).take(cosine >= ALIKE))
    return _joined(found)


def _all(count: int, wanted: Wanted) -> Iterator[tuple[int, Indices]]:
    """Each symmetry with all pairs of ``count`` rows that are wanted, as ``first * n + second``."""
    first, second = np.triu_indices(count, 1)
    for symmetry in range(8):
        worth = wanted(symmetry, first, second)
        yield symmetry, first[worth] * count + second[worth]


def _hashed(thumbnails: Thumbnails, scale: _Scale, wanted: Wanted) -> Iterator[tuple[int, Indices]]:
    """Each symmetry with the pairs that share a bucket and agree in most bits, as ``first * n + second``."""
    count, hashes = len(thumbnails), _hashes(thumbnails, scale, 0, _COSINES)

    def found(symmetry: int) -> Iterator[Indices]:
        for rows in (_COSINES, _TRIM):
            asked = _hashes(thumbnails, scale, symmetry, rows)
            for first, second in _near(hashes, asked, partial(wanted, symmetry)):
                if _BACK[symmetry] == symmetry:  # the one way round is as good as the other
                    yield np.minimum(first, second) * count + np.maximum(first, second)
                else:
                    yield first * count + second

    for symmetry in range(8):
        yield symmetry, _distinct(found(symmetry))


_BACK = (0, 1, 2, 3, 4, 6, 5, 7)
"""The symmetry that undoes each: turning to the left undoes turning to the right."""


class _Scale(NamedTuple):
    """What the frequencies of a picture are measured against: what is usual (K x K), and a matrix (K*K x K*K) that

    makes them vary by as much, and apart from each other, over all pictures in all their symmetries.
    """

    usual: Floats
    matrix: Floats

    @classmethod
    def of(cls, thumbnails: Thumbnails) -> _Scale:
        """From thumbnails, as far as there are enough to tell; of few, what is known of pictures in general."""
        count, total, squares = len(thumbnails), np.zeros(_FREQUENCIES**2), np.zeros(2 * (_FREQUENCIES**2,))
        for _, some in _by_portion(thumbnails):
            found = _normal(_low(some))
            for symmetry in range(8):
                rows = turned(found, symmetry).reshape(len(some), -1)
                total += rows.sum(0, dtype=np.float64)
                squares += rows.T @ rows
        trust, usual = count / (count + _AVERAGE), total / (8 * count)
        power = squares / (8 * count) - np.outer(usual, usual)
        order = np.arange(_FREQUENCIES) ** 2
        natural = 1 / (1 + np.add.outer(order, order).ravel()) ** 2  # amplitude falls as the frequency
        power = trust * power + (1 - trust) * np.diag(natural / natural[1:].sum())
        spread = np.sqrt(np.maximum(np.diag(power), 1e-9))
        values, vectors = np.linalg.eigh((1 - _ALONE) * power / np.outer(spread, spread) + _ALONE * np.eye(len(power)))
        matrix = (vectors / spread[:, np.newaxis] / np.sqrt(np.maximum(values, _ALONE))) @ vectors.T
        return cls((trust * usual).reshape(2 * (_FREQUENCIES,)).astype(np.float32), matrix.astype(np.float32))

    def apply(self, frequencies: Floats) -> Floats:
        """Frequencies (n x K x K), from which what is usual was taken, in this measure."""
        rows = frequencies.reshape(len(frequencies), -1) @ self.matrix
        rows[:, 0] = 0
        return rows.reshape(frequencies.shape)


def turned(frequencies: Floats, symmetry: int) -> Floats:
    """The transforms (... x K x K) of pictures under a symmetry: an odd frequency changes its sign in a flip."""
    sign = np.where(np.arange(frequencies.shape[-1]) % 2, -1, 1).astype(np.float32)
    turned = np.swapaxes(frequencies, -1, -2) if symmetry & 4 else frequencies
    turned = turned * sign[:, np.newaxis] if symmetry & 2 else turned
    return turned * sign if symmetry & 1 else turned


def _low(pictures: NDArray[np.uint8], down: Floats | None = None, across: Floats | None = None) -> Floats:
    """The low frequencies (n x K x K) of pictures (n x SIDE x SIDE), without the mean: those of _COSINES,

    or what other rows (K x SIDE) make of them ``down`` and ``across``.
    """
    down, across = (_COSINES if rows is None else rows for rows in (down, across))
    found: Floats = down @ (pictures.astype(np.float32) @ across.T)
    found[:, 0, 0] = 0
    return found


def _by_portion(thumbnails: Thumbnails) -> Iterator[tuple[slice, NDArray[np.uint8]]]:
    """A few at a time, and where they stand: what is made of a thumbnail on the way takes several times its bytes."""
    for start in range(0, len(thumbnails), _PICTURES_AT_ONCE):
        place = slice(start, start + _PICTURES_AT_ONCE)
        yield place, thumbnails[place]


def _cosines() -> Floats:
    """The rows of the discrete cosine transform (of type 2, orthonormal) for the lowest frequencies."""
    order, place = np.arange(_FREQUENCIES)[:, np.newaxis], np.arange(SIDE)
    rows = np.cos(np.pi * order * (2 * place + 1) / (2 * SIDE)) * np.sqrt(2 / SIDE)
    rows[0] /= np.sqrt(2)
    return np.asarray(rows, np.float32)


def _trimming() -> Floats:
    """What stretches a line of SIDE pixels, without TRIMMED at both ends, to SIDE pixels again, linearly."""
    place = (SIDE - 1) * (TRIMMED + (1 - 2 * TRIMMED) * np.arange(SIDE) / (SIDE - 1))
    near = np.maximum(0, 1 - np.abs(place[:, np.newaxis] - np.arange(SIDE)))
    return np.asarray(near, np.float32)


_COSINES = _cosines()
_GRADIENT = np.asarray(np.gradient(np.eye(SIDE, dtype=np.float32), axis=0), np.float32)
_FROM_MIDDLE = ((np.arange(SIDE) - (SIDE - 1) / 2) / SIDE).astype(np.float32)
_SLOPE: Floats = np.asarray(_COSINES @ _GRADIENT, np.float32)
_STRETCH: Floats = np.asarray((_COSINES * _FROM_MIDDLE) @ _GRADIENT, np.float32)
_TRIM = _COSINES @ _trimming()
"""The frequencies of the change along an axis; of that change in proportion to the distance from the middle, which is

what a stretch does; of what trimming leaves."""


def _norm(frequencies: Floats) -> Floats:
    length: Floats = np.sqrt((frequencies**2).sum(axis=(1, 2), keepdims=True))
    return np.maximum(length, 1e-6)


def _normal(frequencies: Floats) -> Floats:
    return frequencies / _norm(frequencies)


def _relative(low: Floats, scale: _Scale) -> Floats:
    """Low frequencies (n x K x K), less what is usual, in the measure of ``scale``."""
    return scale.apply(_normal(low) - scale.usual)


def _unit(frequencies: Floats) -> Floats:
    """The same as rows (n x K*K) of length 1."""
    return np.ascontiguousarray(_normal(frequencies).reshape(len(frequencies), -1))


def _frequencies(thumbnails: Thumbnails, scale: _Scale, symmetry: int) -> Floats:
    """The relative frequencies of pictures under a symmetry, as rows (n x K*K) of length 1."""
    found = np.empty((len(thumbnails), _FREQUENCIES**2), np.float32)
    for place, some in _by_portion(thumbnails):
        found[place] = _unit(turned(_relative(_low(some), scale), symmetry))
    return found


def _hashes(thumbnails: Thumbnails, scale: _Scale, symmetry: int, rows: Floats) -> NDArray[np.uint16]:
    """The hash of each picture under a symmetry, _BANDS words of _BITS, of what ``rows`` (K x SIDE) make of it."""
    planes = np.random.default_rng(_SEED).standard_normal((_FREQUENCIES**2, _BANDS * _BITS), np.float32)
    found = np.empty((len(thumbnails), _BANDS), np.uint16)
    for place, some in _by_portion(thumbnails):
        signs = _unit(turned(_relative(_low(some, rows, rows), scale), symmetry)) @ planes > 0
        found[place] = np.packbits(signs, axis=1).view(">u2")
    return found


def _near(
    plain: NDArray[np.uint16], others: NDArray[np.uint16], wanted: Callable[[Indices, Indices], NDArray[np.bool_]]
) -> Iterator[tuple[Indices, Indices]]:
    """Rows of ``plain`` and of ``others`` that share a bucket and agree in most bits, some more than once."""
    whole, whole_others = (np.ascontiguousarray(words).view(np.uint64).T.copy() for words in (plain, others))
    for band in range(_BANDS):
        keys, asked = _keys(plain, band), _keys(others, band)
        order = np.argsort(keys, kind="stable")
        for place, asker in _expanded(*_buckets(keys[order], asked)):
            keep = order[place] != asker
            first, second = order[place[keep]], asker[keep]
            keep = wanted(first, second)
            first, second = first[keep], second[keep]
            differ = np.zeros(len(first), np.uint16)
            for some, some_others in zip(whole, whole_others, strict=True):
                differ += np.bitwise_count(some[first] ^ some_others[second])
            alike = differ <= _UNLIKE
            yield first[alike], second[alike]


def _keys(words: NDArray[np.uint16], band: int) -> NDArray[np.uint32]:
    """The band's word, and the next one to sort by within a bucket."""
    return words[:, band].astype(np.uint32) << np.uint32(_BITS) | words[:, (band + 1) % _BANDS]


def _buckets(keys: NDArray[np.uint32], asked: NDArray[np.uint32]) -> tuple[Indices, Indices]:
    """From where to where in the sorted ``keys`` lies the bucket of each of ``asked``; of a crowd, those next to it."""
    rest = np.uint32((1 << (2 * _BITS - int(np.clip(np.log2(len(keys)) - 4, 4, _BITS)))) - 1)
    begin = np.searchsorted(keys, asked & ~rest)
    end = np.searchsorted(keys, asked | rest, side="right")
    crowded = end - begin > CROWD
    next_to = np.clip(np.searchsorted(keys, asked) - CROWD // 2, begin, np.maximum(begin, end - CROWD))
    return np.where(crowded, next_to, begin), np.where(crowded, next_to + CROWD, end)


def _expanded(begin: Indices, end: Indices) -> Iterator[tuple[Indices, Indices]]:
    """Every place from ``begin`` up to ``end`` of each asker, and the asker, in portions."""
    total = np.concatenate([[0], np.cumsum(end - begin)])
    start = 0
    while start < len(begin):
        stop = max(start + 1, int(np.searchsorted(total, total[start] + _AT_ONCE, side="right")) - 1)
        counts = total[start + 1 : stop + 1] - total[start:stop]
        shifts = np.repeat(begin[start:stop] - total[start:stop], counts)
        yield np.arange(total[start], total[stop]) + shifts, np.repeat(np.arange(start, stop), counts)
        start = stop


def _distinct(parts: Iterator[Indices]) -> Indices:
    """All numbers of ``parts`` once, sorted, with never much more than those in memory."""
    known, waiting = np.zeros(0, np.int64), [np.zeros(0, np.int64)]
    for part in parts:
        waiting.append(part)
        if sum(map(len, waiting)) > _AT_ONCE:
            known, waiting = _once(np.concatenate([known, *waiting])), [part[:0]]
    return _once(np.concatenate([known, *waiting]))


def _once(numbers: Indices) -> Indices:
    numbers.sort()  # three times as fast as np.unique
    once: Indices = numbers[np.concatenate([np.ones(min(1, len(numbers)), bool), numbers[1:] != numbers[:-1]])]
    return once


def _portions(pairs: Indices, count: int) -> Iterator[tuple[Indices, Indices]]:
    for start in range(0, len(pairs), _CONFIRMED_AT_ONCE):
        yield np.divmod(pairs[start : start + _CONFIRMED_AT_ONCE], count)


def _moved(thumbnails: Thumbnails, first: Indices, others: Floats, scale: _Scale) -> Floats:
    """The cosine between each of ``others`` (m x K*K, length 1) and the nearest of what ``first`` (sorted) may become.

    That is the picture itself and what changes in it, to first order, when it is shifted or stretched along an axis.
    """
    cosines = np.zeros(len(first), np.float32)
    rows, begin = np.unique(first, return_index=True)
    ends = np.append(begin[1:], len(first))
    for start in range(0, len(rows), _PICTURES_AT_ONCE):
        some = slice(start, start + _PICTURES_AT_ONCE)
        for place, end, basis in zip(begin[some], ends[some], _moves(thumbnails[rows[some]], scale), strict=True):
            cosines[place:end] = np.sqrt(((others[place:end] @ basis) ** 2).sum(axis=1))
    return cosines


def _moves(pictures: NDArray[np.uint8], scale: _Scale) -> Floats:
    """Bases (n x K*K x 5) of the relative frequencies of pictures, shifted and stretched a little."""
    low = _low(pictures)
    changes = [_low(pictures, change) for change in (_SLOPE, _STRETCH)]
    changes += [_low(pictures, None, change) for change in (_SLOPE, _STRETCH)]
    space = [_relative(low, scale), *(scale.apply(change / _norm(low)) for change in changes)]
    bases: Floats = np.linalg.qr(np.stack(space, axis=-1).reshape(len(pictures), -1, len(space)))[0]
    return bases


def _joined(parts: list[Candidates]) -> Candidates:
    if parts:
        first, second, symmetry, cosine = (np.concatenate(column) for column in zip(*parts, strict=True))
        return Candidates(first, second, symmetry, cosine)
    none = np.zeros(0, np.int64)
    return Candidates(none, none, none, np.zeros(0, np.float32))


def _best(found: Candidates) -> Candidates:
    """Each pair once, under the symmetry of its largest cosine; the largest first."""
    found = found.take(np.lexsort((found.symmetry, -found.cosine, found.second, found.first)))
    again = (found.first[1:] == found.first[:-1]) & (found.second[1:] == found.second[:-1])
    found = found.take(np.concatenate([np.ones(min(1, len(found.first)), bool), ~again]))
    return found.take(np.lexsort((found.second, found.first, -found.cosine)))
