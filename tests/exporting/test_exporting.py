"""Exported models give the pictures of `upscale`."""

import subprocess
import sys

import jax
import numpy as np
import pytest
import tiny_model
from skimage import data

import gaussiansr_jax as gsr
from gaussiansr_jax import UserError, __main__, loading, weights
from gaussiansr_jax.exporting import stablehlo_file
from gaussiansr_jax.exporting.whole_scale import enlarger

DIRECT = {
    **tiny_model.CONFIG,
    "head": {"name": "direct", "grid": 2, "trunk_channels": 8, "trunk_blocks": 1},
}
CONFIGS = {
    "gaussiansr": tiny_model.CONFIG,
    "footprint": {**tiny_model.CONFIG, "head": {**tiny_model.CONFIG["head"], "footprint": 0.4}},
    "finest": {**tiny_model.CONFIG, "finest_cell": 0.25},
    "direct": DIRECT,
    "bank": {**DIRECT, "head": {**DIRECT["head"], "bank": 5, "opacity": False}},
}
# What float32 is compared with: sums in another order.
CLOSE = 3e-4


def photo(height, width):
    return data.astronaut()[80 : 80 + height, 180 : 180 + width].astype(np.float32) / 255


def upscaled(config, image, scale):
    return gsr.Upscaler(tiny_model.init(config), config).upscale(image, scale)


@pytest.mark.parametrize(
    ("name", "scale"),
    [
        ("gaussiansr", 1),
        ("gaussiansr", 3),
        ("footprint", 2),
        ("finest", 4),
        ("finest", 5),
        ("finest", 7),
        ("direct", 4),
        ("bank", 3),
    ],
)
def test_whole_scales(name, scale):
    config, image = CONFIGS[name], photo(9, 13)
    function = jax.jit(enlarger(tiny_model.init(config), config, scale))
    result = np.asarray(function(image[None]))[0]
    assert result.shape == (9 * scale, 13 * scale, 3)
    np.testing.assert_allclose(result, upscaled(config, image, scale), atol=CLOSE)


class TestONNX:
    @pytest.fixture(scope="class", autouse=True)
    def libraries(self):
        pytest.importorskip("jax2onnx", reason="ONNX files are written by jax2onnx")
        pytest.importorskip("onnxruntime", reason="ONNX files are run by onnxruntime")

    @pytest.fixture(autouse=True)
    def as_outside_tests(self):
        """jax2onnx's own code broadcasts and mixes types as JAX allows by default."""
        with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
            yield

    @staticmethod
    def run(path, image):
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path))
        assert [x.name for x in session.get_inputs()] == ["input"]
        assert [x.name for x in session.get_outputs()] == ["output"]
        (result,) = session.run(None, {"input": image.transpose(2, 0, 1)[None]})
        assert result.dtype == np.float32
        return result[0].transpose(1, 2, 0)

    @pytest.mark.parametrize(("name", "scale"), [("gaussiansr", 3), ("direct", 2)])
    def test_any_size(self, tmp_path, name, scale):
        from gaussiansr_jax.exporting import onnx_file

        config, path = CONFIGS[name], tmp_path / "model.onnx"
        onnx_file.write(path, tiny_model.init(config), config, scale, "tiny")
        for size in ((9, 13), (24, 16), (1, 3)):
            image = photo(*size)
            result = self.run(path, image)
            np.testing.assert_allclose(result, upscaled(config, image, scale), atol=CLOSE)

    def test_a_shipped_model(self, tmp_path):
        path = tmp_path / "model.onnx"
        __main__.main(["export", weights.DEFAULT_WEIGHTS, str(path), "--scale", "2"])
        image = photo(20, 28)
        expected = loading.load(weights.DEFAULT_WEIGHTS, dtype="float32").upscale(image, 2)
        assert np.abs(self.run(path, image) - expected).max() < 1 / 255 / 4

    def test_what_the_file_says(self, tmp_path):
        import onnx

        from gaussiansr_jax.exporting import onnx_file

        model = onnx_file.build(tiny_model.init(DIRECT), DIRECT, 2, "tiny")
        assert {each.key: each.value for each in model.metadata_props}["scale"] == "2"
        shapes = [
            [d.dim_value or d.dim_param for d in each.type.tensor_type.shape.dim]
            for each in (*model.graph.input, *model.graph.output)
        ]
        assert shapes[0] == [1, 3, "H", "W"]
        assert shapes[1][:2] == [1, 3]
        assert {each.domain for each in model.opset_import} <= {"", "ai.onnx"}
        onnx.checker.check_model(model, full_check=True)


WITHOUT_FLAX = """
import sys
for name in ("flax", "gaussiansr_jax"):
    sys.modules[name] = None  # importing it fails
import numpy as np
from jax import export
model = export.deserialize(bytearray(open(sys.argv[1], "rb").read()))
assert model.platforms == ("cpu", "cuda", "tpu"), model.platforms
np.save(sys.argv[3], np.asarray(model.call(np.load(sys.argv[2]))))
"""


@pytest.mark.parametrize(("name", "scale"), [("gaussiansr", 2), ("direct", 3)])
def test_stablehlo_without_flax(tmp_path, name, scale):
    config, path = CONFIGS[name], tmp_path / "model.stablehlo"
    stablehlo_file.write(path, tiny_model.init(config), config, scale)
    images = np.stack([photo(9, 13), photo(9, 13)[::-1]])
    np.save(tmp_path / "in.npy", images)
    files = [str(tmp_path / each) for each in ("model.stablehlo", "in.npy", "out.npy")]
    subprocess.run([sys.executable, "-c", WITHOUT_FLAX, *files], check=True)
    for image, result in zip(images, np.load(tmp_path / "out.npy"), strict=True):
        np.testing.assert_allclose(result, upscaled(config, image, scale), atol=CLOSE)


def test_stablehlo_by_the_command(tmp_path, capsys):
    path = tmp_path / "model.stablehlo"
    tiny = tiny_model.save(tmp_path / "tiny.safetensors")
    __main__.main(["export", str(tiny), str(path), "--scale", "2"])
    assert capsys.readouterr().out.strip() == str(path)
    with pytest.raises(UserError, match="exists already"):
        __main__.main(["export", str(tiny), str(path), "--scale", "2"])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["model.bin", "--scale", "2"], "or say --format"),
        (["model.onnx", "--scale", "2.5"], "one whole scale"),
        (["model.onnx", "--scale", "0"], "one whole scale"),
        (["model.stablehlo", "--scale", "99"], "from 1 to 16"),
    ],
)
def test_bad_arguments(tmp_path, arguments, sentence):
    tiny = tiny_model.save(tmp_path / "tiny.safetensors")
    output, *rest = arguments
    with pytest.raises(UserError, match=sentence):
        __main__.main(["export", str(tiny), str(tmp_path / output), *rest])
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.safetensors"]


@pytest.mark.parametrize(
    "head",
    [{"name": "liif", "hidden": 16}, {**CONFIGS["gaussiansr"]["head"], "splatting": "official"}],
)
def test_heads_that_cannot_be_exported(head):
    config = {**tiny_model.CONFIG, "head": head}
    with pytest.raises(UserError, match="cannot be exported; those with the heads direct"):
        enlarger({}, config, 2)
