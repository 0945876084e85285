"""A model and a data set so small that a step takes milliseconds."""

import json

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from gaussiansr_jax.training import loop
from gaussiansr_jax.training.config import default_config, to_json

# Settings of which no compiled program depends.
WHERE_AND_WHEN = {"source", "init_from", "init_parts", "pool", "pool_cache"}
WHERE_AND_WHEN |= {"log_every", "val_every", "checkpoint_every"}


@pytest.fixture(scope="session", autouse=True)
def compiled_once():
    """Runs with equal settings share their programs, which take longer to trace than to run."""
    dispatchers, predictors, dispatcher = {}, {}, loop.Dispatcher

    class Validator(loop.Validator):
        def __init__(self, model, layout, crops, scales):
            super().__init__(model, layout, crops, scales)
            self._predict = predictors.setdefault((model, crops.shape[1]), self._predict)

    def make_step(model, layout, optimizer, settings, config, devices):
        kept = {k: v for k, v in to_json(config).items() if k not in WHERE_AND_WHEN}
        key = model, settings, devices, json.dumps(kept, sort_keys=True)
        return key, real(model, layout, optimizer, settings, config, devices)

    def shared(step, devices):
        key, step = step
        return dispatchers.setdefault((key, tuple(devices)), dispatcher(step, devices))

    real = loop.make_step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "make_step", make_step)
        patch.setattr(loop, "Dispatcher", shared)
        patch.setattr(loop, "Validator", Validator)
        yield


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Six smooth pictures, so that there is something to learn in a few steps."""
    path = tmp_path_factory.mktemp("images")
    for index in range(6):
        rng = np.random.default_rng(index)
        coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        coarse.resize((56, 48), Image.Resampling.BICUBIC).save(path / f"{index}.png")
    return path


@pytest.fixture(scope="session")
def make_config(folder):
    """A function that makes the config of a run of 30 steps."""

    def make() -> ConfigDict:
        config = default_config()
        config.model = ConfigDict(
            {
                "encoder": {"name": "edsr-baseline", "channels": 4, "blocks": 1},
                "head": {"name": "direct", "grid": 1, "trunk_channels": 4, "trunk_blocks": 1},
                "dtype": "float32",
            }
        )
        config.update(
            source=f"folder:{folder}",
            val_images=1,
            val_crop=24,
            val_scales=(2, 3),
            tile_size=48,
            lr_size=8,
            query_size=8,
            batch_size=8,
            steps=30,
            learning_rate=1e-3,
            log_every=5,
            val_every=15,
            checkpoint_every=5,
        )
        return config

    return make


@pytest.fixture
def config(make_config) -> ConfigDict:
    return make_config()
