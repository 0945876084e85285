"""What can be set about the page, and its limits."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """How the page is served.

    Attributes:
      host: address to listen on.
      port: the first port that is tried.
      weights: models to offer beside the shipped ones; the first is chosen at the start.
      allowed_hosts: names under which browsers may reach the page, beside the usual ones.
      upload_bytes: size of the largest file that is taken.
      upload_pixels: of the largest picture.
      output_pixels: of the largest picture that is made.
      view_pixels: of the largest view: a 4K screen.
      kept_seconds: how long a picture or a result is kept after its last use.
      picture_bytes: host memory for all pictures; those unused for longest are dropped first.
      field_bytes: device memory for all encoded tiles, likewise.
      result_bytes: disk space for all finished pictures, likewise.
      connections: browsers' tabs that may be connected at once.
      jobs: enlargements that run at once; others wait.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    weights: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    upload_bytes: int = 64 * 2**20
    upload_pixels: int = 64_000_000
    output_pixels: int = 200_000_000
    view_pixels: int = 3840 * 2160
    kept_seconds: float = 30 * 60
    picture_bytes: int = 2**30
    field_bytes: int = 2 * 2**30
    result_bytes: int = 2 * 2**30
    connections: int = 64
    jobs: int = 4
