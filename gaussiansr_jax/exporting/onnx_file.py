"""A model as an ONNX file, by jax2onnx."""

import json
import logging
import os
import warnings
from typing import Any

import jax2onnx
import onnx

from gaussiansr_jax.errors import UserError
from gaussiansr_jax.exporting.whole_scale import enlarger
from gaussiansr_jax.files import atomic_write

# Old enough for the runtimes in common programs, new enough for every operation used.
OPSET = 18
INPUT, OUTPUT = "input", "output"


def write(
    path: str | os.PathLike,
    params: Any,
    config: dict,
    scale: int,
    name: str,
    overwrite: bool = False,
) -> None:
    """Writes an ONNX model: `input` [1, 3, H, W] to `output` [1, 3, scale H, scale W].

    Both are float32 RGB in [0, 1], of any height and width.

    Args:
      path: the file; it holds the weights too.
      params: of the model.
      config: what `models.build` takes.
      scale: a whole number.
      name: of the model, for the file's metadata.
      overwrite: whether an existing file may be replaced.

    Raises:
      UserError: the model cannot be exported at that scale, or the file cannot be written.
    """
    model = build(params, config, scale, name)
    with atomic_write(path, overwrite) as temporary:
        temporary.write_bytes(model.SerializeToString())


def build(params: Any, config: dict, scale: int, name: str) -> onnx.ModelProto:
    """The model that `write` writes."""
    function = enlarger(params, config, scale)
    # It reports shapes that it does not know; they are left out below.
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = jax2onnx.to_onnx(
            function,
            [(1, "H", "W", 3)],
            model_name=name,
            opset=OPSET,
            inputs_as_nchw=[0],
            outputs_as_nchw=[0],
            input_names=[INPUT],
            output_names=[OUTPUT],
        )
    # It records wrong shapes for concatenations of unknown length. Runtimes infer shapes anyway.
    del model.graph.value_info[:]
    used = {input_name for node in model.graph.node for input_name in node.input}
    kept = [each for each in model.graph.initializer if each.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    onnx.helper.set_model_props(
        model, {"scale": str(scale), "name": name, "config": json.dumps(config, sort_keys=True)}
    )
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise UserError(
            f"jax2onnx has made a file of {name} that is not valid ONNX ({error}); use another "
            "version of it, or --format stablehlo"
        ) from error
    return model
