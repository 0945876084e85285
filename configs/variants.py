"""The experiments of docs/experiments.md at equal training: heads, kernel banks, streams and so on.

    python train.py --config configs/variants.py:liif --workdir runs/liif --config.source=folder:DIR
    python train.py --config "configs/variants.py:200 kernels" --workdir runs/200 \
        --config.source=folder:DIR

`VARIANTS` names them. All start from scratch, on photographs as they are.
`benchmarks/experiments.py` trains several and prints a table of them. About 3.5 ms a step of the
paper's head on one H100.
"""

from ml_collections import ConfigDict

from gaussiansr_jax.training.config import default_config

# Those of the paper's head are queried in patches, those of the direct head have a small trunk.
_PAPER = {"model.head": {"name": "gaussiansr"}, "query_patch": 12}
_DIRECT = {"model.head": {"name": "direct", "trunk_blocks": 4}}


def _with(base: dict, **head) -> dict:
    return {**base, "model.head": {**base["model.head"], **head}}


# By name: the settings in which they differ from `get_config`'s.
VARIANTS = {
    "gaussiansr": {**_PAPER, "query_patch": None},  # one patch
    "gaussiansr, patches of 12": _PAPER,
    "gaussiansr, patches of 4": {**_PAPER, "query_patch": 4},
    "50 kernels": _with(_PAPER, kernels=50),
    "200 kernels": _with(_PAPER, kernels=200),
    "400 kernels": _with(_PAPER, kernels=400),
    "bicubic stream only": _with(_PAPER, splat_channels=0),
    "splatted stream only": _with(_PAPER, splat_channels=64),
    "straight-through": _with(_PAPER, selection="straight_through", evaluation="argmax"),
    "liif": {"model.head": {"name": "liif"}},
    "direct": {"model.head": {"name": "direct"}},
    "direct, 4 blocks": _DIRECT,
    "one patch": {**_DIRECT, "query_patch": None},
    "reduced photographs": {**_DIRECT, "reductions": (1.0, 1.5, 2.0)},
    "bank": _with(_DIRECT, bank=100),
    "grid 2": _with(_DIRECT, grid=2),
    "grid 3": _with(_DIRECT, grid=3),
    "window 5": _with(_DIRECT, window=5),
    "trunk 1": _with(_DIRECT, trunk_blocks=1),
    "no opacity": _with(_DIRECT, opacity=False),
    "offset 1": _with(_DIRECT, max_offset=1.0),
    "scales 1-5": {**_DIRECT, "scale_range": (1.0, 5.0)},
}


def get_config(variant: str = "gaussiansr") -> ConfigDict:
    """The settings of a variant.

    Raises:
      ValueError: there is no such variant.
    """
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r}; choose from {'; '.join(VARIANTS)}")
    config = default_config()
    config.source = "folder:data/train"
    config.val_images, config.val_crop = 32, 240
    config.val_scales = (2, 3, 4, 6, 8, 12, 30)
    # Single queries; the paper's head, whose decoder reads neighbors, has others.
    config.query_patch = 1
    config.steps, config.batch_size = 6_000, 16
    config.learning_rate, config.final_learning_rate = 4e-4, 1e-6
    config.schedule = "cosine"
    config.warmup_steps = 500
    config.clip_norm = 1.0
    config.val_every = config.checkpoint_every = config.steps
    for name, value in VARIANTS[variant].items():
        if name == "model.head":
            config.model.head = ConfigDict(value)
        else:
            config[name] = value
    return config
