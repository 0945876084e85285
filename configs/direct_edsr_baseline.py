"""Gaussians that carry RGB on EDSR-baseline: our own head, and the fastest.

    python train.py --config configs/direct_edsr_baseline.py --workdir runs/direct \
        --config.source=folder:DIR

About 6.8 ms a step of 18 on one H100 (docs/experiments.md). Set5 x4: 32.19 dB with the shipped
weights; their training is in gaussiansr_jax/shipped/README.md.
"""

from ml_collections import ConfigDict

from configs import gaussiansr_edsr_baseline


def get_config() -> ConfigDict:
    """The settings: another head and its own queries, larger patches, more augmentation."""
    config = gaussiansr_edsr_baseline.get_config()
    config.model.head = ConfigDict({"name": "direct"})
    # Each output pixel is computed by itself: single ones are queried, all over the LR patch.
    config.query_patch = 1
    # An output sees 54 LR pixels to each side.
    config.lr_size = config.query_size = 64
    config.tile_size = 384
    config.batch_size = 18
    config.reductions = (1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0)
    config.recolored = 0.5
    return config
