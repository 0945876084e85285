"""The LIIF head on EDSR-baseline, the baseline of this literature (arXiv 2012.09161).

    python train.py --config configs/liif_edsr_baseline.py --workdir runs/liif \
        --config.source=folder:DIR

About 4.3 ms a step on one H100 (docs/performance.md); 60,000 steps not yet run.
"""

from ml_collections import ConfigDict

from configs import gaussiansr_edsr_baseline


def get_config() -> ConfigDict:
    """The settings: another head and its own queries, otherwise the same training."""
    config = gaussiansr_edsr_baseline.get_config()
    config.model.head = ConfigDict({"name": "liif"})
    # Each output pixel is computed by itself: single ones are queried, all over the LR patch.
    config.query_patch = 1
    return config
