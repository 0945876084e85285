"""The LIIF head on EDSR-baseline, the baseline of this literature (arXiv 2012.09161).

    python train.py --config configs/liif_edsr_baseline.py --workdir runs/liif \
        --config.init_from=edsr-baseline-liif.pth --config.source=folder:DIR

The training of configs/gaussiansr_edsr_baseline.py, for a fair comparison: LIIF's trained head is
left out, both heads start anew. Not yet run.
"""

from ml_collections import ConfigDict

from configs import gaussiansr_edsr_baseline


def get_config() -> ConfigDict:
    """The settings: another head and its own queries, otherwise the same training."""
    config = gaussiansr_edsr_baseline.get_config()
    config.model.head = ConfigDict({"name": "liif"})
    config.init_parts = ("encoder",)
    # Each output pixel is computed by itself: single ones are queried, all over the LR patch.
    config.query_patch = 1
    return config
