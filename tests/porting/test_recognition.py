"""Checkpoints as people have them: every wrapping, any ending, other networks by their names."""

import collections
import contextlib
import copy

import checkpoints
import jax
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from gaussiansr_jax import loading
from gaussiansr_jax.errors import UserError
from gaussiansr_jax.porting import port, recognition, torch_writer

LIIF = checkpoints.liif(checkpoints.edsr("encoder.", 16, 64))


@pytest.fixture(scope="module", params=["liif", "gaussian-splatter"])
def known(request):
    """A network's name, its tensors, and our parameters of them by way of the spec."""
    shapes = LIIF if request.param == "liif" else checkpoints.gaussiansr()
    tensors = checkpoints.tensors(shapes)
    spec = checkpoints.spec(request.param)
    found = recognition.choose({"model": {**spec, "sd": tensors}}, "x")
    assert found.spec["name"] == request.param
    config = recognition.config_of(tensors, "x")
    return request.param, tensors, port.from_state_dict(tensors, config, "x")


def prefixed(tensors, prefix):
    return collections.OrderedDict((prefix + name, value) for name, value in tensors.items())


def other(tensors):
    return {name: np.zeros_like(value) for name, value in tensors.items()}


WRAPPINGS = {
    "raw.pth": lambda t: t,
    "any name at all": lambda t: {"state_dict": t, "epoch": 3},
    "model_best.pth.tar": lambda t: {"state_dict": prefixed(t, "module."), "optimizer": {"a": t}},
    "params.pth": lambda t: {"params": t},
    "ema.pth": lambda t: {"params": other(t), "params_ema": t},
    "compiled.pt": lambda t: {"model": prefixed(t, "_orig_mod.")},
    "both.pt": lambda t: {"model_state_dict": prefixed(t, "module._orig_mod.")},
    "lightning.ckpt": lambda t: {
        "state_dict": {**prefixed(t, "model."), "loss.vgg.0.weight": np.zeros((2, 3, 3, 3))},
        "optimizer_states": [{"state": {0: {"exp_avg": np.zeros(3)}}}],
        "pytorch-lightning_version": "2.0",
    },
    "two.ckpt": lambda t: {
        "state_dict": {**prefixed(other(t), "net."), **prefixed(t, "ema_model.module.")}
    },
    "pytorch_model.bin": lambda t: t,
}


@pytest.mark.parametrize("name", [*WRAPPINGS, "model.safetensors", "state.weights"])
def test_every_wrapping(known, tmp_path, name):
    network, tensors, expected = known
    path = tmp_path / name
    if name in WRAPPINGS:
        torch_writer.write(path, WRAPPINGS[name](tensors))
    else:
        path.write_bytes(safetensors.numpy.save(prefixed(tensors, "module."), {"format": "pt"}))
    params, config, facts = loading.resolve(path)
    jax.tree.map(np.testing.assert_array_equal, params, expected)
    head = {"liif": "liif", "gaussian-splatter": "gaussiansr"}[network]
    assert config["head"]["name"] == head and config["encoder"] == {"name": "edsr-baseline"}
    assert facts["ported_from"] == name and "guessed" in facts["config"]


def test_the_spec_says_more_than_names(tmp_path):
    spec = checkpoints.spec("gaussian-splatter", kernel_size=7)
    tensors = checkpoints.tensors(checkpoints.gaussiansr())
    torch_writer.write(tmp_path / "a.bin", {"model": {**spec, "sd": tensors}})
    _, config, facts = loading.resolve(tmp_path / "a.bin")
    assert config["head"]["stamp"] == 7 and facts["config"] == "stored in the file"


def zeros(*names):
    return {name: np.zeros((2, 2), np.float32) for name in names}


@pytest.mark.parametrize(
    ("tensors", "network"),
    [
        (checkpoints.tensors(checkpoints.edsr("", 2, 8)), "EDSR"),
        (zeros("head.0.weight", "body.0.body.0.body.3.conv_du.0.weight"), "RCAN"),
        (zeros("conv_first.weight", "body.0.rdb1.conv1.weight"), "ESRGAN"),
        (zeros("model.0.weight", "model.1.sub.0.RDB1.conv1.0.weight"), "ESRGAN"),
        (zeros("conv_first.weight", "RRDB_trunk.0.RDB1.conv1.weight"), "ESRGAN"),
        (zeros(*(f"body.{i}.weight" for i in range(5))), "Real-ESRGAN's small network"),
        (
            zeros("layers.0.residual_group.blocks.0.attn.relative_position_bias_table"),
            "SwinIR",
        ),
        (zeros("layers.0.residual_group.blocks.0.conv_block.cab.0.weight"), "HAT"),
        (zeros("imnet.layers.0.weight", "coef.weight", "freq.weight", "phase.weight"), "LTE"),
        (zeros("imnet_q.layers.0.weight", "imnet_k.layers.0.weight"), "CiaoSR"),
        (checkpoints.tensors(checkpoints.rdn("", 1, 1, 4, 4)), "RDN"),
    ],
)
def test_other_networks_are_named(tmp_path, tensors, network):
    for wrapped in (tensors, {"params": prefixed(tensors, "module.")}):
        torch_writer.write(tmp_path / "a.pth", wrapped)
        with pytest.raises(UserError, match=rf"look like the weights of {network}.*not supported"):
            loading.resolve(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (checkpoints.liif(checkpoints.edsr("encoder.", 3, 16), 16), "EDSR of 3 blocks of 16 chan"),
        (
            checkpoints.edsr("encoder.", 16, 64) | checkpoints.mlp("imnet", 66, 256),
            r"66 inputs instead of 580: .*feat_unfold",
        ),
        (
            {"encoder.layers.0.residual_group.blocks.0.attn.x": (1,)}
            | checkpoints.mlp("imnet", 580, 256),
            "encoder that looks like SwinIR",
        ),
        ({k: v for k, v in LIIF.items() if k != "imnet.layers.2.bias"}, "imnet.layers.2.bias is m"),
        (LIIF | {"extra": (3,)}, "extra is not part of the model"),
    ],
)
def test_other_settings(tmp_path, tensors, message):
    torch_writer.write(tmp_path / "a.pth", checkpoints.tensors(tensors))
    with pytest.raises(UserError, match=message):
        loading.resolve(tmp_path / "a.pth")


@pytest.mark.parametrize("value", [[1], {}, {"epoch": 3}, {"optimizer": {"a": np.zeros(2)}}])
def test_no_weights_and_advice_that_leads_out(tmp_path, value):
    torch_writer.write(tmp_path / "a.pth", value)
    with pytest.raises(UserError, match=r"no weights in it.*torch\.save\(model\.state_dict\(\)"):
        loading.resolve(tmp_path / "a.pth")


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_numbers_that_are_not_finite(tmp_path, number):
    tensors = checkpoints.tensors(LIIF)
    tensors["imnet.layers.4.weight"][3, 5] = number
    torch_writer.write(tmp_path / "a.pth", tensors)
    with pytest.raises(UserError, match=r"1 of the 65536 numbers of imnet\.layers\.4\.weight"):
        loading.resolve(tmp_path / "a.pth")


ODD = st.sampled_from(
    [None, 1, -1.5, "x", "", [], {}, (), [1], {"name": []}, np.zeros(3), {"sd": 1}]
)


@settings(max_examples=150)
@given(data=st.data(), network=st.sampled_from(["liif", "gaussian-splatter"]), odd=ODD)
def test_odd_values_anywhere_are_a_sentence(tmp_path_factory, data, network, odd):
    shapes = {"encoder.head.0.weight": (1,), "imnet.layers.0.weight": (1,), "coef.weight": (2, 2)}
    spec, odd = copy.deepcopy((checkpoints.spec(network), odd))
    value = {"model": {**spec, "sd": checkpoints.tensors(shapes)}, "epoch": 1}
    place = value
    for _ in range(data.draw(st.integers(0, 3))):
        inner = [v for v in place.values() if isinstance(v, dict)]
        place = data.draw(st.sampled_from(inner)) if inner else place
    place[data.draw(st.sampled_from([*place, "new"]))] = odd
    path = tmp_path_factory.mktemp("odd") / "a.pth"
    torch_writer.write(path, value)
    with contextlib.suppress(UserError):
        loading.resolve(path)
    with contextlib.suppress(UserError):
        torch_writer.write(path, value["model"])
        loading.resolve(path)
