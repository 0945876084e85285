"""The paper's head on EDSR-baseline: splatted and bicubic streams, and the decoder per pixel.

    python train.py --config configs/gaussiansr_edsr_baseline.py --workdir runs/gaussiansr \
        --config.init_from=edsr-baseline-liif.pth --config.source=folder:DIR

The encoder starts as that of LIIF's published weights. About 5.9 ms a step on one H100, six minutes
in all. Set5 x4: 32.17 dB with the shipped weights, which were trained in two parts
(gaussiansr_jax/shipped/README.md).
"""

from ml_collections import ConfigDict

from gaussiansr_jax.training.config import default_config


def get_config() -> ConfigDict:
    """The settings."""
    config = default_config()
    config.model.head = ConfigDict({"name": "gaussiansr"})
    config.model.finest_cell = 0.25  # scales of up to 4 are trained
    config.init_from = "edsr-baseline-liif.pth"
    config.source = "folder:data/train"
    config.val_images = 32
    # Collected photographs are mostly JPEG files; reduced, they are cleaner.
    config.reductions = (1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0)
    config.recolored = 0.25
    # The decoder reads the neighbors of each output pixel: adjacent ones are queried.
    config.query_patch = 12
    config.steps = 62_000
    config.batch_size = 32
    config.learning_rate = 4e-4
    # The encoder has seen more pictures than there are here.
    config.encoder_rate = 0.25
    config.schedule = "cosine"
    config.final_learning_rate = 1e-6
    config.warmup_steps = 500
    config.clip_norm = 1.0
    return config
