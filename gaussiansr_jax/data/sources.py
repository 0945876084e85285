"""Where HR images come from: folders, TensorFlow Datasets without TensorFlow, sample photographs.

A source is named by one string, and becomes a list of images that are not read yet.
"""

import importlib.util
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from gaussiansr_jax.errors import UserError, needs_extra
from gaussiansr_jax.images import READABLE

# The photographs (not the charts, icons or masks) among the files of the scikit-image wheel.
# motorcycle_right is left out: it would put the held-out motorcycle_left into training.
SAMPLES = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "moon.png",
    "motorcycle_left.png",
    "retina.jpg",
    "rocket.jpg",
)


@dataclass(frozen=True)
class ImageRef:
    """An image that can be read.

    Attributes:
      name: for messages.
      open: returns a path or an open file, for `images.read`.
      stamp: a text that changes when the image does.
    """

    name: str
    open: Callable[[], str | IO[bytes]]
    stamp: str = ""


def find_images(source: str) -> list[ImageRef]:
    """Lists the images of a source, in an order that depends on nothing but the source.

    Args:
      source: `folder:DIR[,DIR…]` (with subfolders), `tfds:NAME[:SPLIT]` or `samples`.

    Raises:
      UserError: unknown kind of source, missing folder or data set, or no image in it.
    """
    kind, _, rest = source.partition(":")
    if kind == "samples" and not rest:
        return sample_images()
    if kind == "folder" and rest:
        return [ref for folder in rest.split(",") for ref in folder_images(folder.strip())]
    if kind == "tfds" and rest:
        name, _, split = rest.partition(":")
        return tfds_images(name, split or "train")
    raise UserError(
        f"unknown source {source!r}; give folder:DIR[,DIR...], tfds:NAME[:SPLIT] or samples"
    )


def folder_images(folder: str) -> list[ImageRef]:
    """All image files below a folder, sorted by path; other files are ignored.

    Raises:
      UserError: no such folder, or no image below it.
    """
    return [_file(path) for path in folder_paths(folder)]


def folder_paths(folder: str | Path) -> list[Path]:
    """The paths of `folder_images`; arguments and errors are the same."""
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise UserError(f"there is no folder {folder}; give an existing one in the source")
    paths = sorted(
        path
        for path in root.rglob("*")
        if path.suffix.lower() in READABLE and not path.name.startswith(".") and path.is_file()
    )
    if not paths:
        kinds = " ".join(sorted(READABLE))
        raise UserError(f"the folder {folder} holds no image; files ending in {kinds} are read")
    return paths


def sample_images() -> list[ImageRef]:
    """The photographs in the installed scikit-image package; nothing is downloaded.

    Raises:
      UserError: scikit-image is missing, or has no photograph.
    """
    spec = importlib.util.find_spec("skimage")
    roots = spec.submodule_search_locations or [] if spec else []
    paths = [Path(root, "data", name) for root in roots for name in SAMPLES]
    paths = [path for path in paths if path.is_file()]
    if not paths:
        raise UserError(
            "the source 'samples' needs the package scikit-image with its photographs; install it "
            "with: pip install 'gaussiansr-jax[train]', or give folder:DIR"
        )
    return [_file(path) for path in paths]


def tfds_images(name: str, split: str) -> list[ImageRef]:
    """The images of a prepared TensorFlow Datasets data set in array_record format.

    Read by random access, without TensorFlow; `TFDS_DATA_DIR` is the folder of prepared data sets.

    Args:
      name: name of the data set (`NAME` or `NAME/CONFIG`), or the folder of a prepared one
        (the one with `dataset_info.json`).
      split: the split, slices such as `train[:90%]` included.

    Raises:
      UserError: no such data set or split, not prepared, no image among its features, or
        tensorflow-datasets is not installed.
    """
    with needs_extra(f"the source tfds:{name}", "train"):
        import tensorflow_datasets as tfds
    try:
        if Path(name).expanduser().is_dir():
            builder = tfds.builder_from_directory(Path(name).expanduser())
        else:
            # tfds reads the variable when it is imported.
            folder = os.environ.get("TFDS_DATA_DIR") or None
            builder = tfds.builder(name, file_format="array_record", data_dir=folder)
        features = builder.info.features
        images = [key for key in features if isinstance(features[key], tfds.features.Image)]
        feature = _hr_feature(images, name)
        # Left encoded: the pool's threads decode them.
        decoders = dict.fromkeys(images, tfds.decode.SkipDecoding())
        records: Sequence[Any] = builder.as_data_source(split=split, decoders=decoders)
        count = len(records)
    except UserError:
        raise
    except Exception as error:  # tfds raises whatever its file systems and parsers raise
        first = next((line for line in str(error).splitlines() if line.strip()), repr(error))
        raise UserError(
            f"cannot read the data set tfds:{name}:{split} ({first.strip()}); prepare it as "
            "array_record, and set TFDS_DATA_DIR to the folder that holds it"
        ) from error
    if not count:
        raise UserError(f"the data set tfds:{name}:{split} holds no image; name another split")
    info = Path(builder.data_path, "dataset_info.json")
    stamp = f"{info} {info.stat().st_mtime_ns}"
    return [
        ImageRef(f"tfds:{name}:{split}[{index}]", partial(_record, records, index, feature), stamp)
        for index in range(count)
    ]


def _file(path: Path) -> ImageRef:
    facts = path.stat()
    return ImageRef(str(path), partial(str, path), f"{facts.st_size} {facts.st_mtime_ns}")


def _hr_feature(images: list[str], name: str) -> str:
    """Which of several image features holds the HR image."""
    for feature in (*("hr", "image"), *(images if len(images) == 1 else ())):
        if feature in images:
            return feature
    raise UserError(
        f"the data set tfds:{name} has the image features {images}, and none is called 'hr' or "
        "'image'; use a data set with one image feature"
    )


def _record(records: Sequence[Any], index: int, feature: str) -> IO[bytes]:
    return io.BytesIO(records[index][feature])
