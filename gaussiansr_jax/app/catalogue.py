"""The models and the sample photographs that the page offers."""

import threading
from importlib import resources
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from gaussiansr_jax import images, loading, weights
from gaussiansr_jax.app.settings import Settings
from gaussiansr_jax.errors import UserError
from gaussiansr_jax.upscaling.upscaler import Upscaler

# On a CPU a tile is to take a few seconds at most: it appears as soon as it is encoded.
_CPU_TILE = 256
_SMALL = "gaussiansr-direct-small"
_LABELS = {
    _SMALL: "Direct, small",
    "gaussiansr-direct-edsr-baseline": "Direct",
    "gaussiansr-edsr-baseline": "Paper",
}
# Name -> file in scikit-image, part that is shown (rows, columns), and the factor by which it is
# reduced, so that there is something to enlarge.
SAMPLES = {
    "Cat": ("chelsea.png", np.s_[0:300, 60:451], 2),
    "Astronaut": ("astronaut.png", np.s_[0:352, 20:460], 2),
    "Coffee": ("coffee.png", np.s_[20:392, 60:556], 2),
}


class Models:
    """Models by name, loaded when they are first wanted."""

    def __init__(self, settings: Settings):
        """Loads nothing yet."""
        shipped = sorted(path.stem for path in weights.SHIPPED.glob("*.safetensors"))
        # A CPU renders the small one in half the time.
        quick = [_SMALL] if _SMALL in shipped and jax.default_backend() == "cpu" else []
        chosen = (*settings.weights, *quick, weights.DEFAULT_WEIGHTS, *shipped)
        self.names = list(dict.fromkeys(chosen))
        self._loaded: dict[str, Upscaler] = {}
        self._lock = threading.Lock()

    def describe(self) -> list[dict]:
        """Names and labels, the one that is chosen at the start first."""
        return [
            {"name": name, "label": _LABELS.get(name) or Path(name).stem} for name in self.names
        ]

    def is_loaded(self, name: str) -> bool:
        """Whether `get` returns at once."""
        return name in self._loaded

    def get(self, name: str) -> Upscaler:
        """The model.

        Raises:
          UserError: it is not one of those that are offered, cannot be loaded, or renders whole
            images only.
        """
        if name not in self.names:
            raise UserError(f"the page offers no model {name!r}; reload it")
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = _load(name)
            return self._loaded[name]


def _load(name: str) -> Upscaler:
    upscaler = loading.load(name)
    engine = upscaler.engine
    if not upscaler.model.tileable:
        raise UserError(f"{name} renders whole images only and cannot be zoomed; choose another")
    if jax.default_backend() == "cpu" and 2 * engine.halo + 64 <= _CPU_TILE:
        engine.tile = _CPU_TILE
    return upscaler


def sample(name: str) -> images.Picture:
    """One of `SAMPLES`, from the installed package of scikit-image; no download."""
    file, part, reduced = SAMPLES[name]
    with resources.as_file(resources.files("skimage") / "data" / file) as path:
        rgb = images.read(path).rgb[part]
    height, width = (n // reduced for n in rgb.shape[:2])
    small = Image.fromarray(rgb).resize((width, height), Image.Resampling.BICUBIC)
    return images.Picture(np.asarray(small))
