"""`upscale` says which shipped model it uses."""

from gaussiansr_jax import loading
from gaussiansr_jax.commands import upscale


def test_the_model_and_the_others_are_named(capsys):
    first, *others = loading.shipped()
    upscale.say_model(first.name)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"model: {first.name}: {first.about}"
    assert lines[1:] == [f"  --weights {other.name}: {other.about}" for other in others]
    assert others


def test_of_other_weights_nothing_is_said(capsys):
    upscale.say_model("mine.safetensors")
    assert capsys.readouterr().err == ""
