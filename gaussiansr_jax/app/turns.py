"""Fair access to the device: of those waiting, the one served longest ago comes next."""

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """A lock that several clients take for one small piece of work each, in turn."""

    def __init__(self):
        """Starts with the device free."""
        self._changed = threading.Condition()
        self._taken = False
        self._waiting: list[tuple[int, int]] = []
        self._count = itertools.count(1)
        self._served: dict[str, int] = {}

    @contextmanager
    def take(self, client: str) -> Iterator[None]:
        """Waits for the client's turn, and holds it."""
        self._begin(client)
        try:
            yield
        finally:
            self._end()

    def give_way(self, client: str) -> None:
        """Lets others come first; for the client whose turn it is, between two pieces."""
        with self._changed:
            if not self._waiting:
                return
        self._end()
        self._begin(client)

    def forget(self, client: str) -> None:
        """The client will not come again."""
        with self._changed:
            self._served.pop(client, None)

    def _begin(self, client: str) -> None:
        with self._changed:
            ticket = (self._served.get(client, 0), next(self._count))
            self._waiting.append(ticket)
            self._changed.wait_for(lambda: not self._taken and min(self._waiting) == ticket)
            self._waiting.remove(ticket)
            self._taken = True
            self._served[client] = next(self._count)

    def _end(self) -> None:
        with self._changed:
            self._taken = False
            self._changed.notify_all()
