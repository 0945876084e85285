"""A large model of RGB-carrying Gaussians: 20 trunk blocks, 7,363,665 parameters.

    python train.py --config configs/direct_large.py --workdir runs/large \
        --config.init_from=edsr-baseline-liif.pth --config.source=folder:DIR

The encoder starts as that of LIIF's published weights. About 12 ms a step on one H100, twelve
minutes in all. Not yet run to its end: after 26,000 steps in two parts, the learning rate still
8e-5, Set5 x4 32.22 dB (docs/experiments.md).
"""

from ml_collections import ConfigDict

from gaussiansr_jax.training.config import default_config


def get_config() -> ConfigDict:
    """The settings: a deeper trunk, and larger patches, because an output sees 78 LR pixels."""
    config = default_config()
    config.model.head = ConfigDict({"name": "direct", "trunk_blocks": 20})
    config.init_from = "edsr-baseline-liif.pth"
    config.source = "folder:data/train"
    config.val_images = 32
    # Collected photographs are mostly JPEG files; reduced, they are cleaner.
    config.reductions = (1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0)
    config.recolored = 0.25
    # Larger patches, because an output sees 78 LR pixels to each side.
    config.lr_size = config.query_size = 64
    config.tile_size = 384
    # No output pixel depends on its neighbors: single ones are queried, all over the LR patch.
    config.query_patch = 1
    config.batch_size = 18
    config.steps = 60_000
    config.learning_rate = 4e-4
    config.encoder_rate = 0.5
    config.schedule = "cosine"
    config.final_learning_rate = 1e-6
    config.warmup_steps = 500
    # The gradient's norm is 0.015; at 0.5, seen once, a step undoes a thousand.
    config.clip_norm = 0.05
    return config
