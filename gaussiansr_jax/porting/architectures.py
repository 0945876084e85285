"""From an official checkpoint's model spec to our config, and back.

The official code builds a model from {'name': …, 'args': {…}} with further specs inside. Of most
arguments one value can be ported, the official default; any other is an error that names it.
"""

from collections.abc import Mapping
from typing import Any

from gaussiansr_jax.errors import UserError
from gaussiansr_jax.porting import tables
from gaussiansr_jax.porting.inert_pickle import short

ENCODERS = {  # official name -> our name, the arguments that fix the architecture
    "edsr-baseline": ("edsr-baseline", {"n_resblocks": 16, "n_feats": 64, "res_scale": 1}),
    "edsr-large": ("edsr-large", {"n_resblocks": 32, "n_feats": 256, "res_scale": 0.1}),
    "edsr": ("edsr-large", {"n_resblocks": 32, "n_feats": 256, "res_scale": 0.1}),
    "rdn": ("rdn", {"G0": 64, "RDNkSize": 3, "RDNconfig": "B"}),
}

_NEVER_USED = {"scale", "rgb_range"}  # of the encoders, once they have no upsampler
_MLP = {"out_dim": 3, "hidden_list": [256] * 4}
_GAUSSIANSR = {"hidden_dim": 256, "unfold_row": 7, "unfold_column": 7, "num_points": 100}
_LIIF = {"local_ensemble": True, "feat_unfold": True, "cell_decode": True}


def config_of(spec: Mapping[str, Any], source: str) -> dict:
    """Our config of an official model spec.

    Args:
      spec: {'name': …, 'args': …} as in the checkpoint, 'args' with the specs inside.
      source: the file, for messages.

    Raises:
      UserError: another architecture, or an argument that changes it.
    """
    name, args = _parts(spec)
    encoder = _encoder(args.pop("encoder_spec", None), name, source)
    if name == "gaussian-splatter":
        # The weights that the authors published call the decoder "fc".
        decoder = args.pop("fc_spec", None) or args.pop("dec_spec", None)
        _check(decoder, "mlp", {**_MLP, "act": "gelu"}, "dec_spec", source)
        stamp = args.pop("kernel_size", 5)
        _check({"name": name, "args": args}, name, _GAUSSIANSR, "model", source)
        head = {"name": "gaussiansr", "splatting": "official", "stamp": stamp}
    elif name == "liif":
        decoder = args.pop("imnet_spec", None)
        _check(decoder, "mlp", {**_MLP, "act": "relu"}, "imnet_spec", source)
        _check({"name": name, "args": args}, name, _LIIF, "model", source)
        head = {"name": "liif"}
    else:
        raise UserError(
            f"{source}: a checkpoint of the model {short(name)}; "
            "only 'gaussian-splatter' (GaussianSR) and 'liif' can be ported"
        )
    return {"encoder": {"name": encoder}, "head": head}


def _encoder(spec: Any, model: str | None, source: str) -> str:
    name, args = _parts(spec)
    if name not in ENCODERS or (name == "rdn" and model != "liif"):
        raise UserError(
            f"{source}: a checkpoint of {short(model)} with the encoder {short(name)}; "
            "EDSR can be ported, and RDN with LIIF"
        )
    ours, fixed = ENCODERS[name]
    args = {k: v for k, v in args.items() if k not in _NEVER_USED}
    allowed = {**fixed, "no_upsampling": True, "n_class": 100}
    _check({"name": name, "args": args}, name, allowed, "encoder_spec", source)
    return ours


def _parts(spec: Any) -> tuple[str | None, dict[str, Any]]:
    """Name and arguments of a spec, as far as it is one."""
    spec = spec if isinstance(spec, Mapping) else {}
    name, args = spec.get("name"), spec.get("args")
    return (
        name if isinstance(name, str) else None,
        dict(args) if isinstance(args, Mapping) else {},
    )


def _check(spec: Any, name: str, allowed: Mapping[str, Any], where: str, source: str) -> None:
    found, args = _parts(spec)
    if found != name:
        raise UserError(f"{source}: {where} is {short(spec)}; only {name!r} can be ported")
    for key, value in args.items():
        if key not in allowed or value != allowed[key]:
            wanted = f"only {allowed[key]!r} can be ported" if key in allowed else "it is not known"
            raise UserError(f"{source}: {where} has {key}={short(value)}; {wanted}")


def spec_of(config: Mapping[str, Any], source: str) -> dict:
    """The official model spec of our config.

    Raises:
      UserError: the official code has no such model.
    """
    encoder = dict(config["encoder"])
    head = {k: v for k, v in config["head"].items() if (k, v) not in _DEFAULTS}
    kind, splatting, stamp = (head.pop(k, None) for k in ("name", "splatting", "stamp"))
    name = encoder.pop("name")
    if encoder or head:
        changed = ", ".join(f"{k}={v!r}" for k, v in {**encoder, **head}.items())
        raise UserError(f"{source}: the official code has no model with {changed}")
    mlp = {"name": "mlp", "args": dict(_MLP)}
    if kind == "gaussiansr" and splatting == "official" and name != "rdn":
        args = _encoder_spec(name) | {"dec_spec": mlp, "kernel_size": 5 if stamp is None else stamp}
        return {"name": "gaussian-splatter", "args": args}
    if kind == "liif":
        name = "edsr" if name == "edsr-large" else name
        return {"name": "liif", "args": _encoder_spec(name) | {"imnet_spec": mlp}}
    detail = f" with splatting={splatting or 'field'!r}" if kind == "gaussiansr" else ""
    raise UserError(
        f"{source}: the official code has no {kind} head{detail} on {name}; "
        "LIIF and GaussianSR with splatting='official' can be written for it"
    )


# Settings that may stand in a config without changing the model, and those of training alone.
_DEFAULTS = [
    ("hidden", 256),
    ("kernels", 100),
    ("splat_channels", 8),
    ("evaluation", "expectation"),
    ("evaluation", "argmax"),
    *(("selection", mode) for mode in ("soft", "straight_through", "expectation", "argmax")),
]


def _encoder_spec(name: str) -> dict:
    return {"encoder_spec": {"name": name, "args": {"no_upsampling": True}}}


def table_of(config: Mapping[str, Any]) -> tuple[tables.Row, ...]:
    """The table of a model's tensors."""
    encoder = tables.RDN if config["encoder"]["name"] == "rdn" else tables.EDSR
    if config["head"]["name"] == "liif":
        return tables.nested(encoder, "encoder.", "encoder/") + tables.LIIF_HEAD
    return tables.nested(encoder, "encoder.edsr.", "encoder/") + tables.GAUSSIANSR_HEAD
