"""The benchmarks do what they say; their figures are for a device."""

import json
import sys
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny_model
from PIL import Image

import gaussiansr_jax as gsr

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import experiments
import figures
import heads
import questions
import scaling
import speed
import splat_stream
import streaming


@pytest.mark.processes
def test_one_group_in_processes_of_its_own(tmp_path, monkeypatch, capfd):
    monkeypatch.delenv("XLA_FLAGS")
    speed.main(["--tiny", "--only", "scales", "--json", str(tmp_path / "figures.json")])
    found = json.loads((tmp_path / "figures.json").read_text())
    assert found["jax"] == jax.__version__
    assert found["failures"] == []
    assert len(found["rows"]) == len(speed.WEIGHTS) * len(speed.TINY.scales)
    assert all(item["seconds"] > 0 for item in found["rows"])
    printed = capfd.readouterr().out
    assert all(f"| {item['work']} |" in printed for item in found["rows"])


@pytest.mark.processes
def test_a_job_that_fails_is_reported(monkeypatch, capfd):
    monkeypatch.setitem(speed.GROUPS, "scales", (speed.later_scales, [("no-such-head",)]))
    with pytest.raises(SystemExit, match="scales no-such-head: exit status 1"):
        speed.main(["--tiny", "--only", "scales"])


def test_a_recording_replays_what_upscaling_does():
    upscaler = gsr.Upscaler(tiny_model.params(), tiny_model.CONFIG, block=32)
    image = tiny_model.photo(12, 16)
    expected = upscaler.upscale(image, speed.SCALE)
    recording = speed.Recording(upscaler, image)
    blocks = [np.asarray(block)[0] for block in recording.replay()]
    assert len(blocks) == 4
    # On CPUs, threads render the blocks, in any order.
    for top, left in ((0, 0), (0, 32), (32, 0), (32, 32)):
        part = expected[top : top + 32, left : left + 32]
        height, width = part.shape[:2]
        assert any(np.array_equal(block[:height, :width], part) for block in blocks)
    assert recording.flops() > 1e6


@pytest.mark.processes
def test_scaling_over_eight_devices(tmp_path, capsys):
    file = tmp_path / "scaling.json"
    options = ["--scaling", "weak", "--devices", "1", "8", "--json", str(file)]
    scaling.main(["--tiny", "--head", "direct", *options])
    found = json.loads(file.read_text())
    assert 0 < found["gradient_error"] < 1e-5
    assert [row["devices"] for row in found["rows"]] == [1, 8]
    assert [row["batch"] for row in found["rows"]] == [2, 16]
    assert all(row["step_ms"] > 0 for row in found["rows"])
    assert len(capsys.readouterr().out.splitlines()) == 2 + 2 + 2
    assert scaling.powers_of_two(8) == [1, 2, 4, 8] and scaling.powers_of_two(7) == [1, 2, 4]


def test_counted_arithmetic():
    image, kernel = np.zeros((2, 8, 8, 3), np.float32), np.zeros((3, 3, 3, 5), np.float32)
    matrix = np.zeros((4, 4), np.float32)

    def program(image, kernel, matrix):
        convolved = jax.lax.conv_general_dilated(
            image, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        powers = jax.lax.scan(lambda x, _: (x @ matrix, None), matrix, None, length=6)[0]
        least = jax.lax.cond(matrix[0, 0] > 0, lambda x: x, lambda x: x @ x, matrix)
        return convolved, jax.jit(lambda x: x @ x)(powers), least

    convolution, product = 2 * (2 * 6 * 6 * 5) * (3 * 3 * 3), 2 * 4**3
    assert speed.flops(program, image, kernel, matrix) == convolution + 7 * product


@pytest.mark.processes
def test_strips_and_chains_evaluate_the_same_splat():
    stream = splat_stream.Stream("", 2, 3, 3, True)
    grid = splat_stream.Grid("", 2, (6, 5), (8, 10), 2.0, 2, (1, 4))
    once = splat_stream.splat_call(stream, grid._replace(chain=1), True, 1)()
    twice, cut = (splat_stream.splat_call(stream, grid, True, strips)() for strips in grid.strips)
    assert once[1].shape == (2, 3, 8, 10)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5), twice, once)
    joined = np.moveaxis(cut[1], 0, 2).reshape(2, 3, 8, 10)
    np.testing.assert_allclose(joined, once[1], rtol=1e-4, atol=1e-6)
    assert cut[0].value.shape == once[0].value.shape == (2, 6, 5, 2, 3)
    assert np.abs(cut[0].value).max() > 0


def test_a_finished_experiment_is_a_line_of_the_table(tmp_path):
    tiny_model.save(tmp_path / experiments.WEIGHTS)
    scores = {f"val_psnr_x{s}": 20.0 + s for s in experiments.SCALES} | {"val_psnr_mean": 25.0}
    lines = [{"samples_per_s": r} for r in (0.0, 4000.0, 8000.0)] + [scores]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    count = sum(leaf.size for leaf in jax.tree.leaves(tiny_model.params()))
    psnr = "22.000 | 23.000 | 24.000 | 26.000 | 28.000 | 32.000 | 50.000"
    assert experiments.row("a name", tmp_path, 16) == f"| a name | {psnr} | {count:,} | 4.00 |"


@pytest.mark.processes
def test_the_table_of_heads(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(heads, "PHOTO", (24, 32))
    Image.fromarray(tiny_model.photo(24, 36)).save(tmp_path / "photo.png")
    weights = tmp_path / "tiny.safetensors"
    tiny_model.save(weights)
    names = [str(weights), f"{weights}+"]  # the latter with self-ensemble
    heads.main(["--data", str(tmp_path), "--weights", *names, "--scales", "2", "3"])
    rows = [row.split(" | ") for row in capsys.readouterr().out.splitlines()[-3:]]
    assert [row[0] for row in rows] == ["| bicubic", "| tiny.safetensors", "| tiny.safetensors+"]
    assert all(10 < float(value) < 60 for row in rows for value in row[1:3])
    assert len({tuple(row[1:3]) for row in rows}) == 3
    ours = rows[1]
    assert int(ours[3].replace(",", "")) > 100 and "s |" in ours[4]


def test_table():
    rows = [
        {"official": "device", "variant": "shipped", "seconds": 7.4, "memory": 26.8e9},
        {"official": "device", "variant": "best", "seconds": 0.25, "memory": None},
        {"work": "an image", "seconds": 0.02, "floor": 0.004, "official": "device", "memory": 2e9},
        {"work": "a splat", "seconds": None, "floor": 2e-5, "note": "out of memory"},
    ]
    lines = figures.table(rows).splitlines()[2:]
    assert lines == [
        "| an image | 7.40 s | 250 ms | 20.0 ms | 370 | 12.5 | 4.00 ms | 5 "
        "| 26.80 GB, –, 2.00 GB |  |",
        "| a splat | – | – | – | – | – | 20.0 µs | – | – | out of memory |",
    ]


def test_a_smaller_bank_is_the_same_model_with_fewer_choices():
    upscaler = gsr.Upscaler(tiny_model.params(), tiny_model.CONFIG)
    photo = tiny_model.photo(24, 24)
    weights = questions.class_weights(upscaler, [photo], 2)
    kept = np.array([1, 4, 7])
    smaller = questions.class_weights(questions.with_bank(upscaler, kept), [photo], 2)
    assert weights.shape == (144, 9)
    expected = weights[:, kept] / weights[:, kept].sum(-1, keepdims=True)
    np.testing.assert_allclose(smaller, expected, rtol=1e-4)
    np.testing.assert_allclose(questions.effective(np.array([[0.25] * 4, [1, 0, 0, 0]])), [4, 1])


def test_gaussians_scaled_at_evaluation():
    upscaler = gsr.Upscaler(tiny_model.params(), tiny_model.CONFIG)
    head = upscaler.params["head"]
    wider = questions.scaled(upscaler, "sigma", 2).params["head"]
    np.testing.assert_allclose(wider["sigma_x"], 2 * head["sigma_x"])
    np.testing.assert_allclose(wider["sigma_y"], 2 * head["sigma_y"])
    silent = questions.scaled(upscaler, "opacity", 0).params["head"]
    assert not silent["opacity"].any() and silent["sigma_x"] is head["sigma_x"]


def test_crops_show_the_strongest_gradients():
    image = np.zeros((160, 200, 3), np.uint8)
    image[20:140, 64:184] = tiny_model.photo(120, 120)
    found = questions.crop(image)
    assert found.shape == (questions.SIDE, questions.SIDE, 3)
    assert np.count_nonzero(found) == np.count_nonzero(image)
    assert all(page.shape == found.shape for page in questions.pages())


@pytest.mark.processes
def test_streaming_from_all_places(tmp_path, capsys):
    file = tmp_path / "figures.json"
    streaming.main(["--tiny", "--head", "direct", "--json", str(file)])
    rows = {row["pool"]: row for row in json.loads(file.read_text())}
    assert set(rows) == {"device", "host", "disk"} and rows["device"]["speed"] == 1
    assert all(row["step_ms"] > 0 for row in rows.values())
    assert min(rows["host"]["loading_ms"], rows["disk"]["loading_ms"]) > 0
    assert capsys.readouterr().out.count("| direct | 8 |") == 3
