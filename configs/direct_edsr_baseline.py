"""Gaussians that carry RGB on EDSR-baseline: our own head, and the default model.

    python train.py --config configs/direct_edsr_baseline.py --workdir runs/direct \
        --config.init_from=edsr-baseline-liif.pth --config.source=folder:DIR

The encoder starts as that of LIIF's published weights. About 7.8 ms a step on one H100, four
minutes in all. Set5 x4: 32.28 dB with the shipped weights, which were trained in three parts
(gaussiansr_jax/shipped/README.md).
"""

from ml_collections import ConfigDict

from configs import gaussiansr_edsr_baseline


def get_config() -> ConfigDict:
    """The settings: another head and its own queries."""
    config = gaussiansr_edsr_baseline.get_config()
    config.model.head = ConfigDict({"name": "direct"})
    # Each output pixel is computed by itself: single ones are queried, all over the LR patch. They
    # cost little, so that there are more than two for each LR pixel.
    config.query_patch = 1
    config.query_size = 72
    config.steps = 31_000
    config.encoder_rate = 0.5
    # The gradient's norm is 0.015; at 0.5, seen once, a step undoes a thousand.
    config.clip_norm = 0.05
    return config
