"""State dicts of the official networks with random numbers: names and shapes as published."""

import collections

import numpy as np

MEAN = np.array([0.4488, 0.4371, 0.4040], np.float32)
MLP = {"name": "mlp", "args": {"out_dim": 3, "hidden_list": [256] * 4}}
NO_UPSAMPLING = {"no_upsampling": True}


def conv(name, inputs, outputs, side=3):
    return {f"{name}.weight": (outputs, inputs, side, side), f"{name}.bias": (outputs,)}


def linear(name, inputs, outputs):
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def mlp(name, inputs, hidden):
    widths = [inputs, hidden, hidden, hidden, hidden, 3]
    shapes = {}
    for i in range(5):
        shapes |= linear(f"{name}.layers.{2 * i}", widths[i], widths[i + 1])
    return shapes


def edsr(prefix, blocks, channels):
    shapes = conv(f"{prefix}head.0", 3, channels)
    for i in range(blocks):
        shapes |= conv(f"{prefix}body.{i}.body.0", channels, channels)
        shapes |= conv(f"{prefix}body.{i}.body.2", channels, channels)
    shapes |= conv(f"{prefix}body.{blocks}", channels, channels)
    for name in ("sub_mean", "add_mean"):
        shapes |= conv(f"{prefix}{name}", 3, 3, side=1)
    return shapes


def rdn(prefix, blocks, layers, channels, growth):
    shapes = conv(f"{prefix}SFENet1", 3, channels) | conv(f"{prefix}SFENet2", channels, channels)
    for i in range(blocks):
        for j in range(layers):
            name = f"{prefix}RDBs.{i}.convs.{j}.conv.0"
            shapes |= conv(name, channels + j * growth, growth)
        shapes |= conv(f"{prefix}RDBs.{i}.LFF", channels + layers * growth, channels, side=1)
    shapes |= conv(f"{prefix}GFF.0", blocks * channels, channels, side=1)
    return shapes | conv(f"{prefix}GFF.1", channels, channels)


def gaussiansr(blocks=16, channels=64, kernels=100, hidden=256):
    shapes = {"sigma_x": (kernels,), "sigma_y": (kernels,)}
    shapes |= {"opacity": (kernels, 1), "rho": (kernels, 1)}
    shapes |= edsr("encoder.edsr.", blocks, channels)
    shapes |= conv("encoder.segmentation_head.0", channels, kernels)
    shapes |= conv("coef", channels, hidden) | conv("freq", channels, hidden)
    return shapes | {"phase.weight": (hidden // 2, 2)} | mlp("dec", hidden, hidden)


def liif(encoder, channels=64, hidden=256):
    return encoder | mlp("imnet", 9 * channels + 4, hidden)


def tensors(shapes, seed=0):
    """Random tensors of reasonable size; what the official code computes is set to that."""
    rng = np.random.default_rng(seed)
    out = collections.OrderedDict()
    for name, shape in shapes.items():
        fan_in = max(1, int(np.prod(shape[1:])))
        out[name] = (0.5 * rng.normal(size=shape) / np.sqrt(fan_in)).astype(np.float32)
        if "_mean." in name:
            sign = -1 if "sub_mean" in name else 1
            out[name] = np.eye(3, dtype=np.float32)[:, :, None, None] * np.float32(1)
            if name.endswith("bias"):
                out[name] = sign * MEAN
        elif name.startswith("sigma"):
            out[name] = rng.uniform(0.2, 3, shape).astype(np.float32)
        elif name in ("rho", "opacity"):
            out[name] = rng.uniform(-0.5, 0.9, shape).astype(np.float32)
    return out


def spec(model, encoder="edsr-baseline", **changes):
    args = {"encoder_spec": {"name": encoder, "args": dict(NO_UPSAMPLING)}}
    if model == "gaussian-splatter":
        args |= {"dec_spec": MLP, "kernel_size": 5}
    else:
        args |= {"imnet_spec": MLP}
    return {"name": model, "args": args | changes}
