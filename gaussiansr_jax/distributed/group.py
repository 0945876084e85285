"""The line between processes: small values, bad news, and a sign of life every few seconds.

JAX notices a dead process after a minute or more, by aborting the others; a collective on a GPU
waits for it forever. Here each process keeps a connection to process 0 and a thread that listens.
When a connection breaks or falls silent, or a process reports an error, every process prints one
sentence and ends.
"""

import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Client, Connection, Listener, wait
from typing import Any, NoReturn

from gaussiansr_jax.errors import UserError

BEAT = 1.0  # seconds between signs of life
GRACE = 20.0  # seconds that the end waits for a file that is being saved
AGAIN = "run the same command again to continue from the last checkpoint"
# The values of all processes: each distinct one, and the names of the processes that have it.
Values = list[tuple[Any, list[str]]]


class Group:
    """This process among those that work together; by default it is alone.

    Attributes:
      index: number of this process.
      count: number of processes.

    Args:
      index: number of this process.
      count: number of processes.
      links: process 0's connections to all others; the others' connection to process 0.
      names: what to call the processes at the other ends.
      silence: seconds after which a silent process counts as dead.
    """

    def __init__(
        self,
        index: int = 0,
        count: int = 1,
        links: dict[int, Connection] | None = None,
        names: dict[int, str] | None = None,
        silence: float = 30.0,
    ):
        self.index, self.count = index, count
        self.name = own_name(index)
        self._links, self._names, self._silence = dict(links or {}), dict(names or {}), silence
        self._heard = dict.fromkeys(self._links, time.monotonic())
        self._sending, self._ending, self._saving = (threading.Lock() for _ in range(3))
        self._values: dict[str, dict[int, Any]] = {}
        self._results: dict[str, Values] = {}
        self._news = threading.Condition()
        self._left = False
        if self._links:
            threading.Thread(target=self._listen, name="lifeline", daemon=True).start()

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes files and prints."""
        return self.index == 0

    def gather(self, key: str, value: Any, timeout: float | None = None) -> Values:
        """The values of all processes; each must call it with the same key.

        Args:
          key: a name, used once.
          value: anything small that can be pickled.
          timeout: seconds to wait; by default as long as all processes live.

        Raises:
          UserError: the others did not come in time.
        """
        self._take(self.index, key, value)
        if not self.first:
            self._send(0, ("value", key, value))
        with self._news:
            if not self._news.wait_for(lambda: key in self._results, timeout):
                raise UserError(f"not all {self.count} processes came to {key!r} in {timeout:g} s")
            return self._results.pop(key)

    def of_first(self, key: str, value: Any) -> Any:
        """The value of process 0; each process must call it with the same key."""
        marked = self.gather(key, ("first", value) if self.first else None)
        return next(item[0][1] for item in marked if item[0] is not None)

    @contextmanager
    def saving(self) -> Iterator[None]:
        """While a file is being saved, news of a dead process does not end this one."""
        with self._saving:
            yield

    def fail(self, sentence: str, status: int = 1) -> NoReturn:
        """Prints a sentence, tells it to the others, and ends all processes."""
        self._end(sentence, status, set(self._links), f"{self.name}: {sentence}")

    def _end(
        self, sentence: str, status: int = 1, others: Collection[int] = (), news: str = ""
    ) -> NoReturn:
        # The first caller's sentence counts. The lock is never released.
        self._ending.acquire()
        try:
            for other in others:
                self._send(other, ("failed", news))
            self._saving.acquire(timeout=GRACE)
            print(f"\nerror: {sentence}", file=sys.stderr, flush=True)  # below a progress bar
        finally:
            os._exit(status)

    def leave(self) -> None:
        """Waits for all processes to come here; then the others may end without being missed."""
        if self.count > 1:
            self.gather("the end", None)
        self._left = True
        for other in list(self._links):
            self._send(other, ("bye",))

    def _send(self, other: int, message: tuple) -> None:
        link = self._links.get(other)
        with self._sending, suppress(OSError):  # the listener finds out why
            if link is not None:
                link.send(message)

    def _listen(self) -> None:
        beaten = 0.0
        while self._links and not self._left:
            if time.monotonic() - beaten > BEAT:
                beaten = time.monotonic()
                for other in list(self._links):
                    self._send(other, ("beat",))
            for link in wait(list(self._links.values()), BEAT):
                other = next(o for o, known in self._links.items() if known is link)
                try:
                    message = link.recv()
                except (EOFError, OSError):
                    message = ("lost", "is gone: it was killed, crashed, or lost its network")
                self._heard[other] = time.monotonic()
                self._handle(other, *message)
            for other in list(self._links):
                if time.monotonic() - self._heard[other] > self._silence:
                    self._handle(other, "lost", f"has been silent for {self._silence:g} s")

    def _handle(self, other: int, kind: str, *content: Any) -> None:
        if kind == "value":
            self._take(other, *content)
        elif kind == "all":
            with self._news:
                self._results[content[0]] = content[1]
                self._news.notify_all()
        elif kind == "bye":
            self._left |= not self.first
            del self._links[other]
        elif kind in ("lost", "failed") and not self._left:
            sentence = content[0]
            if kind == "lost":
                sentence = f"{self._names[other]} {sentence}; {AGAIN}"
            self._end(sentence, 1, set(self._links) - {other}, sentence)

    def _take(self, other: int, key: str, value: Any) -> None:
        """Process 0 collects the values, and sends them when it has all."""
        if not self.first:
            return
        with self._news:
            values = self._values.setdefault(key, {})
            values[other] = value
            if len(values) < self.count:
                return
            distinct: Values = []
            for index in sorted(self._values.pop(key)):
                names = next((n for v, n in distinct if v == values[index]), None)
                if names is None:
                    distinct.append((values[index], names := []))
                names.append(self._names.get(index, self.name))
            self._results[key] = distinct
            self._news.notify_all()
        for third in list(self._links):
            self._send(third, ("all", key, distinct))


def own_name(index: int) -> str:
    """What messages call a process of this host."""
    return f"process {index} on {socket.gethostname()}"


def listen(count: int) -> tuple[Listener, bytes]:
    """Where process 0 waits for the others: a listener on any free port, and its secret."""
    key = secrets.token_bytes(16)
    return Listener(("", 0), backlog=count, authkey=key), key


def accept(listener: Listener, count: int, timeout: float) -> tuple[dict, dict]:
    """Process 0's connections to the others, and their names.

    Raises:
      UserError: not all of them came in time, or one was told of another number of processes.
    """
    links: dict[int, Connection] = {}
    names: dict[int, str] = {}
    told: list[str] = []

    def take_all() -> None:
        while len(links) < count - 1 and not told:
            with suppress(OSError, EOFError):  # who does not know the secret is not one of us
                link = listener.accept()
                index, names[index], of = link.recv()
                links[index] = link
                if of != count:
                    told.append(f"{names[index]} was told of {of} processes, process 0 of {count}")

    taking = threading.Thread(target=take_all, daemon=True)
    taking.start()
    taking.join(timeout)
    if not taking.is_alive() and not told:
        listener.close()
        return links, names
    missing = ", ".join(str(index) for index in range(1, count) if index not in links)
    sentence = (
        f"{told[0]}; give all the same --num_processes"
        if told
        else f"process {missing} did not come within {timeout:g} s; start all {count} processes, "
        "and let their hosts connect to each other"
    )
    for link in links.values():
        with suppress(OSError):
            link.send(("failed", sentence))
    raise UserError(sentence)


def connect(address: tuple[str, int], key: bytes, index: int, count: int) -> Connection:
    """The connection of another process to process 0.

    Raises:
      UserError: it cannot be reached.
    """
    try:
        link = Client(address, authkey=key)
    except OSError as error:
        raise UserError(
            f"cannot reach process 0 at {address[0]}:{address[1]} ({error.strerror or error}); "
            "let the hosts connect to each other on all ports"
        ) from error
    link.send((index, own_name(index), count))
    return link
