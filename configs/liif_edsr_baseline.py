"""The LIIF head on EDSR-baseline, the baseline of this literature (arXiv 2012.09161).

    python train.py --config configs/liif_edsr_baseline.py --workdir runs/liif \
        --config.init_from=edsr-baseline-liif.pth --config.source=folder:DIR

The training of configs/gaussiansr_edsr_baseline.py, for a fair comparison: LIIF's trained head is
left out, both heads start untrained. Not yet run.
"""

from ml_collections import ConfigDict

from gaussiansr_jax.training.config import default_config


def get_config() -> ConfigDict:
    """The settings: another head and its own queries, otherwise the same training."""
    config = default_config()
    config.model.head = ConfigDict({"name": "liif"})
    config.init_from = "edsr-baseline-liif.pth"
    config.init_parts = ("encoder",)
    config.source = "folder:data/train"
    config.val_images = 32
    # Collected photographs are mostly JPEG files; reduced, they are cleaner.
    config.reductions = (1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0)
    config.recolored = 0.25
    # No output pixel depends on its neighbors: single ones are queried, all over the LR patch.
    config.query_patch = 1
    config.batch_size = 32
    config.steps = 62_000
    config.learning_rate = 4e-4
    config.encoder_rate = 0.25
    config.schedule = "cosine"
    config.final_learning_rate = 1e-6
    config.warmup_steps = 500
    config.clip_norm = 1.0
    return config
