import threading
import time

import pytest

from gaussiansr_jax.video.pipeline import Sink, prefetched


def test_prefetched_keeps_order_and_is_bounded():
    made = []

    def items():
        for i in range(20):
            made.append(i)
            yield i

    got = []
    for item in prefetched(items(), 3):
        time.sleep(0.01)
        got.append(item)
        assert len(made) <= len(got) + 5
    assert got == list(range(20))


def test_prefetched_works_ahead():
    ready = threading.Event()

    def items():
        yield 0
        ready.set()
        yield 1

    iterator = prefetched(items(), 2)
    assert next(iterator) == 0
    assert ready.wait(5)
    assert list(iterator) == [1]


def test_prefetched_raises_what_was_raised():
    def items():
        yield 1
        raise ValueError("broken")

    got = []
    with pytest.raises(ValueError, match="broken"):
        for item in prefetched(items(), 2):
            got.append(item)
    assert got == [1]


def test_closing_stops_the_thread():
    closed = threading.Event()

    def items():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    before = threading.active_count()
    iterator = prefetched(items(), 2)
    next(iterator)
    iterator.close()
    assert closed.is_set()
    assert threading.active_count() == before


def test_sink_finishes_everything_in_order():
    got = []

    def slow(item):
        time.sleep(0.005)
        got.append(item)

    with Sink(slow, 2) as sink:
        for i in range(10):
            sink.put(i)
    assert got == list(range(10))


def test_sink_raises_and_never_blocks():
    def fail(item):
        raise ValueError(f"item {item}")

    with pytest.raises(ValueError, match="item 0"), Sink(fail, 1) as sink:
        for i in range(100):
            sink.put(i)


def test_sink_drops_after_an_error_outside():
    got, wait = [], threading.Event()

    def slow(item):
        wait.wait(5)
        got.append(item)

    with pytest.raises(RuntimeError), Sink(slow, 5) as sink:
        for i in range(4):
            sink.put(i)
        wait.set()
        raise RuntimeError
    assert len(got) < 4 or got == [0, 1, 2, 3]
