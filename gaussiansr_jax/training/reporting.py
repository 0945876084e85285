"""What a training run reports: progress bar, JSON lines, TensorBoard."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from gaussiansr_jax.files import atomic_write

METRICS = "metrics.jsonl"


class Reporter:
    """Writes the progress of a run; of several hosts, only the first has an active one.

    Args:
      workdir: the run's folder. Its `metrics.jsonl` and TensorBoard files are continued; what they
        hold of steps that a resumed run repeats is removed.
      step: steps done already.
      steps: steps in all.
      active: whether anything is written.

    Raises:
      UserError: the folder cannot be written to.
    """

    def __init__(self, workdir: Path, step: int, steps: int, active: bool = True):
        self._active = active
        self._file = self._board = None
        if active:
            self._file = _open_lines(workdir / METRICS, step)
            self._board = _tensorboard(workdir, step)
        # A bar that is redrawn twice a second would fill a log file.
        interval = 0.5 if sys.stderr.isatty() else 20
        self._bar = tqdm(
            total=steps, initial=step, unit="step", mininterval=interval, disable=not active
        )

    def progress(self, steps: int, window: "Window") -> None:
        """Advances the bar by `steps`; it also shows the time left."""
        shown = f"loss {window.loss:.4f}, batch PSNR {window.psnr:.2f} dB"
        self._bar.set_postfix_str(f"{shown}, {window.samples_per_s:.0f} samples/s", refresh=False)
        self._bar.update(steps)

    def metrics(self, step: int, values: dict[str, Any]) -> None:
        """Appends one line of metrics, and the same to TensorBoard."""
        if not self._active:
            return
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def say(self, text: str) -> None:
        """Prints a line without tearing the bar."""
        if self._active:
            tqdm.write(text)
            sys.stdout.flush()

    def close(self) -> None:
        """Ends the bar and the files."""
        self._bar.close()
        for file in (self._file, self._board):
            if file is not None:
                file.close()


class Window:
    """Means over the steps since the last log line, and the pace.

    Args:
      batch_size: samples of a step.

    Attributes:
      loss: mean of the last dispatch.
      psnr: mean of the last dispatch, dB.
      samples_per_s: since the last log line, without the dispatch that compiled.
    """

    def __init__(self, batch_size: int):
        self._batch_size = batch_size
        self._last = time.monotonic()
        self._parts: list[dict[str, np.ndarray]] = []
        self._seconds, self._steps, self._compiled = 0.0, 0, False
        self.loss = self.psnr = self.samples_per_s = 0.0

    def add(self, metrics: dict[str, np.ndarray]) -> float:
        """Takes the metrics [steps] of one dispatch; returns the seconds since `skip` or `add`."""
        now = time.monotonic()
        seconds, self._last = now - self._last, now
        self._parts.append(metrics)
        self.loss, self.psnr = float(metrics["loss"].mean()), float(metrics["psnr"].mean())
        if self._compiled:
            self._seconds += seconds
            self._steps += len(metrics["loss"])
            self.samples_per_s = self._batch_size * self._steps / max(self._seconds, 1e-9)
        self._compiled = True
        return seconds

    def skip(self) -> float:
        """Leaves the time since the last `add` (validation, say) out; returns its seconds."""
        now = time.monotonic()
        seconds, self._last = now - self._last, now
        return seconds

    def take(self) -> dict[str, float]:
        """The means since the last call, to six digits."""
        names = self._parts[0]
        means = {k: float(np.concatenate([p[k] for p in self._parts]).mean()) for k in names}
        means["samples_per_s"] = self.samples_per_s
        self._parts, self._seconds, self._steps = [], 0.0, 0
        return {name: float(f"{value:.6g}") for name, value in means.items()}


def _open_lines(path: Path, step: int) -> Any:
    old = path.read_text().splitlines() if path.is_file() else []
    with atomic_write(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in old if _step_of(line) <= step))
    return open(path, "a")


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return float("inf")  # cut off by a crash


def _tensorboard(workdir: Path, step: int) -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        tqdm.write(
            "tensorboardX is not installed (pip install 'gaussiansr-jax[train]'): metrics go to "
            "metrics.jsonl only"
        )
        return None
    return SummaryWriter(str(workdir / "tensorboard"), purge_step=step + 1)
