"""The official networks in plain numpy (float64, NCHW), from the published facts: slow oracles.

`tensors` are state_dicts with the official names. Nothing here shares code with the library.
"""

import math

import numpy as np


def conv(x, tensors, name):
    """Zero-padded convolution of [B, C, H, W]."""
    weight, bias = tensors[f"{name}.weight"].astype(float), tensors[f"{name}.bias"].astype(float)
    pad, side = weight.shape[2] // 2, weight.shape[2]
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    height, width = x.shape[2] - 2 * pad, x.shape[3] - 2 * pad
    taps = [(i, j) for i in range(side) for j in range(side)]
    parts = (
        np.einsum("oc,bchw->bohw", weight[:, :, i, j], x[:, :, i : i + height, j : j + width])
        for i, j in taps
    )
    return sum(parts) + bias[:, None, None]


def edsr(x, tensors, prefix, blocks, res_scale):
    """The outputs of conv_in, each block, and the whole encoder."""
    outputs = [conv(x, tensors, f"{prefix}head.0")]
    for i in range(blocks):
        y = np.maximum(conv(outputs[-1], tensors, f"{prefix}body.{i}.body.0"), 0)
        y = conv(y, tensors, f"{prefix}body.{i}.body.2")
        outputs.append(outputs[-1] + res_scale * y)
    outputs.append(conv(outputs[-1], tensors, f"{prefix}body.{blocks}") + outputs[0])
    return outputs


def rdn(x, tensors, prefix, blocks, layers):
    """The outputs of the two first convolutions, each block, and the whole encoder."""
    first = conv(x, tensors, f"{prefix}SFENet1")
    outputs = [first, conv(first, tensors, f"{prefix}SFENet2")]
    for i in range(blocks):
        y = outputs[-1]
        for j in range(layers):
            new = np.maximum(conv(y, tensors, f"{prefix}RDBs.{i}.convs.{j}.conv.0"), 0)
            y = np.concatenate([y, new], 1)
        outputs.append(conv(y, tensors, f"{prefix}RDBs.{i}.LFF") + outputs[-1])
    y = conv(np.concatenate(outputs[2:], 1), tensors, f"{prefix}GFF.0")
    outputs.append(conv(y, tensors, f"{prefix}GFF.1") + first)
    return outputs


def bicubic(x, size):
    """interpolate(mode="bicubic", align_corners=False) of [..., H, W]."""

    def weight(d, a=-0.75):
        d = abs(d)
        if d <= 1:
            return (a + 2) * d**3 - (a + 3) * d**2 + 1
        return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0

    def matrix(out, length):
        rows = np.zeros((out, length))
        for o in range(out):
            position = (o + 0.5) * length / out - 0.5
            for tap in range(math.floor(position) - 1, math.floor(position) + 3):
                rows[o, min(max(tap, 0), length - 1)] += weight(position - tap)
        return rows

    rows, cols = matrix(size[0], x.shape[-2]), matrix(size[1], x.shape[-1])
    return np.einsum("qh,rw,...hw->...qr", rows, cols, x)


def raster(features, class_weights, bank, scale, k=5):
    """Steps 5 to 10 of the official raster, tile by tile and pixel by pixel.

    Args:
      features: [B, C, H, W], the channels to splat.
      class_weights: [B, K, H, W].
      bank: [K, 4], σ of the rows, σ of the columns, ρ, opacity.
      scale: output pixels per LR pixel.
      k: side of a kernel's raster.
    """
    batch, channels, height, width = features.shape
    rows, cols, t = math.ceil(height / 7), math.ceil(width / 7), round(7 * scale)
    features = bicubic(features, (7 * rows, 7 * cols))
    class_weights = bicubic(class_weights, (7 * rows, 7 * cols))
    stamps, opacities = {}, {}
    for i in range(7):
        for j in range(7):
            weights = class_weights[:, :, i::7, j::7].mean((0, 2, 3))
            sy, sx, rho, opacities[i, j] = weights @ bank
            inverse = np.linalg.inv([[sy**2 + 1e-5, rho * sy * sx], [rho * sy * sx, sx**2 + 1e-5]])
            points = np.linspace(-5, 5, k)
            stamp = np.array(
                [
                    [np.exp(-0.5 * np.array([y, x]) @ inverse @ [y, x]) for x in points]
                    for y in points
                ]
            )
            before = (t - k) // 2
            padded = np.pad(stamp / stamp.max(), (before, t - k - before))
            stamps[i, j] = moved(padded, (0.5 - i / 7) * (t - 1), (0.5 - j / 7) * (t - 1))
    out = np.zeros((batch, channels, rows * t, cols * t))
    for b in range(batch):
        for r in range(rows):
            for c in range(cols):
                tile = np.zeros((channels, t, t))
                for (i, j), stamp in stamps.items():
                    feature = features[b, :, 7 * r + i, 7 * c + j]
                    tile += feature[:, None, None] * opacities[i, j] * stamp
                out[b, :, r * t : (r + 1) * t, c * t : (c + 1) * t] = np.clip(tile, 0, 1)
    return bicubic(out, (round(height * scale), round(width * scale)))


def moved(image, dy, dx):
    """Bilinear sampling at (y + dy, x + dx), zero outside."""

    def at(y, x):
        inside = 0 <= y < image.shape[0] and 0 <= x < image.shape[1]
        return image[y, x] if inside else 0.0

    out = np.zeros_like(image)
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            y0, x0 = math.floor(y + dy), math.floor(x + dx)
            fy, fx = y + dy - y0, x + dx - x0
            out[y, x] = (1 - fy) * ((1 - fx) * at(y0, x0) + fx * at(y0, x0 + 1)) + fy * (
                (1 - fx) * at(y0 + 1, x0) + fx * at(y0 + 1, x0 + 1)
            )
    return out


def mlp(x, tensors, prefix, activation):
    """Linear layers 0, 2, 4, … with the activation between them."""
    names = sorted(n for n in tensors if n.startswith(prefix) and n.endswith("weight"))
    for i, name in enumerate(names):
        x = x @ tensors[name].T.astype(float) + tensors[name.replace("weight", "bias")]
        if i < len(names) - 1:
            x = activation(x)
    return x


def gelu(x):
    """The exact GELU."""
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def grid(size):
    """Float32 pixel centers [H·W, 2] in [-1, 1], and the pixel size [2]."""
    axes = [(np.arange(n) * 2 + 1) / n - 1 for n in size]
    coords = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    return coords.astype(np.float32), np.array([2 / n for n in size], np.float32)


def nearest(coords, length):
    """Index of the nearest pixel, halves to even."""
    return np.clip(np.round(((coords.astype(float) + 1) * length - 1) / 2), 0, length - 1).astype(
        int
    )


def gaussiansr(lr, tensors, scale, noise=None, blocks=16):
    """Features, HR features and output [Q, 3] on the whole grid, of one image [1, 3, H, W]."""
    features = edsr(lr, tensors, "encoder.edsr.", blocks, 1.0)[-1]
    logits = conv(features, tensors, "encoder.segmentation_head.0")
    logits = logits if noise is None else logits + noise.transpose(0, 3, 1, 2)
    weights = np.exp(logits - logits.max(1, keepdims=True))
    weights /= weights.sum(1, keepdims=True)
    bank = [tensors[n].reshape(-1) for n in ("sigma_x", "sigma_y", "rho", "opacity")]
    lr_size = np.array(lr.shape[2:])
    size = tuple(round(n * scale) for n in lr.shape[2:])
    splatted = raster(features[:, :8], weights, np.stack(bank, -1).astype(float), scale)
    hr = np.concatenate([splatted, bicubic(features[:, 8:], size)], 1)
    coords, cell = grid(size)
    index = [nearest(coords[:, a], size[a]) for a in (0, 1)]
    coef, freq = (conv(hr, tensors, n)[0][:, index[0], index[1]].T for n in ("coef", "freq"))
    near = [nearest(coords[:, a], lr_size[a]) for a in (0, 1)]
    centers = np.stack([(2 * near[a] + 1) / lr_size[a] - 1 for a in (0, 1)], -1)
    rel = (coords - centers) * lr_size
    z = freq[:, 0::2] * rel[:, :1] + freq[:, 1::2] * rel[:, 1:]
    z = np.pi * (z + (cell * lr_size) @ tensors["phase.weight"].T)
    out = mlp(coef * np.concatenate([np.cos(z), np.sin(z)], 1), tensors, "dec.layers.", gelu)
    return features, hr, out


def liif(lr, tensors, coords, cell, encoder):
    """Features and output [Q, 3] of one image [1, 3, H, W] at coordinates [Q, 2]."""
    features = encoder(lr, tensors)[-1]
    _, _, height, width = features.shape
    padded = np.pad(features[0], ((0, 0), (1, 1), (1, 1)))
    lr_size = np.array([height, width])
    total, areas = 0.0, 0.0
    for vy in (-1, 1):
        for vx in (-1, 1):
            shifted = coords.astype(float) + np.array([vy, vx]) / lr_size + 1e-6
            shifted = np.clip(shifted, -1 + 1e-6, 1 - 1e-6)
            y, x = nearest(shifted[:, 0], height), nearest(shifted[:, 1], width)
            windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
            unfolded = windows[:, y, x].transpose(1, 0, 2, 3).reshape(len(coords), -1)
            rel = (coords - ((2 * np.stack([y, x], -1) + 1) / lr_size - 1)) * lr_size
            opposite = coords + np.array([-vy, -vx]) / lr_size + 1e-6
            opposite = np.clip(opposite, -1 + 1e-6, 1 - 1e-6)
            o = np.stack([nearest(opposite[:, a], lr_size[a]) for a in (0, 1)], -1)
            area = np.abs(np.prod((coords - ((2 * o + 1) / lr_size - 1)) * lr_size, -1)) + 1e-9
            cells = np.broadcast_to(cell * lr_size, rel.shape)
            inputs = np.concatenate([unfolded, rel, cells], 1)
            color = mlp(inputs, tensors, "imnet.layers.", lambda v: np.maximum(v, 0))
            total, areas = total + color * area[:, None], areas + area
    return features, total / areas[:, None]
