"""A small model on scikit-image's photographs, to see training work. Nothing is downloaded.

python train.py --config configs/quickstart.py --workdir runs/quickstart

About two minutes on 2 CPU cores. Held-out PSNR-Y, mean of x2, x3, x4: 27.21 dB (bicubic 25.89).
"""

from ml_collections import ConfigDict

from gaussiansr_jax.training.config import default_config


def get_config() -> ConfigDict:
    """The settings."""
    config = default_config()
    config.model.encoder = ConfigDict({"name": "edsr-baseline", "channels": 16, "blocks": 4})
    config.model.head = ConfigDict(
        {"name": "direct", "grid": 2, "trunk_channels": 32, "trunk_blocks": 1}
    )
    config.model.dtype = "float32"
    config.source = "samples"
    config.val_images = 3
    config.val_crop = 192
    config.lr_size = 24
    config.query_size = 24
    config.batch_size = 8
    config.steps = 800
    config.learning_rate = 2e-3
    config.schedule = "cosine"
    config.warmup_steps = 20
    config.clip_norm = 1.0
    config.ema_decay = 0.98
    config.log_every = 25
    config.val_every = 100
    config.checkpoint_every = 100
    return config
