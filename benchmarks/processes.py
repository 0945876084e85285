"""Runs measurements in separate processes: what to run, on which cores, and what came out."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

CPU_CORES = 2
JOB_SECONDS = 240


class Job(NamedTuple):
    """A process that measures one thing; `where` is "cpu" or "device"."""

    name: str
    command: tuple[str, ...]
    where: str


class Running:
    """A job under way."""

    def __init__(self, job: Job, cores: set[int]):
        """Starts it on these cores."""
        self.job = job
        self._start = time.perf_counter()
        self._folder = tempfile.TemporaryDirectory()
        self._result = Path(self._folder.name, "result.json")
        environment = dict(os.environ)
        if job.where == "cpu":
            environment |= {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
        command = [sys.executable, *job.command, "--json", str(self._result)]
        with on_cores(cores):
            self._process = subprocess.Popen(command, env=environment, stdout=sys.stderr)

    def done(self) -> bool:
        """Whether it has ended; one that takes too long is ended."""
        if time.perf_counter() - self._start > JOB_SECONDS:
            self._process.kill()
            self._process.wait()
        return self._process.poll() is not None

    def result(self) -> dict:
        """What it found; a line about a failure if it failed."""
        seconds = time.perf_counter() - self._start
        code = self._process.returncode
        print(f"[{seconds:5.1f} s] {self.job.name}", file=sys.stderr, flush=True)
        try:
            if code == 0:
                return json.loads(self._result.read_text())
            return {"rows": [], "failure": f"{self.job.name}: exit status {code}"}
        finally:
            self._folder.cleanup()


@contextlib.contextmanager
def on_cores(cores: set[int]) -> Iterator[None]:
    """Processes that are started meanwhile run on these cores, where the system can do that."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def run(pending: list[Job], report: Callable[[Job, dict], None]) -> None:
    """Runs all jobs, those of the CPU beside the others where there are cores enough."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    few, rest = set(cores[:CPU_CORES]), set(cores[CPU_CORES:])
    beside = len(cores) >= 8
    lanes = [[job for job in pending if job.where == where] for where in ("device", "cpu")]
    if not beside:
        lanes, rest = [list(pending)], set(cores)
    running: list[Running | None] = [None] * len(lanes)
    while any(lanes) or any(running):
        for index, lane in enumerate(lanes):
            current = running[index]
            if current and current.done():
                report(current.job, current.result())
                running[index] = current = None
            if lane and not current:
                job = lane.pop(0)
                running[index] = Running(job, few if job.where == "cpu" else rest)
        time.sleep(0.02)
