import copy
import json

import jax
import ml_collections
import numpy as np
import pytest
import safetensors.numpy
import tiny_model

from gaussiansr_jax import UserError, loading, weights


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


def test_resolve(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "SHIPPED", tmp_path)
    tiny_model.save(tmp_path / "tiny.safetensors")
    for name in ("tiny", tmp_path / "tiny.safetensors"):
        assert loading.resolve(name)[1] == tiny_model.CONFIG
    with pytest.raises(UserError, match="no weights named 'huge'; shipped are tiny"):
        loading.resolve("huge")
    with pytest.raises(UserError, match=r"no weights file other\.safetensors"):
        loading.resolve("other.safetensors")
    (tmp_path / "run").mkdir()
    with pytest.raises(UserError, match="no folder of a training run"):
        loading.resolve(tmp_path / "run")
    (tmp_path / "a.pth").write_bytes(b"no checkpoint")
    with pytest.raises(UserError, match=r"a\.pth"):
        loading.resolve(tmp_path / "a.pth")
