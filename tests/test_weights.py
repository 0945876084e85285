import contextlib
import copy
import json

import jax
import ml_collections
import numpy as np
import pytest
import safetensors
import safetensors.numpy
import tiny_model
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from gaussiansr_jax import UserError, loading, weights
from gaussiansr_jax.training import workdir


def test_round_trip(tmp_path):
    facts = {"steps": np.int64(7), "data": ("a", "b")}
    config = ml_collections.ConfigDict(tiny_model.CONFIG)
    weights.save(tmp_path / "new" / "w.safetensors", tiny_model.params(), config, facts)
    params, config, facts = weights.load(tmp_path / "new" / "w.safetensors")
    jax.tree.map(np.testing.assert_array_equal, params, tiny_model.params())
    assert config == tiny_model.CONFIG
    assert facts == {"steps": 7, "data": ["a", "b"]}


def test_names_and_metadata_are_the_documented_ones(tmp_path):
    path = tiny_model.save(tmp_path / "w.safetensors")
    with safetensors.safe_open(path, framework="numpy") as file:
        names, metadata = list(file.keys()), file.metadata()
    assert "encoder/block_0/conv_1/kernel" in names
    assert "head/sigma_y" in names
    assert json.loads(metadata["config"]) == tiny_model.CONFIG
    assert metadata["format"] == "gaussiansr-jax"


def test_strided_arrays_are_stored_as_they_read(tmp_path):
    params = copy.deepcopy(tiny_model.params())
    kernel = params["head"]["phase"]["kernel"]
    params["head"]["phase"]["kernel"] = np.asfortranarray(kernel)[::1]
    weights.save(tmp_path / "w.safetensors", params, tiny_model.CONFIG, {})
    loaded, _, _ = weights.load(tmp_path / "w.safetensors")
    np.testing.assert_array_equal(loaded["head"]["phase"]["kernel"], kernel)


def test_weights_of_another_model(tmp_path):
    config = copy.deepcopy(tiny_model.CONFIG)
    config["head"]["hidden"] = 32
    path = tiny_model.save(tmp_path / "w.safetensors", config)
    with pytest.raises(UserError, match=r"another model .*head/coef/bias is \(16,\) instead of"):
        weights.load(path)
    config = {**tiny_model.CONFIG, "head": {"name": "liif"}}
    with pytest.raises(
        UserError, match=r"another model .*head/position/kernel is missing and \d+ more"
    ):
        weights.load(tiny_model.save(path, config))
    with pytest.raises(UserError, match="unknown head"):
        weights.load(tiny_model.save(path, {**tiny_model.CONFIG, "head": {"name": "other"}}))


def test_missing_and_extra_parameters_are_named(tmp_path):
    params = copy.deepcopy(tiny_model.params())
    rho = params["head"].pop("rho")
    with pytest.raises(UserError, match="head/rho is missing"):
        weights.check(params, tiny_model.CONFIG, "here")
    params["head"] |= {"rho": rho, "tau": rho}
    with pytest.raises(UserError, match=r"here holds .* head/tau is not part of it"):
        weights.check(params, tiny_model.CONFIG, "here")


def test_files_that_are_no_weights(tmp_path):
    path = tmp_path / "w.safetensors"
    with pytest.raises(UserError, match="no weights file"):
        weights.load(path)
    path.write_bytes(b"no such thing")
    with pytest.raises(UserError, match="is damaged"):
        weights.load(path)
    whole = tiny_model.save(tmp_path / "whole.safetensors").read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="is damaged"):
        weights.load(path)
    path.write_bytes(safetensors.numpy.save({"a": np.zeros(3)}))
    with pytest.raises(UserError, match="not one of gaussiansr-jax"):
        weights.load(path)
    metadata = {"format": "gaussiansr-jax", "config": "[]", "facts": "{}"}
    path.write_bytes(safetensors.numpy.save({"a": np.zeros(3)}, metadata))
    with pytest.raises(UserError, match="config is not a dict"):
        weights.load(path)


@pytest.mark.parametrize("config", [{}, {"head": tiny_model.CONFIG["head"]}])
def test_a_config_without_an_encoder(tmp_path, config):
    path = tiny_model.save(tmp_path / "w.safetensors", config)
    with pytest.raises(UserError, match="the model config has no encoder; give"):
        loading.load(path)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_in_the_file(tmp_path, dtype):
    small, whole = tmp_path / "small.safetensors", tiny_model.save(tmp_path / "w.safetensors")
    weights.save(small, tiny_model.params(), tiny_model.CONFIG, {}, dtype)
    params, config, _ = weights.load(small)
    assert config == tiny_model.CONFIG
    for ours, exact in zip(
        jax.tree.leaves(params), jax.tree.leaves(tiny_model.params()), strict=True
    ):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, exact, rtol=2**-8, atol=1e-6)
    numbers = sum(x.size for x in jax.tree.leaves(params))
    assert whole.stat().st_size - small.stat().st_size == pytest.approx(2 * numbers, abs=400)


def test_half_precision_that_overflows(tmp_path):
    params = copy.deepcopy(tiny_model.params())
    params["head"]["rho"][0] = 1e5
    path = tmp_path / "w.safetensors"
    with pytest.raises(UserError, match="head/rho has a number too large for float16"):
        weights.save(path, params, tiny_model.CONFIG, {}, "float16")
    with pytest.raises(UserError, match="cannot be stored as 'int8'"):
        weights.save(path, params, tiny_model.CONFIG, {}, "int8")
    assert not path.exists()


@pytest.mark.parametrize("number", [np.nan, -np.inf])
def test_numbers_that_are_not_finite(tmp_path, number):
    params = copy.deepcopy(tiny_model.params())
    params["encoder"]["conv_in"]["bias"][2] = number
    weights.save(tmp_path / "w.safetensors", params, tiny_model.CONFIG, {})
    with pytest.raises(UserError, match=r"1 of the 8 numbers of encoder/conv_in/bias are NaN or"):
        loading.resolve(tmp_path / "w.safetensors")


@pytest.mark.parametrize("number", [np.inf, np.nan, 1e300])
@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_numbers_that_are_not_finite_in_any_type(tmp_path, number, dtype):
    path = tiny_model.save(tmp_path / "w.safetensors")
    with safetensors.safe_open(path, "np") as file:
        tensors = {key: file.get_tensor(key).astype(dtype) for key in file.keys()}  # noqa: SIM118
        with np.errstate(over="ignore"):
            tensors["encoder/conv_in/bias"][2] = number
        safetensors.numpy.save_file(tensors, path, file.metadata())
    with pytest.raises(UserError, match=r"1 of the 8 numbers of encoder/conv_in/bias are NaN or"):
        loading.resolve(path)


def test_a_run_whose_numbers_are_not_finite(tmp_path):
    params = copy.deepcopy(tiny_model.params())
    params["head"]["rho"][0] = np.nan
    workdir.write_config(tmp_path, {"model": tiny_model.CONFIG})
    weights.save(tmp_path / "model.safetensors", params, tiny_model.CONFIG, {})
    with pytest.raises(UserError, match="1 of the 9 numbers of head/rho are NaN or infinite"):
        loading.resolve(tmp_path)


VALUES = [None, -1, 0, 10**12, "x", "", [], {}, True, 2.5, float("nan"), [1], 7, "rdn", "direct"]
SETTINGS = [(part, key) for part in ("encoder", "head") for key in tiny_model.CONFIG[part]]


@settings(max_examples=60)
@given(
    place=st.sampled_from([*SETTINGS, ("head", "new"), "encoder", "head", "dtype", "new"]),
    value=st.sampled_from(VALUES),
)
def test_a_damaged_config_is_a_sentence(tmp_path_factory, place, value):
    config = copy.deepcopy(tiny_model.CONFIG)
    if isinstance(place, str):
        config[place] = value
    else:
        config[place[0]][place[1]] = value
    path = tiny_model.save(tmp_path_factory.mktemp("damaged") / "w.safetensors", config)
    with contextlib.suppress(UserError):
        loading.resolve(path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return tiny_model.save(tmp_path_factory.mktemp("whole") / "w.safetensors").read_bytes()


@settings(max_examples=100)
@given(
    places=st.lists(st.integers(0, 1 << 20), min_size=1, max_size=3),
    bits=st.integers(1, 255),
    in_header=st.booleans(),
)
def test_a_damaged_file_is_a_sentence(tmp_path_factory, whole, places, bits, in_header):
    header = 8 + int.from_bytes(whole[:8], "little")
    data = bytearray(whole)
    for place in places:
        data[place % (header if in_header else len(data))] ^= bits
    path = tmp_path_factory.mktemp("damaged") / "w.safetensors"
    path.write_bytes(data)
    with contextlib.suppress(UserError):
        params, _, _ = loading.resolve(path)
        assert all(np.isfinite(array).all() for array in jax.tree.leaves(params))


def test_a_tensor_that_is_a_group_of_tensors(tmp_path, whole):
    (tmp_path / "a.safetensors").write_bytes(whole)
    arrays, metadata = weights.read_safetensors(tmp_path / "a.safetensors")
    arrays["head"] = np.zeros(3)
    (tmp_path / "b.safetensors").write_bytes(safetensors.numpy.save(arrays, metadata))
    with pytest.raises(UserError, match="head is a tensor and a group"):
        weights.load(tmp_path / "b.safetensors")


def test_each_shipped_model_says_what_it_is_good_for():
    models = loading.shipped()
    assert weights.DEFAULT_WEIGHTS in [model.name for model in models]
    assert all(len(model.about) > 20 for model in models)


def test_resolve(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "SHIPPED", tmp_path / "shipped")
    monkeypatch.chdir(tmp_path)
    file = tiny_model.save(tmp_path / "shipped" / "tiny.safetensors")
    (tmp_path / "no ending").write_bytes(file.read_bytes())
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "model.safetensors").write_bytes(file.read_bytes())
    for name in ("tiny", file, tmp_path / "no ending", "snapshot"):
        assert loading.resolve(name)[1] == tiny_model.CONFIG
    for name in ("huge", "other.safetensors", "../tiny"):
        with pytest.raises(UserError, match=rf"no model named '{name}'; .* models \(tiny\)"):
            loading.resolve(name)
    for name in (None, 3, b"tiny", ["tiny"], ""):
        # With --typecheck, the type is refused before.
        with pytest.raises(
            (UserError, TypeCheckError), match=r"by text or a path|Expected type: str"
        ):
            loading.resolve(name)
    (tmp_path / "run").mkdir()
    with pytest.raises(UserError, match="is not a training run"):
        loading.resolve(tmp_path / "run")
    (tmp_path / "photo.safetensors").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UserError, match=r"photo\.safetensors: not .* starts with .*PNG"):
        loading.resolve(tmp_path / "photo.safetensors")
    (tmp_path / "empty.pth").write_bytes(b"")
    with pytest.raises(UserError, match="is empty; download it again"):
        loading.resolve(tmp_path / "empty.pth")
