"""Every file of configs/ is a config that training accepts."""

from importlib import import_module
from pathlib import Path

import pytest

from gaussiansr_jax.errors import UserError
from gaussiansr_jax.training.config import check_config, default_config

CONFIGS = sorted(p.stem for p in (Path(__file__).resolve().parents[2] / "configs").glob("*.py"))


@pytest.fixture(autouse=True)
def root_on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2]))


@pytest.mark.parametrize("name", CONFIGS)
def test_config(name):
    module = import_module(f"configs.{name}")
    check_config(module.get_config())
    assert f"--config configs/{name}.py" in module.__doc__


@pytest.mark.parametrize("factors", [(), (0.5,), (1.0, float("inf")), ("half",)])
def test_reductions_must_be_factors_from_1_on(factors):
    config = default_config()
    with config.ignore_type():
        config.reductions = factors
    with pytest.raises(UserError, match=r"reductions is .* factors from 1 on"):
        check_config(config)
