"""What all browsers share: pictures, models, encoded tiles, and turns on the device."""

import tempfile
from pathlib import Path

from gaussiansr_jax.app.catalogue import Models
from gaussiansr_jax.app.fields import FieldCache
from gaussiansr_jax.app.pictures import OpenPicture, Pictures
from gaussiansr_jax.app.settings import Settings
from gaussiansr_jax.app.turns import Turns
from gaussiansr_jax.upscaling.prepared import Prepared


class Studio:
    """The state of the page.

    Attributes:
      settings: the limits.
      models: those that are offered.
      fields: encoded tiles.
      pictures: open pictures.
      drawing: turns for views, which are quick.
      working: turns for encoding and enlarging. Views need not wait for them.
      folder: for temporary files; deleted at the end of the process.
    """

    def __init__(self, settings: Settings):
        """Makes the folder; loads nothing yet."""
        self.settings = settings
        self.models = Models(settings)
        self.fields = FieldCache(settings.field_bytes)
        self.pictures = Pictures(settings, lambda key: self.fields.drop((key,)))
        self.drawing, self.working = Turns(), Turns()
        self._folder = tempfile.TemporaryDirectory(
            prefix="gaussiansr-jax-app-", ignore_cleanup_errors=True
        )
        self.folder = Path(self._folder.name)

    def prepared(self, picture: str, model: str) -> tuple[OpenPicture, Prepared]:
        """An open picture, prepared by a model; loads the model if it is not loaded yet.

        Raises:
          UserError: no such picture or model.
        """
        opened = self.pictures.get(picture)
        return opened, opened.prepared(model, self.models.get(model), self.fields)

    def close(self) -> None:
        """Removes all files."""
        self._folder.cleanup()
