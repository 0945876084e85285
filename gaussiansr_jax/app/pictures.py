"""The pictures that people have opened, in bounded memory and for a bounded time."""

import io
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageCms

from gaussiansr_jax import images
from gaussiansr_jax.app import catalogue
from gaussiansr_jax.app.fields import FieldCache
from gaussiansr_jax.app.settings import Settings
from gaussiansr_jax.errors import UserError
from gaussiansr_jax.upscaling.prepared import Prepared
from gaussiansr_jax.upscaling.upscaler import Upscaler


class PictureGone(UserError):
    """The picture is not open, or no longer."""


@dataclass
class OpenPicture:
    """An open picture.

    Attributes:
      key: hard to guess; whoever knows it may see the picture.
      name: of the file.
      picture: as it was read: what is enlarged.
      shown: its pixels as a screen shows them, sRGB: what is zoomed.
      alpha: its transparency, or None.
      preview: `shown` as a PNG file.
      used: when it was last asked for.
    """

    key: str
    name: str
    picture: images.Picture
    shown: UInt8[np.ndarray, "H W 3"]
    alpha: Float[np.ndarray, "H W"] | None
    preview: bytes
    used: float = field(default_factory=time.monotonic)
    _prepared: dict[str, Prepared] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """Host memory that it takes."""
        alpha = 0 if self.alpha is None else self.alpha.nbytes
        own = 0 if self.shown is self.picture.rgb else self.shown.nbytes
        return self.picture.rgb.nbytes + own + alpha + len(self.preview)

    def prepared(self, model: str, upscaler: Upscaler, fields: FieldCache) -> Prepared:
        """The picture, prepared by a model; its tiles are encoded when a view needs them."""
        if model not in self._prepared:
            kept = fields.of((self.key, model))
            self._prepared[model] = Prepared(upscaler.engine, self.shown, fields=kept)
        return self._prepared[model]

    def describe(self) -> dict:
        """What the browser needs to know."""
        height, width = self.shown.shape[:2]
        return {
            "key": self.key,
            "name": self.name,
            "width": width,
            "height": height,
            "transparent": self.alpha is not None,
            "bits": self.picture.bits,
            "notes": list(self.picture.notes),
        }


class Pictures:
    """Open pictures by key. Samples are always there."""

    def __init__(self, settings: Settings, on_close: Callable[[str], None]):
        """Opens nothing yet; `on_close` is called with the key of each picture that is closed."""
        self._settings, self._on_close = settings, on_close
        self._lock, self._sample_lock = threading.Lock(), threading.Lock()
        self._open: OrderedDict[str, OpenPicture] = OrderedDict()
        self._samples: dict[str, OpenPicture] = {}

    def open(self, file: Path, name: str) -> OpenPicture:
        """Reads an uploaded file; the file is not needed afterwards.

        Args:
          file: the uploaded file.
          name: what its owner calls it.

        Raises:
          UserError: it is not a picture, or too large.
        """
        try:
            _check_pixels(file, name, self._settings.upload_pixels)
            picture = images.read(file)
        except UserError as error:
            raise UserError(str(error).replace(str(file), name)) from error
        opened = _opened(secrets.token_urlsafe(16), name, picture)
        with self._lock:
            self._open[opened.key] = opened
        self.tidy()
        return opened

    def get(self, key: str) -> OpenPicture:
        """An open picture, or a sample by its key `sample-NAME`.

        Raises:
          PictureGone: it is not open.
        """
        name = key.removeprefix("sample-")
        if name != key and name in catalogue.SAMPLES:
            with self._sample_lock:
                if name not in self._samples:
                    self._samples[name] = _opened(key, name, catalogue.sample(name))
                return self._samples[name]
        with self._lock:
            if key not in self._open:
                raise PictureGone("this picture is no longer open here; open it again")
            self._open.move_to_end(key)
            self._open[key].used = time.monotonic()
            return self._open[key]

    def close(self, key: str) -> None:
        """Forgets a picture, if it is there."""
        with self._lock:
            gone = self._open.pop(key, None)
        if gone:
            self._on_close(key)

    def tidy(self) -> None:
        """Drops pictures that were not used for a while, and the oldest above the limit."""
        with self._lock:
            oldest, total = list(self._open.values()), sum(p.bytes for p in self._open.values())
        late = time.monotonic() - self._settings.kept_seconds
        for opened in oldest:
            too_much = total > self._settings.picture_bytes and opened is not oldest[-1]
            if opened.used < late or too_much:
                total -= opened.bytes
                self.close(opened.key)


def _opened(key: str, name: str, picture: images.Picture) -> OpenPicture:
    visible = images.bleed_colors(picture)
    shown = visible.rgb
    if shown.dtype != np.uint8:
        shown = np.rint(np.clip(shown, 0, 1) * 255).astype(np.uint8)
    shown = _as_srgb(shown, picture.icc)
    return OpenPicture(key, name, picture, shown, picture.alpha, _png(shown, picture.alpha))


def _as_srgb(rgb: UInt8[np.ndarray, "H W 3"], icc: bytes | None) -> UInt8[np.ndarray, "H W 3"]:
    """Colors as a screen shows them; a profile that is not for RGB, or damaged, is ignored."""
    if not icc:
        return rgb
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        if profile.profile.xcolor_space.strip() != "RGB":
            return rgb
        srgb = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(Image.fromarray(rgb), profile, srgb)
    except (ImageCms.PyCMSError, OSError):
        return rgb
    return np.asarray(converted)


def _png(rgb: UInt8[np.ndarray, "H W 3"], alpha: np.ndarray | None) -> bytes:
    if alpha is not None:
        levels = np.rint(np.clip(alpha, 0, 1) * 255).astype(np.uint8)
        rgb = np.concatenate([rgb, levels[..., None]], -1)
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "png", compress_level=1)
    return file.getvalue()


def _check_pixels(file: Path, name: str, limit: int) -> None:
    """Raises `UserError` for a picture that is too large; reads its header alone."""
    height, width = images.read_size(file)
    if width * height > limit:
        raise UserError(
            f"{name} has {width * height / 1e6:.0f} megapixels, this page takes "
            f"{limit / 1e6:.0f}; use `python -m gaussiansr_jax upscale` for it"
        )
