"""The images of a training run: a pool of tiles to train on, and crops that are held out."""

import hashlib

import numpy as np
from ml_collections import ConfigDict

from gaussiansr_jax import distributed
from gaussiansr_jax.data.held_out import center_crops, split_images
from gaussiansr_jax.data.hosts import this_host
from gaussiansr_jax.data.pool import Pool, build_pool
from gaussiansr_jax.data.sources import find_images
from gaussiansr_jax.data.store import Store

# The pool of training tiles and the held-out crops [N, S, S, 3].
Data = tuple[Pool, np.ndarray]


def load_data(config: ConfigDict, crop_size: int) -> Data:
    """The pool of training tiles and the held-out crops [N, S, S, 3], on the host.

    Args:
      config: of the training run.
      crop_size: `SampleSettings.crop_size`; smaller images cannot be used.

    Raises:
      UserError: what `find_images`, `split_images`, `build_pool` and `center_crops` raise.
    """
    images = find_images(config.source)
    if config.val_source:
        held_out = find_images(config.val_source)
    else:
        images, held_out = split_images(images, config.val_images)
    for kind, found in (("training", images), ("held-out", held_out)):
        names = hashlib.sha256("\n".join(image.name for image in found).encode()).hexdigest()
        facts = {f"number of {kind} images": len(found), "digest of their names": names[:12]}
        distributed.agree(distributed.current(), f"{kind} images", facts)
    pool = build_pool(
        images,
        config.tile_size,
        crop_size,
        config.reductions,
        hosts=this_host(),
        store=Store(True if config.pool == "disk" else None, config.pool_cache),
        skip=config.skip_bad_images,
    )
    return pool, center_crops(held_out, config.val_crop, config.skip_bad_images)
