"""The LIIF head on EDSR-baseline, the baseline of this literature (arXiv 2012.09161).

    python train.py --config configs/liif_edsr_baseline.py --workdir runs/liif \
        --config.source=folder:DIR

About 4.1 ms a step on one H100, data included (200 steps timed); 60,000 steps not yet run.
"""

from ml_collections import ConfigDict

from gaussiansr_jax.training.config import default_config


def get_config() -> ConfigDict:
    """The settings."""
    config = default_config()
    config.model.head = ConfigDict({"name": "liif"})
    config.source = "folder:data/train"
    config.val_images = 32
    config.steps = 60_000
    config.batch_size = 16
    config.learning_rate = 4e-4
    config.schedule = "cosine"
    config.final_learning_rate = 1e-6
    config.warmup_steps = 500
    config.clip_norm = 1.0
    return config
