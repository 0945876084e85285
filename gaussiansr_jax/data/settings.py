"""The settings that all samples of a training run share, and their checks."""

from typing import NamedTuple

from gaussiansr_jax.errors import UserError

# So that the products in `crops.draw_tile` fit into 32 bits.
MAX_BATCH = 2**15


class SampleSettings(NamedTuple):
    """What is the same for all samples.

    Attributes:
      lr_size: side L of the LR patch.
      query_size: side Q of the grid of target pixels that is queried.
      query_patch: side P of the patches of adjacent target pixels that the grid consists of. Each
        of the Q / P parts of the crop's rows has one, at random, and likewise the columns.
      scale_range: the least and the largest scale; each sample draws its own, uniformly.
      recolored: the share of the samples in other colors, see `sampling._recolor`.
      batch_size: samples of a step over all devices; each draws from its own part of the pool.
      seed: of the run; all random numbers follow from it.
    """

    lr_size: int
    query_size: int
    query_patch: int
    scale_range: tuple[float, float]
    recolored: float = 0.0
    batch_size: int = 1
    seed: int = 0

    @property
    def crop_size(self) -> int:
        """Side of the HR crop at the largest scale."""
        return round(self.lr_size * self.scale_range[1])


def check_settings(settings: SampleSettings, tile_size: int) -> None:
    """Checks that crops fit into tiles and queries into crops.

    Raises:
      UserError: they do not, or another setting is out of range.
    """
    low, high = settings.scale_range
    if not 1 <= low <= high < float("inf"):
        raise UserError(
            f"scale_range {low, high} must be two finite numbers, ascending, of at least 1"
        )
    if not 0 <= settings.recolored <= 1:
        raise UserError(f"recolored is {settings.recolored}; it must be a share from 0 to 1")
    if not 1 <= settings.batch_size <= MAX_BATCH:
        raise UserError(
            f"batch_size is {settings.batch_size}; it must lie between 1 and {MAX_BATCH}"
        )
    if settings.crop_size > tile_size:
        raise UserError(
            f"the crop of lr_size x scale_range = {settings.lr_size} x {high:g} = "
            f"{settings.crop_size} pixels is larger than tile_size={tile_size}; "
            "raise tile_size, or lower lr_size or scale_range"
        )
    # At small scales, single queries may share a row or a column; patches may not.
    fits = settings.query_patch == 1 or settings.query_size <= round(settings.lr_size * low)
    if settings.query_size < 1 or not fits:
        raise UserError(
            f"query_size={settings.query_size} does not fit into the smallest crop, "
            f"lr_size x scale_range = {settings.lr_size} x {low:g}; lower query_size"
        )
    if not 1 <= settings.query_patch <= settings.query_size:
        raise UserError(
            f"query_patch={settings.query_patch} must lie between 1 and "
            f"query_size={settings.query_size}"
        )
    if settings.query_size % settings.query_patch:
        raise UserError(
            f"query_size={settings.query_size} is not a multiple of "
            f"query_patch={settings.query_patch}; change one of them"
        )
    if settings.query_patch < settings.query_size < settings.lr_size:
        raise UserError(
            f"query_size={settings.query_size} is below lr_size={settings.lr_size}, which queries "
            "in several patches cannot cover; raise it, or leave query_patch out"
        )
