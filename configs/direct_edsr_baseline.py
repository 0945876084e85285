"""Gaussians that carry RGB on EDSR-baseline: our own head, and the fastest.

    python train.py --config configs/direct_edsr_baseline.py --workdir runs/direct \
        --config.source=folder:DIR

About 5.2 ms a step on one H100 (docs/performance.md). Set5 x4: 32.16 dB with the shipped weights;
their training is in gaussiansr_jax/weights/README.md.
"""

from ml_collections import ConfigDict

from configs import gaussiansr_edsr_baseline


def get_config() -> ConfigDict:
    """The settings: another head and its own queries, otherwise the same training."""
    config = gaussiansr_edsr_baseline.get_config()
    config.model.head = ConfigDict({"name": "direct"})
    # Each output pixel is computed by itself: single ones are queried, all over the LR patch.
    config.query_patch = 1
    return config
