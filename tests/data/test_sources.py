"""Where images come from."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from gaussiansr_jax.data.sources import find_images
from gaussiansr_jax.errors import UserError
from gaussiansr_jax.images import read_rgb


def write(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def test_folders_are_read_with_subfolders_in_order(tmp_path):
    for name in ("a/2.png", "a/sub/1.JPG", "b/0.webp", "a/.hidden.png"):
        write(tmp_path / name)
    (tmp_path / "a" / "SOURCES.tsv").write_text("passed over")
    names = [image.name for image in find_images(f"folder:{tmp_path}/b,{tmp_path}/a")]
    assert names == [f"{tmp_path}/{name}" for name in ("b/0.webp", "a/2.png", "a/sub/1.JPG")]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("folder:{}/none", "there is no folder"),
        ("folder:{}/empty", "holds no image"),
        ("folder:", "unknown source"),
        ("samples:x", "unknown source"),
        ("https://example.org", "unknown source"),
        ("tfds:no_such_data_set", "cannot read the data set tfds:no_such_data_set:train"),
    ],
)
def test_sources_that_cannot_be(tmp_path, source, words):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=words) as error:
        find_images(source.format(tmp_path))
    assert "\n" not in str(error.value)


def test_samples_are_photographs_of_an_installed_package():
    images = find_images("samples")
    assert len(images) >= 8
    assert min(read_rgb(image.open()).shape[0] for image in images[:3]) >= 192


@pytest.fixture(scope="module")
def tfds_folder(tmp_path_factory):
    """A prepared data set of five PNG images in array_record format, and its pixels."""
    import tensorflow_datasets as tfds

    pixels = [
        np.random.default_rng(i).integers(0, 256, (40 + i, 30, 3), dtype=np.uint8) for i in range(5)
    ]

    class GaussianTiny(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            image = tfds.features.Image(shape=(None, None, 3))
            features = tfds.features.FeaturesDict({"lr": image, "hr": image})
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for index, image in enumerate(pixels):
                yield index, {"lr": _png(image[::2, ::2]), "hr": _png(image)}

    folder = tmp_path_factory.mktemp("tfds")
    builder = GaussianTiny(data_dir=folder, file_format="array_record")
    builder.download_and_prepare()
    return folder, pixels


def _png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    file.seek(0)
    return file


def test_tfds_by_folder_and_by_name(tfds_folder, monkeypatch):
    folder, pixels = tfds_folder
    images = find_images(f"tfds:{folder}/gaussian_tiny/1.0.0")
    read = {read_rgb(image.open()).tobytes() for image in images}
    assert read == {image.tobytes() for image in pixels}
    assert len(find_images(f"tfds:{folder}/gaussian_tiny/1.0.0:train[:2]")) == 2
    with pytest.raises(UserError, match="cannot read the data set"):
        find_images(f"tfds:{folder}/gaussian_tiny/1.0.0:test")


def test_tfds_needs_no_tensorflow_and_finds_TFDS_DATA_DIR(tfds_folder):
    folder, _ = tfds_folder
    code = (
        "import sys\n"
        "from gaussiansr_jax.data.sources import find_images\n"
        "from gaussiansr_jax.data.pool import build_pool\n"
        "print(build_pool(find_images('tfds:gaussian_tiny'), 32, 16).tiles.shape)\n"
        "print('tensorflow' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"TFDS_DATA_DIR": str(folder), "JAX_PLATFORMS": "cpu", "PATH": ""},
    )
    assert run.stdout.strip().split("\n") == ["(10, 32, 32, 3)", "False"], run.stderr
