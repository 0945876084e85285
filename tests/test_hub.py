"""The Hugging Face hub: its own library against a hub on the loopback address."""

import os
import subprocess
import sys

import hub_server
import numpy as np
import pytest
import tiny_model

import gaussiansr_jax as gsr
from gaussiansr_jax import UserError, hub, loading, weights

constants = pytest.importorskip("huggingface_hub.constants")


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A hub, which the library of this process uses with an empty cache."""
    with hub_server.serve() as (server, address):
        monkeypatch.setattr(constants, "ENDPOINT", address)
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield server


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tiny_model.save(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


def test_names():
    assert hub.parse("hf:o/n") == hub.Address("o/n")
    assert hub.parse("hf:o/n@v1") == hub.Address("o/n", revision="v1")
    assert hub.parse("hf:o/n/a/b.pth@refs/pr/1") == hub.Address("o/n", "a/b.pth", "refs/pr/1")
    for wrong in ("hf:", "hf:name", "hf:o/n@", "hf:o/n/"):
        with pytest.raises(UserError, match=r"hf:owner/name\[/file\]\[@revision\]"):
            hub.parse(wrong)


def test_there_and_back(server, file, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    name = gsr.push_to_hub(file, "owner/tiny", license="cc-by-4.0", dtype="float16")
    commit, files = server.find("owner/tiny", "main")
    assert name == f"hf:owner/tiny@{commit}"
    card = files["README.md"].decode()
    assert card.startswith("---\n") and "license: cc-by-4.0\n" in card
    assert 'gsr.load("hf:owner/tiny")' in card

    params, config, facts = loading.resolve("hf:owner/tiny")
    assert config == tiny_model.CONFIG
    assert facts["hub"] == {"repo": "owner/tiny", "file": "model.safetensors", "revision": commit}
    np.testing.assert_allclose(
        params["head"]["coef"]["kernel"],
        tiny_model.params()["head"]["coef"]["kernel"],
        rtol=1e-3,
        atol=1e-4,
    )
    assert gsr.load(name).facts["hub"]["revision"] == commit


def test_a_revision_stays_what_it_was_and_a_card_is_kept(server, file, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    first = loading.push_to_hub(file, "owner/tiny")
    server.commit("owner/tiny", {"README.md": b"by hand"})
    params = {**tiny_model.params()}
    params["encoder"] = {**params["encoder"], "conv_in": dict(params["encoder"]["conv_in"])}
    params["encoder"]["conv_in"]["bias"] = np.full(8, 7, np.float32)
    weights.save(tmp_path / "b.safetensors", params, tiny_model.CONFIG, {})
    second = loading.push_to_hub(tmp_path / "b.safetensors", "owner/tiny")
    assert server.find("owner/tiny", "main")[1]["README.md"] == b"by hand"
    for name, is_new in ((first, False), (second, True), ("hf:owner/tiny", True)):
        bias = loading.resolve(name)[0]["encoder"]["conv_in"]["bias"]
        assert bool((bias == 7).all()) == is_new


def test_other_files(server, file):
    content = file.read_bytes()
    server.commit("owner/one", {"x4/best.safetensors": content, "README.md": b"", "a.py": b""})
    assert loading.resolve("hf:owner/one")[2]["hub"]["file"] == "x4/best.safetensors"
    server.commit("owner/two", {"a.safetensors": content, "b.pth": b"?"})
    with pytest.raises(UserError, match=r"no file model\.safetensors.*has a\.safetensors, b\.pth"):
        loading.resolve("hf:owner/two")
    assert loading.resolve("hf:owner/two/a.safetensors")[1] == tiny_model.CONFIG
    with pytest.raises(UserError, match=r"no file c\.safetensors there"):
        loading.resolve("hf:owner/two/c.safetensors")
    with pytest.raises(UserError, match=r"b\.pth: not a PyTorch checkpoint"):
        loading.resolve("hf:owner/two/b.pth")


def test_what_is_not_there(server, file):
    with pytest.raises(UserError, match="hf:owner/none: the hub has no such repository"):
        loading.resolve("hf:owner/none")
    server.commit("owner/tiny", {"model.safetensors": file.read_bytes()})
    with pytest.raises(UserError, match="owner/tiny has no revision v9"):
        loading.resolve("hf:owner/tiny@v9")
    with pytest.raises(UserError, match="hf auth login"):
        loading.push_to_hub(file, "owner/tiny")
    with pytest.raises(UserError, match="push to as owner/name"):
        loading.push_to_hub(file, "owner/tiny/file")


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"pip install 'gaussiansr-jax\[hub\]'"):
        loading.resolve("hf:owner/tiny")


@pytest.mark.processes
def test_the_command_and_the_offline_cache_in_processes_of_their_own(file, tmp_path):
    with hub_server.serve() as (server, address):
        environment = {
            **os.environ,
            "HF_ENDPOINT": address,
            "HF_HOME": str(tmp_path),
            "HF_TOKEN": "hf_good",
            "JAX_PLATFORMS": "cpu",
        }

        def run(*arguments, **variables):
            command = [sys.executable, "-m", "gaussiansr_jax", *map(str, arguments)]
            return subprocess.run(
                command, env={**environment, **variables}, capture_output=True, text=True
            )

        pushed = run("push", file, "owner/tiny")
        assert pushed.returncode == 0, pushed.stderr
        name = pushed.stdout.strip()
        assert run("port", "hf:owner/tiny", tmp_path / "a.safetensors").returncode == 0
        asked = len(server.requests)
        offline = run("port", "hf:owner/tiny", tmp_path / "b.safetensors", HF_HUB_OFFLINE="1")
        assert offline.returncode == 0, offline.stderr
        assert len(server.requests) == asked
    revision = weights.load(tmp_path / "b.safetensors")[2]["hub"]["revision"]
    assert name == f"hf:owner/tiny@{revision}"
    absent = run("port", "hf:owner/other", tmp_path / "c.safetensors", HF_HUB_OFFLINE="1")
    assert absent.returncode == 1
    assert "hf:owner/other: not in the local cache" in absent.stderr
    assert "Traceback" not in absent.stderr
    # The server is gone: what is in the cache can still be loaded, what is not cannot.
    assert run("port", "hf:owner/tiny", tmp_path / "d.safetensors").returncode == 0
    assert "connection" in run("port", "hf:owner/other", tmp_path / "e.safetensors").stderr
