"""Training runs of real processes, small enough to take seconds."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from gaussiansr_jax import weights
from gaussiansr_jax.training.workdir import read_config

HERE = Path(__file__).resolve().parent
SETTINGS = {
    "model.encoder.channels": 4,
    "model.encoder.blocks": 1,
    "model.head.grid": 1,
    "model.head.trunk_channels": 4,
    "val_images": 1,
    "val_crop": 24,
    "val_scales": (2, 2.5),
    "tile_size": 48,
    "lr_size": 8,
    "query_size": 8,
    "steps": 20,
    "log_every": 1,
    "val_every": 10,
    "checkpoint_every": 5,
    "warmup_steps": 2,
}
ENDS = 60  # seconds in which the others end after one has failed


class Ended(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def errors(self):
        return [line for line in self.err.splitlines() if line.startswith("error: ")]


def images(folder):
    for index in range(6):
        rng = np.random.default_rng(index)
        coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        coarse.resize((56, 48), Image.Resampling.BICUBIC).save(folder / f"{index}.png")
    return folder


def free_port():
    with socket.socket() as listener:
        listener.bind(("", 0))
        return listener.getsockname()[1]


def slurm(number, of, port):
    """The variables of a task of Slurm, of several on one host."""
    return {
        "SLURM_JOB_ID": str(port),
        "JAX_COORDINATOR_PORT": str(port),
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_STEP_TASKS_PER_NODE": str(of),
        "SLURM_NODEID": "0",
        "SLURM_NTASKS": str(of),
        "SLURM_STEP_NUM_TASKS": str(of),
        "SLURM_PROCID": str(number),
        "SLURM_LOCALID": str(number),
    }


def start(
    number, of, port, workdir, fault="", devices=1, environ=(), flags=(), launcher=None, **settings
):
    """One process of a run; a launcher gives variables in place of flags."""
    settings = {**SETTINGS, **settings}
    line = [sys.executable, str(HERE / "victim.py"), fault, "--config=configs/quickstart.py"]
    line += [f"--workdir={workdir}", *(f"--config.{k}={v}" for k, v in settings.items())]
    if launcher is not None:
        environ = {**dict(environ), **launcher(number, of, port)}
    elif of > 1:
        line += [f"--coordinator=localhost:{port}", f"--num_processes={of}", "--start_timeout=40"]
        line += [f"--process_id={number}"]
    old = re.sub(r"--xla_force_host_platform_device_count=\d+", "", os.environ.get("XLA_FLAGS", ""))
    xla = f"{old} --xla_force_host_platform_device_count={devices}"
    environment = {**os.environ, "XLA_FLAGS": xla, "JAX_PLATFORMS": "cpu", **dict(environ)}
    files = [open(f"{workdir}.{number}.{name}", "w+") for name in ("out", "err")]  # noqa: SIM115
    process = subprocess.Popen([*line, *flags], env=environment, stdout=files[0], stderr=files[1])
    return process, *files


def end(started, timeout=600):
    """Waits for processes; after the first that fails, the others must end soon."""
    ends = {}
    deadline = time.monotonic() + timeout
    try:
        while len(ends) < len(started):
            for number, (process, *_) in enumerate(started):
                if number not in ends and process.poll() is not None:
                    ends[number] = time.monotonic()
                    if process.returncode:
                        deadline = min(deadline, ends[number] + ENDS)
            assert time.monotonic() < deadline, f"only {sorted(ends)} ended"
            time.sleep(0.02)
        ended = []
        for process, *files in started:
            for file in files:
                file.seek(0)
            ended.append(Ended(process.returncode, *(file.read() for file in files)))
        return ended
    finally:
        for process, *files in started:
            process.kill()
            process.wait()
            for file in files:
                file.close()


def run(workdir, processes=2, faults=None, **settings):
    """A whole run; `faults` by number of the process."""
    port = free_port()
    faults = faults or {}
    return end(
        [
            start(number, processes, port, workdir, faults.get(number, ""), **settings)
            for number in range(processes)
        ]
    )


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def measured(workdir, name):
    return {line["step"]: line[name] for line in lines(workdir) if name in line}


def assert_equal_so_far(part, whole):
    """What an unfinished run measured, bit for bit that of a finished one."""
    for name in ("loss", "grad_norm"):
        assert measured(part, name)
        assert measured(part, name).items() <= measured(whole, name).items()


def assert_equal_runs(one, two):
    """Two finished runs, bit for bit."""
    for name in ("loss", "grad_norm", "val_psnr_mean"):
        assert measured(one, name) == measured(two, name)
    (a, *_), (b, *_) = (weights.load(workdir / "model.safetensors") for workdir in (one, two))
    for part in a:
        flat = (weights.flax.traverse_util.flatten_dict(x[part], sep="/") for x in (a, b))
        for (name, x), (other, y) in zip(*(sorted(f.items()) for f in flat), strict=True):
            assert name == other
            np.testing.assert_array_equal(x, y)
    assert read_config(one)["model"] == read_config(two)["model"]
