"""The paper's head on EDSR-baseline: splatted and bicubic streams, and the decoder per pixel.

    python train.py --config configs/gaussiansr_edsr_baseline.py --workdir runs/gaussiansr \
        --config.source=folder:DIR

About 3.5 ms a step on one H100 (docs/performance.md). Set5 x4: 31.53 dB after 60,000 steps of a
longer cosine schedule (learning rate still 2.6e-4); 31.64 dB after 36,000 more steps down to 1e-5,
the shipped weights (gaussiansr_jax/shipped/README.md).
"""

from ml_collections import ConfigDict

from gaussiansr_jax.training.config import default_config


def get_config() -> ConfigDict:
    """The settings."""
    config = default_config()
    config.model.head = ConfigDict({"name": "gaussiansr"})
    config.source = "folder:data/train"
    config.val_images = 32
    # Collected photographs are mostly JPEG files; reduced, they are cleaner.
    config.reductions = (1.0, 1.5, 2.0)
    config.steps = 60_000
    config.batch_size = 16
    config.learning_rate = 4e-4
    config.schedule = "cosine"
    config.final_learning_rate = 1e-6
    config.warmup_steps = 500
    config.clip_norm = 1.0
    return config
