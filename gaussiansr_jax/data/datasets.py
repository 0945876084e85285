"""Builders of data sets of HR images: TensorFlow Datasets, written as array_record.

They need no TensorFlow. What they build is read by `sources`, as tfds:NAME.
"""

import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from tqdm import tqdm

from gaussiansr_jax.data.archives import Entry, checked, list_entries
from gaussiansr_jax.errors import UserError

_DIV2K = "https://data.vision.ee.ethz.ch/cvl/DIV2K/"


# None is registered: tfds then reads what is built from its files, without this code.
class HrImages(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """What the builders have in common; files that cannot be decoded are named and left out.

    Attributes:
      skipped: the names of those files.
    """

    VERSION = tfds.core.Version("1.0.0")
    pkg_dir_path = None

    def __init__(self, given: Sequence[str] = (), **kwargs: Any):
        """Takes the folders and archives to read, besides the arguments of tfds."""
        self.given, self.skipped = list(given), []
        super().__init__(file_format="array_record", **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        image = tfds.features.Image(shape=(None, None, 3))
        features = {"image": image, "filename": tfds.features.Text()}
        return tfds.core.DatasetInfo(
            builder=self,
            description=type(self).__doc__,
            features=tfds.features.FeaturesDict(features),
            homepage=self.homepage,
        )

    homepage = None

    def _generate_examples(self, split: str, entries: Sequence[Entry]) -> Iterator[tuple]:
        count = 0
        pace = 0.1 if sys.stderr.isatty() else 20  # seconds between updates; few in a log file
        bar = tqdm(checked(entries), split, len(entries), unit="image", mininterval=pace)
        for number, image in enumerate(bar):
            if image.data is None:
                self.skipped.append(image.name)
                tqdm.write(f"skipped {image.name}: {image.reason}", sys.stderr)
                continue
            count += 1
            yield f"{number:07} {image.name}", {"image": image.data, "filename": image.name}
        if not count:
            raise UserError(f"none of the {len(entries)} images for {split} can be decoded")


class Div2kHr(HrImages, skip_registration=True):
    """DIV2K's high-resolution images (Agustsson and Timofte, 2017)."""

    homepage = "https://data.vision.ee.ethz.ch/cvl/DIV2K/"
    # Split -> archive, bytes and SHA-256 as the registry of tensorflow-datasets has them.
    ARCHIVES: Mapping[str, tuple[str, int, str]] = {
        "train": (
            f"{_DIV2K}DIV2K_train_HR.zip",
            3530603713,
            "9d0b9c463f6e35b6c62cc6a930ee2224f670b34c1df841a57670f9acf0f6c335",
        ),
        "validation": (
            f"{_DIV2K}DIV2K_valid_HR.zip",
            448993893,
            "20dd31fd84d777bc1cf5d6b7654a3f569c0aec74458ae094122ad1d0489900fc",
        ),
    }

    @property
    def url_infos(self) -> dict[str, Any]:
        """What the download manager checks archives against."""
        info = tfds.core.download.checksums.UrlInfo
        return {
            url: info(size=size, checksum=checksum, filename=url.rsplit("/", 1)[1])
            for url, size, checksum in self.ARCHIVES.values()
        }

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        if self.given:
            paths = self._find()
        else:
            urls = {split: archive[0] for split, archive in self.ARCHIVES.items()}
            paths = dl_manager.download(urls)
        tfds.disable_progress_bar()  # ours knows how many images there are
        return {s: self._generate_examples(s, list_entries(path)) for s, path in paths.items()}

    def _find(self) -> dict[str, Path]:
        """Split -> its archive or unpacked folder, one of the given paths or inside of one."""
        places = [Path(path).expanduser() for path in self.given]
        for place in places:
            if not place.exists():
                raise UserError(f"there is no folder or archive {place}; check the name")
        found = {}
        for split, (url, *_) in self.ARCHIVES.items():
            archive = url.rsplit("/", 1)[1]
            folder = archive.removesuffix(".zip")
            inside = [place / name for place in places for name in (folder, archive)]
            named = [place for place in places if place.name in (folder, archive)]
            found[split] = next((path for path in [*named, *inside] if path.exists()), None)
        found = {split: path for split, path in found.items() if path is not None}
        if not found:
            names = " or ".join(url.rsplit("/", 1)[1] for url, *_ in self.ARCHIVES.values())
            raise UserError(
                f"{', '.join(map(str, places))} is not and does not hold {names} or a folder of "
                "that name; give one of them, or nothing to download both"
            )
        return found


class HrFolder(HrImages, skip_registration=True):
    """A user's own images, from folders and ZIP archives."""

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        del dl_manager
        tfds.disable_progress_bar()
        entries = []
        for place in self.given:
            # The last part of each place keeps names from several places apart.
            last = Path(place).expanduser().absolute().name
            entries += [Entry(f"{last}/{entry.name}", entry.read) for entry in list_entries(place)]
        return {"train": self._generate_examples("train", entries)}


def build(
    name: str,
    given: Sequence[str] = (),
    config: str = "default",
    data_dir: str | Path | None = None,
    overwrite: bool = False,
) -> HrImages:
    """Builds a data set.

    Args:
      name: "div2k_hr" or "hr_folder".
      given: folders and archives; for "div2k_hr" none downloads the official archives.
      config: the name of a data set of `hr_folder`.
      data_dir: the folder of data sets; by default where tensorflow-datasets looks for them.
      overwrite: whether an existing data set is replaced, once the new one is complete.

    Returns:
      the builder: `info.splits`, `data_path`, `skipped`.

    Raises:
      UserError: the data set exists, there is nothing to read or no room, or a download fails.
    """
    for each in given:  # checked before tfds prints that it starts
        if name == "hr_folder":
            list_entries(each)
        elif not Path(each).expanduser().exists():
            raise UserError(f"there is no folder or archive {each}; check the name")
    options: dict[str, Any] = {"given": given, "data_dir": str(data_dir or default_folder())}
    if name == "div2k_hr":
        builder: HrImages = Div2kHr(**options)
    else:
        own = tfds.core.BuilderConfig(name=config, version=HrImages.VERSION)
        builder = HrFolder(config=own, **options)
    path = Path(builder.data_path)
    if path.exists() and not overwrite:
        raise UserError(f"{path} exists already; pass --overwrite to build it again")
    with _set_aside(path):
        try:
            # Google's bucket of prepared data sets has none of these.
            settings = tfds.download.DownloadConfig(try_download_gcs=False)
            builder.download_and_prepare(download_config=settings)
        except Exception as error:  # whatever tfds, its download manager and file systems raise
            raise UserError(_sentence(error, builder)) from error
        finally:
            tfds.enable_progress_bar()
    return builder


@contextmanager
def _set_aside(path: Path) -> Iterator[None]:
    """Renames a folder meanwhile; deletes it afterwards, or on an error names it as before."""
    if not path.exists():
        yield
        return
    aside = path.with_name(f"{path.name}.replaced.{os.getpid()}")
    path.rename(aside)
    try:
        yield
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        aside.rename(path)
        raise
    shutil.rmtree(aside)


def default_folder() -> Path:
    """Where tensorflow-datasets looks for data sets: `TFDS_DATA_DIR`, or else the home folder."""
    return Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def _sentence(error: Exception, builder: HrImages) -> str:
    """What went wrong, as one line."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, UserError):
        cause = cause.__cause__ or cause.__context__
    if cause is not None:
        return str(cause)
    first = next((line for line in str(error).splitlines() if line.strip()), repr(error))
    if "checksum" in type(error).__name__.lower():
        return f"an archive is not the published one ({first}); download it again"
    if isinstance(error, OSError) and error.filename:
        return f"cannot write {error.filename} ({error.strerror}); choose another --data-dir"
    return (
        f"cannot build {builder.name} ({type(error).__name__}: {first}); if the download failed, "
        "get the archive by other means and give its path"
    )
