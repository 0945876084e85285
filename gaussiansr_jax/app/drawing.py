"""From a view that a browser wants to the bytes that it draws."""

import io
import json
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from gaussiansr_jax.app.pictures import OpenPicture
from gaussiansr_jax.errors import UserError
from gaussiansr_jax.upscaling.gaussians import placed_gaussians
from gaussiansr_jax.upscaling.prepared import Prepared, TileOfView

# "raw" is exact, for a view at rest in a browser on the same machine; "compact" is faster to send.
ENCODINGS = ("raw", "compact")
_QUALITY = 92
# The most Gaussians in one message. If there are more, each LR pixel's strongest are sent.
MOST_GAUSSIANS = 12_000


@dataclass(frozen=True)
class View:
    """What a browser wants to see.

    Attributes:
      number: rises with each of a browser's views.
      picture: key of the picture.
      model: name of the model.
      scale: output pixels per pixel of the picture.
      top: first output row; may be a fraction.
      left: first output column, likewise.
      height: output pixels.
      width: output pixels.
      encoding: one of `ENCODINGS`.
    """

    number: int
    picture: str
    model: str
    scale: float
    top: float
    left: float
    height: int
    width: int
    encoding: str

    @classmethod
    def parse(cls, message: dict, most_pixels: int) -> "View":
        """What a browser's message asks for.

        Raises:
          UserError: it makes no sense, or the view is larger than `most_pixels`.
        """
        try:
            kinds = cls.__annotations__
            view = cls(**{name: kind(message[name]) for name, kind in kinds.items()})
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise UserError("this view is not valid; reload the page") from error
        sane = view.height > 0 and view.width > 0 and math.isfinite(view.scale)
        if not sane or view.encoding not in ENCODINGS or view.height * view.width > most_pixels:
            raise UserError("this view is not possible; reload the page")
        return view

    @property
    def place(self) -> tuple[float, float, int, int, float]:
        """The arguments of `Prepared.render_view`."""
        return self.top, self.left, self.height, self.width, self.scale

    def part(self, tile: TileOfView) -> "View":
        """The part that one tile covers."""
        corner = {"top": self.top + tile.top, "left": self.left + tile.left}
        size = {"height": tile.height, "width": tile.width}
        return View(**{**self.__dict__, **corner, **size})


def frame(
    view: View, opened: OpenPicture, prepared: Prepared, progress: Callable[[float], None]
) -> bytes:
    """A view as a message: `packed` header and pixels.

    Raises:
      UserError: the view is not inside the picture.
    """
    pixels = prepared.render_view(*view.place, progress=progress)
    if opened.alpha is not None:
        alpha = _alpha_of_view(opened.alpha, view)
        pixels = np.concatenate([pixels, alpha[..., None]], -1)
    header = {**view.__dict__, "kind": "frame"}
    return packed(header, encoded(pixels, view.encoding))


def encoded(pixels: np.ndarray, encoding: str) -> bytes:
    """Pixels [H, W, 3 or 4] as they are, or as a JPEG or, with transparency, WebP file."""
    if encoding == "raw":
        return pixels.tobytes()
    file = io.BytesIO()
    image = Image.fromarray(pixels)
    if pixels.shape[2] == 4:
        image.save(file, "webp", quality=_QUALITY, method=0)
    else:
        image.save(file, "jpeg", quality=_QUALITY, subsampling="4:4:4")
    return file.getvalue()


def packed(header: dict, payload: bytes) -> bytes:
    """One message: length of the header (4 bytes, little-endian), header (JSON), payload."""
    text = json.dumps(header).encode()
    return len(text).to_bytes(4, "little") + text + payload


def gaussians(
    prepared: Prepared, names: dict, top: int, left: int, height: int, width: int
) -> bytes | None:
    """The Gaussians of a rectangle of LR pixels as a message, None where it is not encoded yet.

    Of each LR pixel the strongest are sent, as many as `MOST_GAUSSIANS` allows.

    The payload is float32 [Gaussians, 6]: y, x, σ_y, σ_x, ρ, opacity, in LR pixels, row by row and
    those of one LR pixel side by side.

    Args:
      prepared: the picture, prepared by a model.
      names: goes into the header.
      top: first LR row.
      left: first LR column.
      height: LR rows.
      width: LR columns.

    Raises:
      UserError: the rectangle is not inside the picture, or the model has none.
    """
    if height * width > MOST_GAUSSIANS:
        return packed({"kind": "many"}, b"")
    tiles = prepared.view_tiles(top, left, height, width, size=prepared.image.shape[:2])
    if any(not prepared.has(part.tile) for part in tiles):
        return None
    placed = placed_gaussians(prepared, top, left, height, width)
    rho, opacity = placed.rho[..., None], placed.opacity[..., None]
    values = np.concatenate([placed.center, placed.sigma, rho, opacity], -1, dtype=np.float32)
    each, kept = values.shape[2], max(MOST_GAUSSIANS // (height * width), 1)
    if kept < each:
        strongest = np.argsort(-values[..., 5], axis=2, kind="stable")[..., :kept]
        values = np.take_along_axis(values, strongest[..., None], axis=2)
    rectangle = {"top": top, "left": left, "height": height, "width": width}
    counts = {"each": each, "sent": values.shape[2]}
    return packed({"kind": "gaussians", **names, **rectangle, **counts}, values.tobytes())


def _alpha_of_view(alpha: np.ndarray, view: View) -> np.ndarray:
    """The picture's transparency, bicubic, as uint8 [height, width]."""
    height, width = alpha.shape
    ends = (view.left + view.width) / view.scale, (view.top + view.height) / view.scale
    box = (view.left / view.scale, view.top / view.scale, min(ends[0], width), min(ends[1], height))
    size = (view.width, view.height)
    resized = Image.fromarray(alpha).resize(size, Image.Resampling.BICUBIC, box=box)
    return np.rint(np.clip(np.asarray(resized), 0, 1) * 255).astype(np.uint8)
