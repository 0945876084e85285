"""A model and a data set so small that a step takes milliseconds."""

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from gaussiansr_jax.training.config import default_config


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
