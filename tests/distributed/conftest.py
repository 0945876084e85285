"""What tests of several processes share."""

import os

import jobs
import pytest
from filelock import FileLock

# A program that the tests start, not a module of tests.
collect_ignore = ["victim.py"]


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    return jobs.images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="session")
def source(images):
    return f"folder:{images}"


@pytest.fixture(scope="session")
def uninterrupted(source, tmp_path_factory):
    """A whole run of two tasks of Slurm, one for all workers of pytest-xdist; only to be read."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    workdir, done = folder / "uninterrupted", folder / "uninterrupted.done"
    with FileLock(folder / "uninterrupted.lock"):
        if not done.exists():
            ended = jobs.run(workdir, source=source, launcher=jobs.slurm)
            assert [process.code for process in ended] == [0, 0], ended
            done.touch()
    return workdir
