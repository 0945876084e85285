"""Gaussians that carry RGB on EDSR-baseline: our own head, and the default model.

    python train.py --config configs/direct_edsr_baseline.py --workdir runs/direct \
        --config.init_from=edsr-baseline-liif.pth --config.source=folder:DIR

The encoder starts as that of LIIF's published weights. About 7.8 ms a step on one H100, four
minutes in all. Set5 x4: 32.28 dB with the shipped weights, which were trained in three parts
(gaussiansr_jax/shipped/README.md).
"""

from ml_collections import ConfigDict

from gaussiansr_jax.training.config import default_config


def get_config() -> ConfigDict:
    """The settings: another head and its own queries."""
    config = default_config()
    config.model.head = ConfigDict({"name": "direct"})
    config.init_from = "edsr-baseline-liif.pth"
    config.source = "folder:data/train"
    config.val_images = 32
    # Collected photographs are mostly JPEG files; reduced, they are cleaner.
    config.reductions = (1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0)
    config.recolored = 0.25
    # No output pixel depends on its neighbors: single ones are queried, all over the LR patch. They
    # cost little, so more than two are queried for each LR pixel.
    config.query_patch = 1
    config.query_size = 72
    config.batch_size = 32
    config.steps = 31_000
    config.learning_rate = 4e-4
    # The encoder has seen more pictures than there are here.
    config.encoder_rate = 0.5
    config.schedule = "cosine"
    config.final_learning_rate = 1e-6
    config.warmup_steps = 500
    # The gradient's norm is 0.015; at 0.5, seen once, a step undoes a thousand.
    config.clip_norm = 0.05
    return config
