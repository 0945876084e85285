// Bicubic interpolation (Keys, a = -0.5, mirrored at the border) of any part of a picture at any
// scale, in a worker: the page draws its browser's own smoothing until this arrives.

let source = null; // { pixels: RGBA, width, height, transparent }

self.onmessage = ({ data }) => {
  if (data.pixels) {
    source = data;
    if (source.transparent) premultiply(source.pixels);
    return;
  }
  const pixels = interpolate(source, data);
  self.postMessage({ ...data, pixels }, [pixels.buffer]);
};

function kernel(x) {
  x = Math.abs(x);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  if (x < 2) return ((-0.5 * x + 2.5) * x - 4) * x + 2;
  return 0;
}

// The four pixels that each output pixel reads along one axis, and their weights.
function taps(count, first, scale, length) {
  const index = new Int32Array(4 * count);
  const weight = new Float32Array(4 * count);
  for (let i = 0; i < count; i++) {
    const at = (first + i + 0.5) / scale - 0.5;
    const near = Math.floor(at);
    for (let k = 0; k < 4; k++) {
      let from = near - 1 + k;
      weight[4 * i + k] = kernel(at - from);
      if (from < 0) from = -1 - from;
      if (from >= length) from = 2 * length - 1 - from;
      index[4 * i + k] = Math.min(Math.max(from, 0), length - 1);
    }
  }
  return { index, weight };
}

function interpolate({ pixels, width: lrWidth, height: lrHeight, transparent }, view) {
  const { scale, top, left, height, width } = view;
  const rows = taps(height, top, scale, lrHeight);
  const cols = taps(width, left, scale, lrWidth);
  let low = lrHeight, high = -1;
  for (const row of rows.index) { low = Math.min(low, row); high = Math.max(high, row); }
  // Along the rows first: there are fewer of them.
  const wide = new Float32Array((high - low + 1) * width * 4);
  for (let y = low; y <= high; y++) {
    const from = y * lrWidth * 4;
    let to = (y - low) * width * 4;
    for (let x = 0; x < width; x++, to += 4) {
      const t = 4 * x;
      for (let k = 0; k < 4; k++) {
        const p = from + 4 * cols.index[t + k], w = cols.weight[t + k];
        wide[to] += w * pixels[p];
        wide[to + 1] += w * pixels[p + 1];
        wide[to + 2] += w * pixels[p + 2];
        wide[to + 3] += w * pixels[p + 3];
      }
    }
  }
  const out = new Uint8ClampedArray(width * height * 4);
  const line = width * 4;
  for (let y = 0; y < height; y++) {
    const t = 4 * y, to = y * line;
    const [a, b, c, d] = [0, 1, 2, 3].map((k) => (rows.index[t + k] - low) * line);
    const [wa, wb, wc, wd] = rows.weight.subarray(t, t + 4);
    for (let i = 0; i < line; i++) {
      out[to + i] = wa * wide[a + i] + wb * wide[b + i] + wc * wide[c + i] + wd * wide[d + i];
    }
  }
  if (transparent) {
    for (let i = 0; i < out.length; i += 4) {
      const scaleUp = out[i + 3] ? 255 / out[i + 3] : 0;
      for (let k = 0; k < 3; k++) out[i + k] *= scaleUp;
    }
  }
  return out;
}

function premultiply(pixels) {
  for (let i = 0; i < pixels.length; i += 4) {
    for (let k = 0; k < 3; k++) pixels[i + k] = Math.round((pixels[i + k] * pixels[i + 3]) / 255);
  }
}
