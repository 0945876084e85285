"""How many processes and devices there are changes nothing but rounding."""

import shutil

import jobs
import numpy as np
import pytest

from gaussiansr_jax.training import storage
from gaussiansr_jax.training import workdir as files

SGD = {
    "environ": {"VICTIM": "sgd"},
    "batch_size": 16,
    "checkpoint_every": 1,
    "val_every": 20,
    "val_images": 3,  # two for one process, one for the other
    "warmup_steps": 0,
}


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory):
    """An uninterrupted run of 20 steps, one process of eight devices."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    (ended,) = jobs.run(workdir, 1, devices=8, source=source, **SGD)
    assert ended.code == 0, ended
    return workdir


def params(workdir, step):
    folder = workdir / files.FOLDER
    with storage.open_manager(folder, keep=None, write=False) as manager:
        trees, _ = storage.read(manager, folder, step)
    return {str(path): leaf for path, leaf in storage.named(trees["state"]["params"])}


def assert_close(one, two, step=20):
    """Parameters and what was measured on the way, up to rounding."""
    first, second = (params(workdir, step) for workdir in (one, two))
    assert first.keys() == second.keys()
    for name, leaf in first.items():
        np.testing.assert_allclose(leaf, second[name], atol=1e-6, rtol=1e-5)
    for name in ("loss", "grad_norm", "val_psnr_mean"):
        measured = ([x[name] for x in jobs.lines(w) if name in x] for w in (one, two))
        np.testing.assert_allclose(*measured, rtol=2e-5)


def test_two_processes_of_four_devices_are_one_of_eight(whole, source, tmp_path):
    two = tmp_path / "two"
    # One process may be long at compiling, or at its images, when all are connected already.
    faults = {0: "connected", 1: "connected"}
    pair = jobs.run(two, 2, faults, devices=4, source=source, **SGD)
    assert [ended.code for ended in pair] == [0, 0], pair
    # The parameters after one step of plain descent differ by the gradient alone.
    first = [np.load(workdir / "after-one-step.npy") for workdir in (whole, two)]
    np.testing.assert_allclose(*first, atol=1e-7, rtol=1e-6)
    assert "8 x cpu" in pair[0].out and not pair[1].out
    assert_close(whole, two)
    # Written once, by process 0.
    assert [line["step"] for line in jobs.lines(two) if "loss" in line] == list(range(1, 21))
    assert len(list((two / "tensorboard").iterdir())) == 1


@pytest.mark.processes
@pytest.mark.parametrize(("processes", "devices"), [(1, 1), (2, 1), (1, 16)])
def test_another_number_continues(whole, source, tmp_path, processes, devices):
    """From a checkpoint of eight devices."""
    workdir = tmp_path / "run"
    shutil.copytree(whole, workdir)
    for step in (19, 20):
        folder = workdir / files.FOLDER / str(step)
        if step == 20:
            shutil.rmtree(folder)
    ended = jobs.run(workdir, processes, devices=devices, source=source, **SGD)
    assert all(process.code == 0 for process in ended), ended
    assert "continuing from step 19 of" in ended[0].out
    assert f"{processes * devices} x cpu" in ended[0].out
    assert_close(whole, workdir)
