"""Data sets are built from archives and folders by one command, and read without TensorFlow."""

import functools
import hashlib
import http.server
import io
import subprocess
import sys
import threading
import zipfile

import numpy as np
import pytest
from PIL import Image

from gaussiansr_jax.__main__ import main
from gaussiansr_jax.data import datasets
from gaussiansr_jax.data.pool import build_pool
from gaussiansr_jax.data.sources import find_images
from gaussiansr_jax.errors import UserError
from gaussiansr_jax.images import read_rgb


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, (40 + seed, 50, 3), dtype=np.uint8)


def encoded(pixels, kind="PNG"):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def write_zip(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def div2k(folder, count=3):
    """Archives like the official ones, with a damaged image and what is no image."""
    files = {f"DIV2K_train_HR/{i:04}.png": encoded(picture(i)) for i in range(count)}
    files["DIV2K_train_HR/0900.png"] = encoded(picture(9))[:1500]
    files |= {"__MACOSX/DIV2K_train_HR/._0000.png": b"x", "DIV2K_train_HR/readme.txt": b"x"}
    write_zip(folder / "DIV2K_train_HR.zip", files)
    write_zip(
        folder / "DIV2K_valid_HR.zip", {"DIV2K_valid_HR/0801.png": encoded(picture(20), "PNG")}
    )
    return folder


def pixels_of(source):
    return {read_rgb(image.open()).tobytes() for image in find_images(source)}


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    return tmp_path / "tfds"


def test_from_archives_to_a_pool_without_tensorflow(tmp_path):
    environment = {"TFDS_DATA_DIR": str(tmp_path / "tfds"), "PATH": "", "HOME": str(tmp_path)}
    code = (
        "import sys\n"
        "from gaussiansr_jax.__main__ import main\n"
        f"main(['dataset', 'div2k_hr', {str(div2k(tmp_path))!r}])\n"
        "from gaussiansr_jax.data.sources import find_images\n"
        "from gaussiansr_jax.data.pool import build_pool\n"
        "print(build_pool(find_images('tfds:div2k_hr'), 64, 16).sizes.tolist())\n"
        "print('tensorflow' in sys.modules)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert run.returncode == 0, run.stderr
    *said, sizes, tensorflow = run.stdout.strip().split("\n")
    assert tensorflow == "False"
    assert sorted(map(tuple, eval(sizes))) == [(40, 50), (41, 50), (42, 50)]
    assert "train: 3 images" in said and "validation: 1 image" in said
    assert "1 skipped, because they cannot be decoded" in said
    assert "--config.source=tfds:div2k_hr --config.val_source=tfds:div2k_hr:validation" in said[-1]
    assert "skipped DIV2K_train_HR/0900.png: " in run.stderr and "3 [" not in run.stdout


def test_one_archive_or_an_unpacked_folder(tmp_path, data_dir):
    div2k(tmp_path)
    main(["dataset", "div2k_hr", str(tmp_path / "DIV2K_valid_HR.zip")])
    assert pixels_of("tfds:div2k_hr:validation") == {picture(20).tobytes()}
    with pytest.raises(UserError, match="cannot read the data set tfds:div2k_hr:train"):
        find_images("tfds:div2k_hr")
    with zipfile.ZipFile(tmp_path / "DIV2K_train_HR.zip") as archive:
        archive.extractall(tmp_path / "unpacked")
    main(["dataset", "div2k_hr", str(tmp_path / "unpacked"), "--data-dir", str(tmp_path / "b")])
    assert len(pixels_of(f"tfds:{tmp_path}/b/div2k_hr/1.0.0")) == 3


def test_folders_of_ones_own(tmp_path, data_dir, capsys):
    one, two = tmp_path / "one", write_zip(tmp_path / "two.zip", {"0.png": encoded(picture(1))})
    one.mkdir()
    (one / "0.png").write_bytes(encoded(picture(0)))
    (one / "1.tif").write_bytes(encoded(picture(2), "TIFF"))
    (one / "2.jpg").write_bytes(encoded(picture(3), "JPEG"))
    main(["dataset", "hr_folder", str(one), str(two), "--name", "mine"])
    jpeg = read_rgb(one / "2.jpg").tobytes()
    expected = {*(picture(i).tobytes() for i in range(3)), jpeg}
    assert pixels_of("tfds:hr_folder/mine") == expected
    assert "tfds:hr_folder/mine" in capsys.readouterr().out
    # Files are kept as they are if every reader knows them, and else are PNG.
    stored = [image.open().getvalue() for image in find_images("tfds:hr_folder/mine")]
    assert (one / "2.jpg").read_bytes() in stored
    assert sum(data.startswith(b"\x89PNG") for data in stored) == 3
    pool = build_pool(find_images("tfds:hr_folder/mine:train[:2]"), 64, 16)
    assert len(pool.tiles) == 2


def test_an_existing_data_set_is_replaced_only_by_a_whole_one(tmp_path, data_dir):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "0.png").write_bytes(encoded(picture(0)))
    command = ["dataset", "hr_folder", str(tmp_path / "a")]
    main(command)
    with pytest.raises(UserError, match=r"1.0.0 exists already; pass --overwrite"):
        main(command)
    (tmp_path / "a" / "0.png").write_bytes(b"damaged")
    with pytest.raises(UserError, match="none of the 1 images for train can be decoded"):
        main([*command, "--overwrite"])
    assert pixels_of("tfds:hr_folder/default") == {picture(0).tobytes()}
    (tmp_path / "a" / "0.png").write_bytes(encoded(picture(5)))
    main([*command, "--overwrite"])
    assert pixels_of("tfds:hr_folder/default") == {picture(5).tobytes()}
    assert [path.name for path in (data_dir / "hr_folder" / "default").iterdir()] == ["1.0.0"]


@pytest.fixture
def server(tmp_path, monkeypatch):
    """The official archives' place, on this host, and their checksums."""
    folder = tmp_path / "www"
    folder.mkdir()
    div2k(folder)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    served = http.server.ThreadingHTTPServer(("localhost", 0), handler)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    archives = {}
    for split, name in (("train", "DIV2K_train_HR.zip"), ("validation", "DIV2K_valid_HR.zip")):
        data = (folder / name).read_bytes()
        url = f"http://localhost:{served.server_port}/{name}"
        archives[split] = url, len(data), hashlib.sha256(data).hexdigest()
    monkeypatch.setattr(datasets.Div2kHr, "ARCHIVES", archives)
    yield served, archives
    served.shutdown()
    served.server_close()


def test_the_archives_are_downloaded_and_checked(server, data_dir):
    _, archives = server
    main(["dataset", "div2k_hr"])
    assert pixels_of("tfds:div2k_hr") == {picture(i).tobytes() for i in range(3)}
    url, size, _ = archives["train"]
    archives["train"] = url.replace("localhost", "127.0.0.1"), size, "0" * 64
    with pytest.raises(UserError, match="an archive is not the published one") as error:
        main(["dataset", "div2k_hr", "--overwrite"])
    assert "\n" not in str(error.value)
    assert len(pixels_of("tfds:div2k_hr")) == 3


def test_a_download_that_fails_is_one_sentence(server, data_dir):
    _, archives = server
    url, *facts = archives["train"]
    archives["train"] = url.replace("train_HR", "gone"), *facts
    with pytest.raises(UserError, match="get the archive by other means") as error:
        main(["dataset", "div2k_hr"])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["hr_folder"], "needs the folders or archives"),
        (["hr_folder", "{}/none"], "there is no folder or archive"),
        (["hr_folder", "{}/empty"], "holds no image"),
        (["hr_folder", "{}/cut.zip"], "cannot read .*cut.zip as a ZIP archive"),
        (["hr_folder", "{}/text.zip"], "text.zip holds no image"),
        (["hr_folder", "{}", "--name", "a/b"], "--name is 'a/b'"),
        (["div2k_hr", "{}/none"], "there is no folder or archive"),
        (["div2k_hr", "{}/empty"], "does not hold DIV2K_train_HR.zip or DIV2K_valid_HR.zip"),
        (["hr_folder", "{}/good.zip", "--data-dir", "{}/good.zip"], "good.zip"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, data_dir, arguments, words):
    (tmp_path / "empty").mkdir()
    good = write_zip(tmp_path / "good.zip", {"0.png": encoded(picture(0))})
    (tmp_path / "cut.zip").write_bytes(good.read_bytes()[:-30])
    write_zip(tmp_path / "text.zip", {"0.txt": b"x"})
    with pytest.raises(UserError, match=words) as error:
        main(["dataset", *(argument.format(tmp_path) for argument in arguments)])
    assert "\n" not in str(error.value)
