"""The training step, and many of them in one call over all devices of all hosts."""

from collections.abc import Callable
from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Key
from ml_collections import ConfigDict

from gaussiansr_jax.data.crops import NOISE, SAMPLE, sample_keys
from gaussiansr_jax.data.sampling import Sample, Windows, make_batch
from gaussiansr_jax.data.settings import SampleSettings
from gaussiansr_jax.models import SuperResolver
from gaussiansr_jax.training.optimizer import build_schedule, ema_decay, temperature
from gaussiansr_jax.training.state import AXIS, Layout, TrainState

Metrics = dict[str, Float[Array, ""]]
Step = Callable[[TrainState, Windows], tuple[TrainState, Metrics]]


def sample_loss(
    model: SuperResolver,
    patch: int,
    params: Any,
    temperature: Array,
    sample: Sample,
    key: Key[Array, ""],
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """L1 loss of one sample in the official code's domain, (v - 0.5) / 0.5, and its MSE in [0, 1].

    One sample at a time, under `vmap`: its noise must depend on its own key alone, not on which
    samples share its device.
    """

    def predict(module: SuperResolver, sample: Sample) -> Float[Array, "1 Q Q 3"]:
        field = module.encode(sample.lr, train=True, temperature=temperature)
        return module.render(field, sample.ys, sample.xs, sample.cell, patch)

    one = jax.tree.map(lambda x: x[None], sample)
    variables = {"params": params}
    prediction = model.apply(variables, one, rngs={"gumbel": key}, method=predict)
    chex.assert_equal_shape([prediction, one.target])  # broadcasting would be a wrong loss
    error = prediction - one.target
    return 2 * jnp.mean(jnp.abs(error)), jnp.mean(error**2)


def make_gradient(
    model: SuperResolver,
    layout: Layout,
    settings: SampleSettings,
    config: ConfigDict,
    devices: int,
) -> Callable[[TrainState, Windows], tuple[Float[Array, "P"], Metrics]]:
    """The gradient of the mean loss of a global batch, inside a mapped axis of `devices`.

    Returns:
      (state, windows) -> gradient [P], equal on all devices, and the metrics "loss" and "psnr".
    """
    share = settings.batch_size // devices

    def gradient(state: TrainState, windows: Windows) -> tuple[Float[Array, "P"], Metrics]:
        indices = windows.device * share + jnp.arange(share)
        keys, noise_keys = (
            sample_keys(settings.seed, state.step, indices, use) for use in (SAMPLE, NOISE)
        )
        samples = make_batch(windows, keys, state.step, settings)
        gumbel_temperature = temperature(state.step, config)

        def loss(vector: Float[Array, "P"]) -> tuple[Float[Array, ""], Float[Array, ""]]:
            params = layout.unravel(vector)
            one = partial(sample_loss, model, settings.query_patch, params, gumbel_temperature)
            losses, mse = jax.vmap(one)(samples, noise_keys)
            return jnp.mean(losses), jnp.mean(-10 * jnp.log10(mse))

        (value, psnr), grads = jax.value_and_grad(loss, has_aux=True)(state.params)
        # One all-reduce of everything.
        return jax.lax.pmean((grads, {"loss": value, "psnr": psnr}), AXIS)

    return gradient


def make_step(
    model: SuperResolver,
    layout: Layout,
    optimizer: optax.GradientTransformation,
    settings: SampleSettings,
    config: ConfigDict,
    devices: int,
) -> Step:
    """One step of training, inside a mapped axis of `devices`.

    Returns:
      (state, windows) -> state after the step, and its metrics, float32: the loss, the mean PSNR of
      the batch, the gradient's norm, the learning rate.
    """
    gradient = make_gradient(model, layout, settings, config, devices)
    schedule = build_schedule(config)

    def step(state: TrainState, windows: Windows) -> tuple[TrainState, Metrics]:
        grads, metrics = gradient(state, windows)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        decay = ema_decay(state.step, config.ema_decay)
        metrics |= {
            "grad_norm": optax.global_norm(grads),
            "learning_rate": jnp.asarray(schedule(state.step), jnp.float32),
        }
        ema = decay * state.ema + (1 - decay) * params
        return TrainState(state.step + 1, params, ema, opt_state), metrics

    return step


class Dispatcher:
    """Runs steps on all local devices (and those of all hosts), many in one call."""

    def __init__(self, step: Step, devices: list[jax.Device]):
        self._step = step
        self._devices = devices
        # They stay on the devices, so that they are not sent with each call.
        sharding = NamedSharding(Mesh(np.array(devices), (AXIS,)), PartitionSpec(AXIS))
        self._asked = tuple(
            jax.device_put(np.full(len(devices), asked, np.float32), sharding) for asked in (0, 1)
        )
        self._compiled = {}

    def __call__(
        self, state: TrainState, windows: Windows, steps: int, stop: bool = False
    ) -> tuple[TrainState, Metrics]:
        """Runs `steps` steps; the given state's memory is used for the result.

        Args:
          state: on all devices; its memory is given away.
          windows: of these steps, from `feeding`, with a leading axis of devices.
          steps: how many.
          stop: whether this process was asked to stop.

        Returns:
          the state, and the metrics of each step, [steps]; "stop" among them is above 0 if any
          process was asked to stop, so that all know at the same step.
        """
        if steps not in self._compiled:
            self._compiled[steps] = self._map(steps)
        return self._compiled[steps](state, windows, self._asked[stop])

    def _map(self, steps: int) -> Callable:
        def run(state: TrainState, windows: Windows, asked: Array) -> tuple[TrainState, Metrics]:
            stop = jnp.broadcast_to(jax.lax.psum(asked, AXIS), (steps,))
            if steps == 1:
                # Not inside a scan, where convolutions are slow on CPUs.
                state, metrics = self._step(state, windows)
                metrics = jax.tree.map(lambda x: x[None], metrics)
            else:
                once = lambda state, _: self._step(state, windows)  # noqa: E731
                state, metrics = jax.lax.scan(once, state, None, length=steps)
            return state, metrics | {"stop": stop}

        # The one place that knows how steps are mapped over devices.
        devices = self._devices if jax.process_count() == 1 else None
        return jax.pmap(
            run,
            axis_name=AXIS,
            in_axes=(None, 0, 0),
            out_axes=None,
            donate_argnums=0,
            devices=devices,
        )
