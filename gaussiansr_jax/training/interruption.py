"""Signals that ask a training run to save and stop."""

import signal
from types import FrameType
from typing import Any

import jax
import numpy as np


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
            pass  # not the main thread: whoever runs us there handles signals
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        if number == signal.SIGINT and self.name:
            raise KeyboardInterrupt
        self.name = signal.Signals(number).name

    def requested(self) -> bool:
        """Whether to stop. Several hosts must ask together, and stop if any of them was asked."""
        if jax.process_count() == 1:
            return bool(self.name)
        from jax.experimental import multihost_utils

        asked = bool(multihost_utils.process_allgather(np.array(bool(self.name))).any())
        if asked and not self.name:
            self.name = "a signal to another host"
        return asked
