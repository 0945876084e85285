"""`verify` on fixtures that the plain networks made, and on the official ones where they are."""

import argparse
import json

import checkpoints
import numpy as np
import numpy_networks
import pytest

from gaussiansr_jax import weights
from gaussiansr_jax.commands import verify as command
from gaussiansr_jax.errors import UserError
from gaussiansr_jax.porting import port, torch_writer, verify


@pytest.fixture(scope="module")
def fixtures(tmp_path_factory):
    """A folder as the official reference folder is, of the plain networks in numpy."""
    folder = tmp_path_factory.mktemp("fixtures")
    tensors = checkpoints.tensors(checkpoints.gaussiansr())
    spec = checkpoints.spec("gaussian-splatter")
    torch_writer.write(folder / "a.pth", {"model": {**spec, "sd": tensors}, "epoch": 1})
    rng = np.random.default_rng(0)
    for name, scale, noise in (
        ("expect", 2.0, None),
        ("noise", 1.7, rng.gumbel(size=(1, 8, 6, 100))),
    ):
        lr = rng.uniform(-1, 1, (1, 3, 8, 6)).astype(np.float32)
        features, hr_features, out = numpy_networks.gaussiansr(lr, tensors, scale, noise)
        coords, cell = numpy_networks.grid(hr_features.shape[2:])
        case = {"lr": lr, "coord": coords[None], "cell": np.broadcast_to(cell, coords[None].shape)}
        case |= {"features": features, "hr_features": hr_features, "out": out[None]}
        case |= {} if noise is None else {"gumbel": noise.astype(np.float32)}
        np.savez(folder / f"{name}.npz", scale=np.float32(scale), **case)
    return folder


def run(*arguments):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    command.main(parser.parse_args(list(map(str, arguments))))


def test_the_plain_networks_agree(fixtures, capsys):
    results = verify.verify(fixtures)
    assert set(results) == {"expect.npz", "noise.npz"}
    for differences in results.values():
        assert set(differences) == {"features", "hr_features", "out"}
        assert max(d.relative for d in differences.values()) < 2e-5
    run(fixtures, "--weights", fixtures / "a.pth")
    assert capsys.readouterr().out.count("e-0") == 12


def test_a_difference_is_an_error(fixtures, tmp_path, capsys):
    case = dict(np.load(fixtures / "expect.npz"))
    case["out"] = case["out"] + 0.001
    np.savez(tmp_path / "b.npz", **case)
    with pytest.raises(UserError, match=r"more than 0\.0001 relative difference in out of b\.npz$"):
        run(tmp_path, "--weights", fixtures / "a.pth")
    case["out"] = case["out"] * np.nan
    np.savez(tmp_path / "b.npz", **case)
    with pytest.raises(UserError, match=r"out of b\.npz$"):
        run(tmp_path, "--weights", fixtures / "a.pth")
    assert "b.npz" in capsys.readouterr().out


def test_bad_fixtures(fixtures, tmp_path):
    with pytest.raises(UserError, match=r"no \.npz files"):
        verify.verify(tmp_path)
    (tmp_path / "b.npz").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"0 \.pth files there; name one"):
        verify.verify(tmp_path)
    with pytest.raises(UserError, match=r"cannot be read as an \.npz"):
        verify.verify(tmp_path, fixtures / "a.pth")
    np.savez(tmp_path / "b.npz", lr=np.zeros((1, 3, 4, 4), np.float32))
    with pytest.raises(UserError, match="the array 'scale' is missing"):
        verify.verify(tmp_path, fixtures / "a.pth")
    (tmp_path / "manifest.json").write_text(json.dumps([{"file": "b.npz", "selection": "best"}]))
    with pytest.raises(UserError, match="unknown selection 'best'"):
        verify.verify(tmp_path, fixtures / "a.pth")
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="not a list of entries"):
        verify.verify(tmp_path, fixtures / "a.pth")


def test_the_official_fixtures(shared):
    results = verify.verify(shared / "parity" / "gaussiansr-official")
    assert len(results) == 7
    for name, differences in results.items():
        for quantity, difference in differences.items():
            assert difference.relative < 2e-5, (name, quantity, difference)


def test_the_official_liif_file(shared, tmp_path):
    source = shared / "weights" / "edsr-baseline-liif.pth"
    weights.save(tmp_path / "liif.safetensors", *port.load(source))
    params, config, facts = weights.load(tmp_path / "liif.safetensors")
    assert config == {"encoder": {"name": "edsr-baseline"}, "head": {"name": "liif"}}
    assert facts["epoch"] == 1000
    assert sum(x.size for x in _leaves(params)) == 1_567_299


def _leaves(tree):
    return [x for v in tree.values() for x in (_leaves(v) if isinstance(v, dict) else [v])]
