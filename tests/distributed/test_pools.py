"""Two processes that read from files train as two whose devices hold the pool."""

import jobs
import numpy as np
import pytest


@pytest.mark.processes
def test_streaming_in_two_processes_is_the_same_training(source, tmp_path):
    settings = {"devices": 2, "source": source, "steps": 4, "val_every": 4, "checkpoint_every": 2}
    cache = tmp_path / "cache"
    for pool in ("device", "disk"):
        both = jobs.run(tmp_path / pool, 2, pool=pool, pool_cache=cache, **settings)
        assert [ended.code for ended in both] == [0, 0], both
    jobs.assert_equal_runs(tmp_path / "device", tmp_path / "disk")
    # Each process cut its own half of the ten tiles of five images.
    shapes = [np.load(file, mmap_mode="r").shape for file in cache.iterdir()]
    assert shapes == [(5, 48, 48, 3)] * 2
