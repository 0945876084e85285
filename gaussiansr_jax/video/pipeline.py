"""Stages that run at the same time, each in a thread, with bounded queues between them."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Generic, TypeVar

T = TypeVar("T")
_END = object()
# Seconds after which a waiting thread looks whether it should stop.
_POLL = 0.1


def prefetched(items: Iterable[T], depth: int) -> Iterator[T]:
    """The same items, produced in a thread that runs at most `depth` items ahead.

    An error in the thread is raised here, after the items before it. When the iterator is closed,
    the thread stops, and `items` is closed in it.
    """
    done: queue.Queue = queue.Queue(depth)
    stop = threading.Event()

    def put(item: Any) -> None:
        while not stop.is_set():
            try:
                return done.put(item, timeout=_POLL)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                put((item, None))
                if stop.is_set():
                    break
        except BaseException as error:
            put((None, error))
        finally:
            if hasattr(items, "close"):
                items.close()
            put((_END, None))

    thread = threading.Thread(target=work, name="prefetched")
    thread.start()
    try:
        while True:
            item, error = done.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        stop.set()
        thread.join()


class Sink(Generic[T]):
    """Calls a function with each item, in order, in one separate thread.

    On leaving the `with` block, all items are finished, or, after an error in the block, dropped.
    """

    def __init__(self, function: Callable[[T], None], depth: int):
        """Takes at most `depth` items that wait."""
        self._function = function
        self._waiting: queue.Queue = queue.Queue(depth)
        self._error: BaseException | None = None
        self._drop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="sink")

    def __enter__(self) -> "Sink[T]":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._drop.set()
        self._waiting.put(_END)
        self._thread.join()
        if error is None and self._error is not None:
            raise self._error

    def put(self, item: T) -> None:
        """Hands an item over, waiting for a place; raises what an earlier item has raised."""
        if self._error is not None:
            raise self._error
        self._waiting.put(item)

    def _work(self) -> None:
        while (item := self._waiting.get()) is not _END:
            if self._drop.is_set():  # after an error items are taken and dropped, so none waits
                continue
            try:
                self._function(item)
            except BaseException as error:
                self._error = error
                self._drop.set()
