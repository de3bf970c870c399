"""The order of an epoch, and the thread that reads it: nothing left out, nothing left behind."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from itertools import islice

import numpy as np
import pytest
import trainable
from hypothesis import given
from hypothesis import strategies as st

from imagemask.errors import UsageError
from imagemask.learn import settings
from imagemask.learn.batches import Batches, Order
from imagemask.learn.cache import open_cache

SIZES = st.integers(1, 9)


@st.composite
def orders(draw, shares=st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.9, 1.0]), steps=st.none()):
    """Orders of rows that are not counted from 0, some of them with foreground."""
    foreground = draw(st.lists(st.booleans(), min_size=1, max_size=40))
    rows = draw(st.permutations(range(100, 100 + len(foreground))))
    return Order(
        rows,
        foreground,
        draw(SIZES),
        seed=draw(st.integers(0, 2**32 - 1)),
        steps_per_epoch=draw(steps),
        foreground_share=draw(shares),
    )


def share(order, shown):
    """The share of rows with foreground among those shown."""
    filled = {row for row, inside in zip(order.rows, order.foreground, strict=True) if inside}
    return np.mean([row in filled for row in shown.ravel().tolist()])


# --- the order ---


@given(orders(shares=st.just(0.0)), st.integers(0, 5))
def test_an_epoch_shows_every_row_once_and_fills_the_last_batch_from_another_permutation(order, number):
    shown = order.epoch(number)
    count = len(order.rows)
    assert shown.shape == (order.steps, order.batch_size) == (-(-count // order.batch_size), order.batch_size)
    assert shown.dtype == np.int64
    flat = shown.ravel().tolist()
    for begin in range(0, len(flat), count):
        part = flat[begin : begin + count]
        assert len(set(part)) == len(part)
    assert set(flat) == set(order.rows)


@given(orders(), st.integers(0, 5))
def test_no_image_is_left_out_and_foreground_has_its_share(order, number):
    shown = order.epoch(number)
    assert shown.shape == (order.steps, order.batch_size)
    filled = {row for row, inside in zip(order.rows, order.foreground, strict=True) if inside}
    seen = set(shown.ravel().tolist())
    if filled:
        assert share(order, shown) >= order.foreground_share - 1e-9
    left_out = set(order.rows) - filled if filled and order.foreground_share == 1 else set()
    assert seen == set(order.rows) - left_out


@given(orders(), st.integers(0, 5))
def test_an_epoch_is_no_longer_than_it_must_be(order, number):
    count = (order.steps - 1) * order.batch_size
    filled = sum(order.foreground)
    empty = len(order.rows) - filled
    if filled and order.foreground_share == 1:
        empty = 0
    needed = int(np.ceil(order.foreground_share * count - 1e-9)) if filled else 0
    assert count < filled + empty or (empty and count - needed < empty)


@given(orders(steps=st.integers(1, 12)), st.integers(0, 5))
def test_asked_for_steps_are_kept_and_so_is_the_share(order, number):
    shown = order.epoch(number)
    assert shown.shape == (order.steps_per_epoch, order.batch_size)
    if any(order.foreground):
        assert share(order, shown) >= order.foreground_share - 1e-9
    assert set(shown.ravel().tolist()) <= set(order.rows)


@given(orders(), st.integers(0, 5))
def test_rows_with_foreground_are_repeated_evenly(order, number):
    counts = Counter(order.epoch(number).ravel().tolist())
    filled = [counts[row] for row, inside in zip(order.rows, order.foreground, strict=True) if inside]
    if filled:
        assert max(filled) - min(filled) <= 2


@given(orders(), st.integers(0, 5))
def test_an_order_follows_from_seed_and_epoch(order, number):
    twin = Order(
        list(order.rows),
        list(order.foreground),
        order.batch_size,
        seed=order.seed,
        foreground_share=order.foreground_share,
    )
    twin.epoch(number + 1)  # what was asked for before does not matter
    np.testing.assert_array_equal(order.epoch(number), twin.epoch(number))


def test_epochs_and_seeds_have_orders_of_their_own():
    rows = range(60)
    shown = [
        tuple(Order(rows, [True] * 60, 4, seed=seed).epoch(number).ravel()) for seed in range(5) for number in range(5)
    ]
    assert len(set(shown)) == 25
    # Rows are as likely to come first as last.
    places = np.mean([np.argsort(one) for one in shown], axis=0)
    assert np.abs(places - 29.5).max() < 4.5 * 60 / np.sqrt(12 * 25)


def test_what_was_drawn_again_is_spread_over_the_epoch():
    order = Order(range(1000), [number < 50 for number in range(1000)], 10, foreground_share=0.5)
    shown = order.epoch(0)
    assert order.steps == 190
    assert share(order, shown) == 0.5
    tenths = [share(order, part) for part in np.array_split(shown, 10)]
    assert max(tenths) < 0.65
    assert min(tenths) > 0.35


def test_a_share_that_is_just_met_is_not_exceeded():
    """0.07 * 100 is a little more than 7 in floating point."""
    order = Order(range(100), [number < 7 for number in range(100)], 10, foreground_share=0.07)
    assert sorted(order.epoch(0).ravel().tolist()) == list(range(100))


def test_the_order_is_the_same_everywhere():
    """Written down: a resumed run on another machine, or under another numpy, goes on as it would have."""
    order = Order(range(10), [number < 3 for number in range(10)], 4, seed=7, foreground_share=0.5)
    assert order.epoch(0).tolist() == GOLDEN[0]
    assert order.epoch(3).tolist() == GOLDEN[1]
    assert order.seeds(3, 2) == GOLDEN[2]


GOLDEN = (
    [[1, 1, 3, 6], [2, 0, 5, 3], [9, 7, 8, 4], [2, 1, 0, 0]],
    [[3, 9, 6, 1], [2, 8, 5, 0], [2, 0, 4, 3], [1, 7, 2, 1]],
    (1902038212, 402603298),
)


def test_every_step_has_seeds_of_its_own():
    found = {
        Order([0], [True], 1, seed=seed).seeds(epoch, step)
        for seed in (0, 1, 2**32 - 1)
        for epoch in range(10)
        for step in range(10)
    }
    assert len(found) == 300
    assert all(type(one) is int and 0 <= one < 2**31 for pair in found for one in pair)


def test_nothing_to_train_on_is_refused():
    with pytest.raises(UsageError, match="no pictures"):
        Order([], [], 4)


def test_an_order_of_a_dataset_is_as_its_settings_say(tmp_path):
    data = trainable.read(tmp_path)
    told = {"seed": 5, "schedule.batch_size": 2, "schedule.steps_per_epoch": 9, "data.foreground_share": 0.75}
    made = Order.of(
        data.part("train"), {key: 50 + n for n, key in enumerate(data.rows["key"])}, settings.load(given=told)
    )
    assert list(made.rows) == [50, 53, 56]
    assert list(made.foreground) == [True, True, True]
    assert (made.seed, made.batch_size, made.steps, made.foreground_share) == (5, 2, 9, 0.75)


# --- the batches ---


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    data = trainable.read(tmp_path_factory.mktemp("set"), count=11)
    return open_cache(data, height=20, width=24, channels=1)


@pytest.fixture
def order():
    return Order(range(2, 11), [True] * 9, 4, seed=3)


@pytest.fixture(autouse=True)
def _no_thread_is_left_behind():
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def test_batches_are_the_rows_of_one_epoch_after_another(cache, order):
    with Batches(cache, order, first_epoch=2) as batches:
        shown = list(islice(batches, 7))
    wanted = np.concatenate([order.epoch(number) for number in (2, 3, 4)])[:7]
    for (images, labels), rows in zip(shown, wanted, strict=True):
        assert images.shape == (4, 20, 24, 1)
        assert labels.shape == (4, 20, 24)
        np.testing.assert_array_equal(images, cache.images[rows])
        np.testing.assert_array_equal(labels, cache.masks[rows])


def test_a_batch_is_a_copy_of_its_rows_alone(cache, order):
    with Batches(cache, order) as batches:
        for array, whole in zip(next(batches), (cache.images, cache.masks), strict=True):
            assert type(array) is np.ndarray
            assert array.flags.writeable
            assert not np.may_share_memory(array, whole)


def test_only_rows_are_ever_asked_of_a_cache(cache, order):
    """So that a cache may be larger than memory."""

    class Rows:
        def __init__(self, array):
            self.array = array

        def __getitem__(self, rows):
            assert len(rows) == 4
            return self.array[rows]

    class Watched:
        images, masks = Rows(cache.images), Rows(cache.masks)

    with Batches(Watched(), order) as batches:
        assert len(list(islice(batches, 5))) == 5


def test_a_transform_gets_each_batch_with_its_own_seeds(cache, order):
    told = []

    def transform(images, labels, seeds):
        told.append((seeds, threading.current_thread().name))
        return images.astype("float32") / 2, labels

    with Batches(cache, order, first_epoch=1, transform=transform) as batches:
        shown = list(islice(batches, 4))
    for number, (images, labels) in enumerate(shown):
        epoch, step = 1 + number // 3, number % 3
        rows = order.epoch(epoch)[step]
        np.testing.assert_array_equal(images, cache.images[rows] / np.float32(2))
        np.testing.assert_array_equal(labels, cache.masks[rows])
        assert told[number] == (order.seeds(epoch, step), "batches")


class Pending:
    """An array of a device that is computed when it is looked at, as those of JAX and TensorFlow are."""

    def __init__(self, values):
        self.values, self.seen_by = values, None

    def __array__(self, dtype=None, copy=None):
        self.seen_by = threading.current_thread().name
        return self.values


def test_the_device_is_waited_for_in_the_thread(cache, order):
    """Else the steps would wait for it, and nobody would count."""
    made = []

    def transform(images, labels, seeds):
        made.append((Pending(images), Pending(labels)))
        return made[-1]

    with Batches(cache, order, transform=transform) as batches:
        shown = next(batches)
    assert all(type(one) is np.ndarray for one in shown)
    assert [one.seen_by for one in made[0]] == ["batches", "batches"]


def test_only_a_few_batches_are_made_ahead(cache, order):
    made = threading.Semaphore(0)
    count = 0

    def transform(images, labels, seeds):
        nonlocal count
        count += 1
        made.release()
        return images, labels

    with Batches(cache, order, transform=transform) as batches:
        for _ in range(3):
            assert made.acquire(timeout=60)
        assert not made.acquire(timeout=0.05)
        next(batches)
        assert made.acquire(timeout=60)
        assert not made.acquire(timeout=0.05)
    assert count == 4


def failing_at(number, error):
    count = 0

    def transform(images, labels, seeds):
        nonlocal count
        count += 1
        if count > number:
            raise error
        return images, labels

    return transform


@pytest.mark.parametrize("error", [ValueError("wrong"), KeyboardInterrupt(), SystemExit(3)])
@pytest.mark.parametrize("number", [0, 1, 5])
def test_an_error_in_the_thread_is_raised_in_the_place_of_its_batch(cache, order, error, number):
    with Batches(cache, order, transform=failing_at(number, error)) as batches:
        if number < 3:
            batches._thread.join(timeout=60)  # it has failed before anything is taken
        assert len(list(islice(batches, number))) == number
        for _ in range(2):
            with pytest.raises(type(error)) as caught:
                next(batches)
            assert caught.value is error


def test_an_error_of_the_cache_is_raised(cache):
    with Batches(cache, Order([10_000], [True], 1)) as batches, pytest.raises(IndexError):
        next(batches)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, GeneratorExit])
def test_an_error_of_the_consumer_ends_the_thread(cache, order, error):
    def consume(batches):
        with batches:
            next(batches)
            raise error

    batches = Batches(cache, order)
    with pytest.raises(error):
        consume(batches)
    assert not batches._thread.is_alive()


def test_ctrl_c_while_waiting_ends_the_thread(cache, order):
    """Really sent, while the consumer waits for a batch that does not come."""
    asked, let_go = threading.Event(), threading.Event()

    def transform(images, labels, seeds):
        assert asked.wait(timeout=60)
        os.kill(os.getpid(), signal.SIGINT)
        let_go.wait(timeout=1)  # Python notices late a signal that comes just before it begins to wait
        return images, labels

    def consume(batches):
        with batches:
            try:
                asked.set()
                next(batches)
            finally:
                let_go.set()

    with pytest.raises(KeyboardInterrupt):
        consume(Batches(cache, order, transform=transform))


def test_after_the_end_there_are_no_more(cache, order):
    with Batches(cache, order) as batches:
        next(batches)
        batches.close()
        assert list(batches) == []
    assert list(batches) == []


def test_closing_lets_a_consumer_in_another_thread_go(cache, order):
    """As TensorFlow's is, which reads ahead by itself."""
    stuck, let_go, ended = threading.Event(), threading.Event(), []

    def transform(images, labels, seeds):
        stuck.set()
        assert let_go.wait(timeout=60)
        return images, labels

    with Batches(cache, order, transform=transform) as batches:
        consumer = threading.Thread(target=lambda: ended.append(list(batches)))
        consumer.start()
        assert stuck.wait(timeout=60)
        batches._shelf.close()
        consumer.join(timeout=60)
        assert ended == [[]]
        let_go.set()


def test_dropped_unclosed_the_thread_ends_as_well(cache, order):
    batches = Batches(cache, order)
    next(iter(batches))
    thread = batches._thread
    assert thread.is_alive()
    del batches
    gc.collect()
    thread.join(timeout=60)
    assert not thread.is_alive()


def test_never_begun_there_is_nothing_to_end(cache, order):
    batches = Batches(cache, order)
    assert not batches._thread.is_alive()
    assert batches.waited == 0
    batches.close()
    with batches:
        assert list(batches) == []
    assert batches._thread.ident is None


def test_a_process_ends_with_its_batches_open():
    script = """
import threading
import numpy as np
from imagemask.learn.batches import Batches, Order

class Cache:
    images, masks = np.zeros((9, 4, 4, 1), "uint8"), np.zeros((9, 4, 4), "uint8")

batches = Batches(Cache(), Order(range(9), [True] * 9, 2), transform=lambda *given: given[:2])
next(iter(batches))
print("done")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_time_spent_waiting_is_measured(cache, order, monkeypatch):
    """By a clock that nothing moves but a batch that is not there for 3 s, and 5 s of work on each."""
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", clock)
    with Batches(cache, order) as batches:
        clock.now += 50  # nobody has asked yet
        take = batches._shelf.take
        monkeypatch.setattr(batches._shelf, "take", lambda: clock.after(3, take))
        for number in range(1, 4):
            next(batches)
            assert batches.waited == 3 * number
            clock.now += 5
        assert batches.waited == 9


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def after(self, seconds, call):
        self.now += seconds
        return call()
