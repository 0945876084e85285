"""The tables: every tensor accounted for, every layer equal to the official one, there and back."""

import argparse

import checkpoints
import flax.traverse_util
import jax.numpy as jnp
import numpy as np
import numpy_networks
import pytest

from gaussiansr_jax import loading, models, weights
from gaussiansr_jax.commands import port as command
from gaussiansr_jax.errors import UserError
from gaussiansr_jax.porting import architectures, port, torch_file, torch_writer

SMALL_EDSR = {"name": "edsr-baseline", "blocks": 3, "channels": 16}
SMALL_RDN = {"name": "rdn", "blocks": 2, "layers": 3, "channels": 6, "growth": 4}
OFFICIAL = {"name": "gaussiansr", "splatting": "official", "kernels": 9, "hidden": 16}
SMALL = {
    "gaussiansr": (
        {"encoder": SMALL_EDSR, "head": OFFICIAL},
        checkpoints.gaussiansr(blocks=3, channels=16, kernels=9, hidden=16),
    ),
    "gaussiansr-large": (
        {
            "encoder": {"name": "edsr-large", "blocks": 3, "channels": 24},
            "head": OFFICIAL,
        },
        checkpoints.gaussiansr(blocks=3, channels=24, kernels=9, hidden=16),
    ),
    "liif": (
        {"encoder": SMALL_EDSR, "head": {"name": "liif", "hidden": 12}},
        checkpoints.liif(checkpoints.edsr("encoder.", 3, 16), 16, 12),
    ),
    "liif-rdn": (
        {"encoder": SMALL_RDN, "head": {"name": "liif", "hidden": 12}},
        checkpoints.liif(checkpoints.rdn("encoder.", 2, 3, 6, 4), 6, 12),
    ),
}


@pytest.mark.parametrize("name", SMALL)
def test_there_and_back_is_the_identity(name):
    config, shapes = SMALL[name]
    tensors = checkpoints.tensors(shapes)
    params = port.from_state_dict(tensors, config, "x.pth")
    weights.check(params, config, "ported")
    back = port.to_state_dict(params, config)
    assert back.keys() == tensors.keys()
    for key, value in tensors.items():
        np.testing.assert_array_equal(back[key], value, err_msg=key)


def captured(config, tensors, lr):
    """What every module of the encoder gives, by its name."""
    params = port.from_state_dict(tensors, config, "x.pth")
    model = models.build(config)
    outputs, state = model.apply(
        {"params": params},
        jnp.asarray(lr.transpose(0, 2, 3, 1)),
        method=lambda model, lr: model.encoder(lr),
        capture_intermediates=True,
        mutable=["intermediates"],
    )
    flat = flax.traverse_util.flatten_dict(state["intermediates"]["encoder"], sep="/")
    found = {k.removesuffix("/__call__"): np.asarray(v[0]) for k, v in flat.items()}
    return {k: v.transpose(0, 3, 1, 2) for k, v in found.items()}, outputs.transpose(0, 3, 1, 2)


def test_edsr_layer_by_layer():
    config, shapes = SMALL["gaussiansr-large"]
    tensors = checkpoints.tensors(shapes)
    lr = np.random.default_rng(1).uniform(-1, 1, (2, 3, 6, 5)).astype(np.float32)
    first, *blocks, last = numpy_networks.edsr(lr, tensors, "encoder.edsr.", 3, 0.1)
    found, output = captured(config, tensors, lr)
    np.testing.assert_allclose(found["conv_in"], first, atol=2e-6)
    for i, block in enumerate(blocks):
        np.testing.assert_allclose(found[f"block_{i}"], block, atol=2e-6)
    np.testing.assert_allclose(output, last, atol=5e-6)


def test_rdn_layer_by_layer():
    config, shapes = SMALL["liif-rdn"]
    tensors = checkpoints.tensors(shapes)
    lr = np.random.default_rng(1).uniform(-1, 1, (2, 3, 6, 5)).astype(np.float32)
    first, second, *blocks, last = numpy_networks.rdn(lr, tensors, "encoder.", 2, 3)
    found, output = captured(config, tensors, lr)
    np.testing.assert_allclose(found["conv_in"], first, atol=2e-6)
    np.testing.assert_allclose(found["conv_in2"], second, atol=2e-6)
    for i, block in enumerate(blocks):
        np.testing.assert_allclose(found[f"block_{i}"], block, atol=2e-6)
    np.testing.assert_allclose(output, last, atol=5e-6)


def test_rdn_of_a_padded_image():
    model = models.build(SMALL["liif-rdn"][0])
    params = port.from_state_dict(
        checkpoints.tensors(SMALL["liif-rdn"][1]), SMALL["liif-rdn"][0], "x.pth"
    )
    lr = np.random.default_rng(2).uniform(0, 1, (1, 6, 5, 3)).astype(np.float32)
    padded = np.pad(lr, ((0, 0), (0, 3), (0, 2), (0, 0)), constant_values=9)
    whole = model.apply({"params": params}, jnp.asarray(lr), method="encode").hidden
    size = jnp.array([[6, 5]], jnp.int32)
    part = model.apply({"params": params}, jnp.asarray(padded), size, method="encode").hidden
    np.testing.assert_allclose(part[:, :6, :5], whole, atol=1e-6)


def test_rdn_radius():
    assert (
        models.build({"encoder": {"name": "rdn"}, "head": {"name": "liif"}}).encoder.radius == 131
    )


def test_liif_output():
    config, shapes = SMALL["liif-rdn"]
    tensors = checkpoints.tensors(shapes)
    lr = np.random.default_rng(3).uniform(-1, 1, (1, 3, 6, 5)).astype(np.float32)
    coords, cell = numpy_networks.grid((13, 11))
    _, reference = numpy_networks.liif(
        lr, tensors, coords, cell, lambda x, t: numpy_networks.rdn(x, t, "encoder.", 2, 3)
    )
    params = port.from_state_dict(tensors, config, "x.pth")
    positions = jnp.asarray(((coords + 1) * np.array([6, 5], np.float32) - 1) / 2)
    cells = jnp.asarray(cell * np.array([6, 5], np.float32) / 2)
    model = models.build(config)
    field = model.apply(
        {"params": params}, jnp.asarray(lr.transpose(0, 2, 3, 1)) / 2 + 0.5, method="encode"
    )
    out = model.apply({"params": params}, field, positions[None], cells[None], method="query")
    np.testing.assert_allclose(2 * out[0] - 1, reference, atol=2e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("coef.bias"), r"coef\.bias is missing"),
        (lambda t: t.update(extra=np.zeros(3)), "extra is not part of the model"),
        (lambda t: t.update(rho=np.zeros((9,))), r"rho has the shape \(9,\) instead of \(9, 1\)"),
        (lambda t: t.update(rho=np.zeros((9, 1), np.int64)), "rho has the type int64"),
    ],
)
def test_every_tensor_is_accounted_for(change, message):
    config, shapes = SMALL["gaussiansr"]
    tensors = checkpoints.tensors(shapes)
    change(tensors)
    with pytest.raises(UserError, match=message):
        port.from_state_dict(tensors, config, "x.pth")


def test_several_differences_are_counted():
    config, shapes = SMALL["liif"]
    tensors = checkpoints.tensors(shapes)
    del tensors["imnet.layers.0.bias"], tensors["imnet.layers.2.bias"]
    with pytest.raises(UserError, match=r"x\.pth: .*1 more difference"):
        port.from_state_dict(tensors, config, "x.pth")


@pytest.fixture(scope="module")
def gaussiansr_file(tmp_path_factory):
    """A checkpoint of the full size, as the official training writes it."""
    path = tmp_path_factory.mktemp("official") / "epoch-last.pth"
    write(
        path, checkpoints.spec("gaussian-splatter"), checkpoints.tensors(checkpoints.gaussiansr())
    )
    return path


def write(path, spec, tensors, **more):
    torch_writer.write(path, {"model": {**spec, "sd": tensors}, "epoch": 7, **more})


def tensors_of(path):
    return {k: v.read() for k, v in torch_file.read(path)["model"]["sd"].items()}


def run(*arguments):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    command.main(parser.parse_args(list(map(str, arguments))))


def test_the_command_there_and_back(gaussiansr_file, tmp_path, capsys):
    ours, back = tmp_path / "ours.safetensors", tmp_path / "back.pth"
    run(gaussiansr_file, ours)
    params, config, facts = weights.load(ours)
    assert config["head"] == {"name": "gaussiansr", "splatting": "official", "stamp": 5}
    assert facts["epoch"] == 7 and facts["ported_from"] == "epoch-last.pth"
    tensors = tensors_of(gaussiansr_file)
    np.testing.assert_array_equal(params["head"]["sigma_y"], tensors["sigma_x"])
    run(ours, back, "--to-pytorch")
    written = torch_file.read(back)["model"]
    assert {k: written[k] for k in ("name", "args")} == checkpoints.spec("gaussian-splatter")
    for name, value in tensors_of(back).items():
        np.testing.assert_array_equal(value, tensors.pop(name))
    assert not tensors
    assert "gaussiansr on edsr-baseline" in capsys.readouterr().out


def test_the_names_of_the_published_file(gaussiansr_file, tmp_path):
    tensors = tensors_of(gaussiansr_file)
    renamed = {f"module.{k.replace('dec.', 'fc.')}": v for k, v in tensors.items()}
    spec = checkpoints.spec("gaussian-splatter")
    spec["args"]["fc_spec"] = spec["args"].pop("dec_spec")
    write(tmp_path / "a.pth", spec, renamed)
    params, config, _ = port.load(tmp_path / "a.pth")
    expected, expected_config, _ = loading.resolve(gaussiansr_file)
    assert config == expected_config
    np.testing.assert_array_equal(
        params["head"]["decoder"]["dense_4"]["kernel"],
        expected["head"]["decoder"]["dense_4"]["kernel"],
    )


def test_a_tensor_under_two_names(gaussiansr_file, tmp_path):
    tensors = tensors_of(gaussiansr_file)
    tensors["fc.layers.0.bias"] = tensors["dec.layers.0.bias"]
    write(tmp_path / "a.pth", checkpoints.spec("gaussian-splatter"), tensors)
    with pytest.raises(UserError, match=r"dec\.layers\.0\.bias is there twice"):
        port.load(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (checkpoints.spec("metasr"), "a checkpoint of the model 'metasr'"),
        (checkpoints.spec("liif", encoder="rcan"), "'liif' with the encoder 'rcan'"),
        (checkpoints.spec("gaussian-splatter", encoder="rdn"), "with the encoder 'rdn'"),
        (checkpoints.spec("liif", local_ensemble=False), "model has local_ensemble=False"),
        (checkpoints.spec("gaussian-splatter", unfold_row=9), "unfold_row=9; only 7"),
        (checkpoints.spec("gaussian-splatter", new=1), "new=1; it is not known"),
        (
            checkpoints.spec("liif", imnet_spec={"name": "mlp", "args": {"hidden_list": [64]}}),
            r"imnet_spec has hidden_list=\[64\]",
        ),
        (checkpoints.spec("liif", imnet_spec=None), "imnet_spec is None"),
    ],
)
def test_other_architectures(tmp_path, spec, message):
    write(tmp_path / "a.pth", spec, {})
    with pytest.raises(UserError, match=message):
        port.load(tmp_path / "a.pth")


def test_a_value_in_place_of_a_tensor(tmp_path):
    spec = {**checkpoints.spec("liif"), "sd": {"x": 3}}
    torch_writer.write(tmp_path / "a.pth", {"model": spec})
    with pytest.raises(UserError, match="x is a int and not a tensor"):
        port.load(tmp_path / "a.pth")


def test_the_encoders_of_the_specs():
    config_of = architectures.config_of
    large = config_of(checkpoints.spec("gaussian-splatter", encoder="edsr-large"), "x")
    assert large["encoder"] == {"name": "edsr-large"}
    for official, ours in (("edsr", "edsr-large"), ("rdn", "rdn")):
        spec = checkpoints.spec("liif", encoder=official)
        config = config_of(spec, "x")
        assert config == {"encoder": {"name": ours}, "head": {"name": "liif"}}
        assert architectures.spec_of(config, "x") == spec


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"encoder": {"name": "edsr-baseline"}, "head": {"name": "gaussiansr"}},
            "no gaussiansr head with splatting='field' on edsr-baseline",
        ),
        ({"encoder": {"name": "edsr-baseline"}, "head": {"name": "direct"}}, "no direct head"),
        ({"encoder": {"name": "rdn"}, "head": {**OFFICIAL, "kernels": 9}}, "kernels=9, hidden=16"),
        (
            {
                "encoder": {"name": "rdn"},
                "head": {"name": "gaussiansr", "splatting": "official"},
            },
            "on rdn",
        ),
    ],
)
def test_what_the_official_code_has_not(config, message):
    with pytest.raises(UserError, match=message):
        architectures.spec_of(config, "x.safetensors")


def test_the_command_checks_the_name_of_its_output(tmp_path):
    with pytest.raises(UserError, match=r"something\.safetensors"):
        run("in.pth", tmp_path / "out.pth")
    with pytest.raises(UserError, match=r"something\.pth"):
        run("in.safetensors", tmp_path / "out.safetensors", "--to-pytorch")
