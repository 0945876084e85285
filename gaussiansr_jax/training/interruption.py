"""Signals that ask a training run to save and stop."""

import signal
from types import FrameType
from typing import Any


class Interruption:
    """Turns SIGTERM (a scheduler) and the first SIGINT (Ctrl-C) into a request to save and stop.

    A context manager: outside of it, signals do what they did before.

    Attributes:
      name: of the signal that asked; "" while none did.
    """

    def __init__(self):
        self.name = ""
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._handle)
        except ValueError:
            pass  # not the main thread: signals are left to the program that runs it
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        if number == signal.SIGINT and self.name:
            raise KeyboardInterrupt
        self.name = signal.Signals(number).name

    @property
    def asked(self) -> bool:
        """Whether this process was asked to stop."""
        return bool(self.name)
