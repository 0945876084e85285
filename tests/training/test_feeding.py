"""Pools on the devices, on the host and on the disk: the same training, to the last bit."""

import jax
import numpy as np
import pytest
from test_loop import leaves, metrics

from gaussiansr_jax.data.pool import Pool
from gaussiansr_jax.training import feeding, loop, streaming
from gaussiansr_jax.training.config import sample_settings
from gaussiansr_jax.training.feeding import Resident, feed, streams


@pytest.fixture
def config(make_config):
    config = make_config()
    config.update(learning_rate=5e-3, ema_decay=0.8, steps=12, val_every=6, checkpoint_every=4)
    config.update(steps_per_dispatch=3, log_every=3)
    return config


@pytest.fixture(scope="module")
def resident(make_config, tmp_path_factory):
    """The folder of a finished run of 12 steps with the pool on the devices."""
    config = make_config()
    config.update(learning_rate=5e-3, ema_decay=0.8, steps=12, val_every=6, checkpoint_every=4)
    config.update(steps_per_dispatch=3, log_every=3, pool="device")
    workdir = tmp_path_factory.mktemp("resident")
    loop.train(config, workdir)
    return workdir


def assert_equal_runs(a, b):
    for name in ("loss", "val_psnr_mean", "grad_norm"):
        assert metrics(a, name) == metrics(b, name)
    for one, other in zip(leaves(a), leaves(b), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("pool", ["host", "disk"])
def test_streaming_is_the_same_training(config, resident, tmp_path, pool, capfd):
    config.update(pool=pool, pool_cache=str(tmp_path / "cache"))
    loop.train(config, tmp_path / "run")
    assert_equal_runs(tmp_path / "run", resident)
    out, err = capfd.readouterr()
    assert f"streaming from the {pool}" in out
    files = list((tmp_path / "cache").glob("*"))
    assert len(files) == (pool == "disk") and all(str(file) in err for file in files)


def test_stopped_between_checkpoints_and_going_on_from_another_place(
    config, resident, tmp_path, monkeypatch
):
    runs = []

    class Remembered(loop.Run):
        def __init__(self, *args):
            runs.append(self)
            super().__init__(*args)

    def asked(interruption):
        interruption.name = "SIGTERM" if runs[-1].done >= 3 else ""
        return bool(interruption.name)

    monkeypatch.setattr(loop, "Run", Remembered)
    monkeypatch.setattr(loop.Interruption, "asked", property(asked))
    config.update(pool="host")
    with pytest.raises(SystemExit):
        loop.train(config, tmp_path)
    monkeypatch.undo()
    assert max(metrics(tmp_path, "loss")) == 6
    loop.train(config, tmp_path)
    for name in ("loss", "grad_norm"):
        assert metrics(tmp_path, name) == metrics(resident, name)
    for one, other in zip(leaves(tmp_path), leaves(resident), strict=True):
        np.testing.assert_array_equal(one, other)


def test_windows_hold_what_the_devices_would_read(config):
    settings = sample_settings(config)
    pool, _ = loop.load_data(config, settings.crop_size)
    devices = jax.local_devices()[:2]
    source, length = feed("host", pool, settings, devices, 3, 30)
    try:
        assert length == 3
        resident = Resident(pool, settings, devices)
        for step, steps in ((0, 3), (3, 3), (7, 2)):
            windows = source.take(step, steps)
            assert windows.pixels.shape == (2, steps, 4, 32, 32, 3)
            # The numbers of tiles count from the first that the host or the device has.
            both = [
                x._replace(crops=x.crops._replace(tile=0))
                for x in (windows, resident.take(step, steps))
            ]
            jax.tree.map(np.testing.assert_array_equal, *both)
            for at in np.ndindex(2, steps, 4):
                tile, (y, x) = windows.crops.tile[at], np.asarray(windows.crops.start[at])
                expected = pool.tiles[tile, y : y + 32, x : x + 32]
                np.testing.assert_array_equal(windows.pixels[at], expected)
    finally:
        source.close()


def test_a_device_holds_its_piece_alone(config):
    tiles = np.arange(20, dtype=np.uint8)[:, None, None, None] + np.zeros((1, 48, 48, 3), np.uint8)
    pool, devices = Pool(tiles, np.full((20, 2), 48, np.int32), 0, 20), jax.local_devices()
    shares = Resident(pool, sample_settings(config), devices)._shares
    for index, (share, device) in enumerate(zip(shares, devices, strict=True)):
        first = min(20 * index // 8, 17)
        assert share.tiles.devices() == {device}
        np.testing.assert_array_equal(share.tiles[:, 0, 0, 0], first + np.arange(3))
        assert share.device == index and share.table.first == first


def test_auto_streams_what_does_not_fit(config):
    class Device:
        def __init__(self, limit):
            self.memory_stats = lambda: limit and {"bytes_limit": limit}

    pool = Pool(np.zeros((10, 8, 8, 3), np.uint8), np.full((10, 2), 8, np.int32), 0, 10)
    size = pool.tiles.nbytes
    assert not streams("auto", pool, [Device(2 * size)])
    assert streams("auto", pool, [Device(size)])
    assert not streams("auto", pool, [Device(size)] * 2)  # each holds half of it
    assert not streams("auto", pool, [Device(None)])
    assert streams("host", pool, [Device(2 * size)]) and not streams("device", pool, [Device(1)])


def test_windows_of_a_dispatch_are_bounded(config, monkeypatch):
    settings = sample_settings(config)
    pool, _ = loop.load_data(config, settings.crop_size)
    monkeypatch.setattr(feeding, "WINDOW_BYTES", 5 * 32 * 32 * 3)
    source, length = feed("host", pool, settings, jax.local_devices(), 500, 1000)
    source.close()
    assert length == 5


def test_an_error_in_the_loader_ends_the_training(config, tmp_path, monkeypatch):
    def fail(*args):
        raise OSError("the disk is gone")

    config.update(pool="host")
    monkeypatch.setattr(streaming.Streaming, "_read", fail)
    with pytest.raises(OSError, match="the disk is gone"):
        loop.train(config, tmp_path)
