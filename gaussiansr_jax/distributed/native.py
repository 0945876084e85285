"""What native code does when it gives up: it aborts, with pages of messages. Here: one sentence.

JAX's client of its coordinator aborts the process when the coordinator is gone or not all processes
come. Nothing in Python can stop that, so the signal is caught below Python.
"""

import ctypes
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

WAIT = 5.0  # seconds that the group has to say what happened, before we do
_keep: list = []


def say_aborts(end: Callable[[str], None]) -> Callable[[], None]:
    """From now on native messages go to a file, and an abort ends the process with a sentence.

    Args:
      end: prints a sentence and ends the process.

    Returns:
      a function that undoes it and removes the file.
    """
    number, name = tempfile.mkstemp(prefix="gaussiansr-jax-", suffix=".log")
    # Python keeps the real streams, native code gets the file.
    real = {stream: os.dup(stream) for stream in (1, 2)}
    for stream, name_of in ((1, "stdout"), (2, "stderr")):
        getattr(sys, name_of).flush()
        setattr(sys, name_of, os.fdopen(real[stream], "w", buffering=1))
        os.dup2(number, stream)
    os.close(number)

    @ctypes.CFUNCTYPE(None, ctypes.c_int)
    def aborted(_: int) -> None:
        text = Path(name).read_text(errors="replace")
        if "RegisterTask" in text:
            os.unlink(name)
            end(_not_together(text))
        # The thread that watches the other processes knows more, and ends this one meanwhile.
        time.sleep(WAIT)
        end(f"native code aborted the process; its messages are in {name}")

    _keep.append(aborted)  # the signal outlives this call
    ctypes.CDLL(None).signal(signal.SIGABRT, aborted)

    def undo() -> None:
        ctypes.CDLL(None).signal(signal.SIGABRT, signal.SIG_DFL)
        for stream, copy in real.items():
            os.dup2(copy, stream)
        with suppress(OSError):
            os.unlink(name)

    return undo


def _not_together(text: str) -> str:
    """Why processes did not come together."""
    if "DEADLINE_EXCEEDED" in text or "UNAVAILABLE" in text:
        return (
            "the processes did not come together in time; start all of them, with the same "
            "--num_processes and a --coordinator that every host can reach"
        )
    reason = re.search(r"absl::Status: ([^\n]*)", text)
    return (
        f"process 0 refused this process ({reason[1] if reason else 'no reason given'}); give each "
        "process its own --process_id, from 0 to --num_processes - 1"
    )
