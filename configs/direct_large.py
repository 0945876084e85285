"""A large model of RGB-carrying Gaussians: 20 trunk blocks, 7,363,665 parameters.

    python train.py --config configs/direct_large.py --workdir runs/large \
        --config.init_from=edsr-baseline-liif.pth --config.source=folder:DIR

The encoder starts as that of LIIF's published weights. About 12 ms a step on one H100, twelve
minutes in all. Not yet run to its end: after 26,000 steps in two parts, the learning rate still
8e-5, Set5 x4 32.22 dB (docs/experiments.md).
"""

from ml_collections import ConfigDict

from configs import direct_edsr_baseline


def get_config() -> ConfigDict:
    """The settings: a deeper trunk, and larger patches, because an output sees 78 LR pixels."""
    config = direct_edsr_baseline.get_config()
    config.model.head = ConfigDict({"name": "direct", "trunk_blocks": 20})
    config.lr_size = config.query_size = 64
    config.tile_size = 384
    config.batch_size = 18
    config.steps = 60_000
    return config
