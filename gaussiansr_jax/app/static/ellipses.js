// The Gaussians of the part of the picture in view, as ellipses on a layer of their own.

const STRONG = 1.0; // standard deviations at which the one Gaussian of a pixel is drawn
const SEVERAL = 0.5; // likewise where a pixel has several

export class Ellipses {
  constructor() { this.clear(); }

  clear() {
    this.field = null;
    this.layer = null;
  }

  take(header, payload) {
    this.field = { ...header, values: new Float32Array(payload) };
    this.layer = null;
  }

  // Whether the field covers a rectangle of pixels.
  covers({ top, left, height, width }) {
    const f = this.field;
    return f && f.top <= top && f.left <= left && f.top + f.height >= top + height && f.left + f.width >= left + width;
  }

  draw(context, camera, probe) {
    if (!this.field) return;
    // Drawn anew for each resting place; moved and stretched in between.
    const at = { scale: camera.scale, x: camera.x, y: camera.y, width: camera.stage.width, height: camera.stage.height };
    if (!this.layer || (camera.still && !same(this.layer.at, at))) this.render(camera, at);
    const { canvas, at: from } = this.layer;
    const factor = camera.scale / from.scale;
    const corner = {
      x: (from.x - from.width / 2 / from.scale - camera.x) * camera.scale + camera.stage.width / 2,
      y: (from.y - from.height / 2 / from.scale - camera.y) * camera.scale + camera.stage.height / 2,
    };
    context.drawImage(canvas, corner.x, corner.y, canvas.width * factor, canvas.height * factor);
    if (probe) this.outline(context, camera, probe);
  }

  render(camera, at) {
    const { each, values } = this.field;
    const canvas = document.createElement("canvas");
    canvas.width = at.width;
    canvas.height = at.height;
    const context = canvas.getContext("2d");
    const extent = each === 1 ? STRONG : SEVERAL;
    const line = Math.min(Math.max(camera.scale / 18, 1), 1.6 * camera.ratio);
    const buckets = new Map(); // few colors, each one path: much faster than one path an ellipse
    for (let i = 0; i < values.length; i += 6) {
      const shape = ellipse(values, i);
      const hue = Math.round((shape.angle / Math.PI) * 24) * 7.5 * 2;
      const vivid = Math.round(Math.min((shape.long / shape.short - 1) / 1.2, 1) * 4) / 4;
      const weight = each === 1 ? 0.95 : Math.round(Math.min(0.25 + values[i + 5] * 0.35, 0.95) * 5) / 5;
      const key = `${hue % 360}|${vivid}|${weight}`;
      let path = buckets.get(key);
      if (!path) buckets.set(key, (path = new Path2D()));
      add(path, camera, values, i, shape, extent);
    }
    context.lineJoin = "round";
    context.strokeStyle = "rgb(0 0 0 / 0.35)";
    context.lineWidth = line + 1.2;
    if (each === 1) for (const path of buckets.values()) context.stroke(path);
    context.lineWidth = line;
    for (const [key, path] of buckets) {
      const [hue, vivid, weight] = key.split("|").map(Number);
      context.strokeStyle = `hsl(${hue} ${Math.round(20 + 75 * vivid)}% ${Math.round(86 - 18 * vivid)}% / ${weight})`;
      context.stroke(path);
    }
    this.layer = { canvas, at };
  }

  // Those of one pixel, drawn strongly.
  outline(context, camera, { row, col }) {
    const { each, sent, values } = this.field;
    const first = this.indexOf(row, col);
    if (first < 0) return;
    const corner = camera.toStage(col, row);
    context.lineWidth = 2 * camera.ratio;
    context.strokeStyle = "rgb(255 255 255 / 0.9)";
    context.strokeRect(corner.x, corner.y, camera.scale, camera.scale);
    const path = new Path2D();
    for (let g = 0; g < sent; g++) {
      const i = first + 6 * g;
      add(path, camera, values, i, ellipse(values, i), each === 1 ? STRONG : SEVERAL);
    }
    context.lineWidth = 4.5 * camera.ratio;
    context.strokeStyle = "rgb(0 0 0 / 0.7)";
    context.stroke(path);
    context.lineWidth = 2.2 * camera.ratio;
    context.strokeStyle = "#fff";
    context.stroke(path);
  }

  indexOf(row, col) {
    const f = this.field;
    if (!f) return -1;
    const [y, x] = [row - f.top, col - f.left];
    if (y < 0 || x < 0 || y >= f.height || x >= f.width) return -1;
    return (y * f.width + x) * f.sent * 6;
  }

  // Of the strongest Gaussian of a pixel, in words.
  describe({ row, col }) {
    const first = this.indexOf(row, col);
    if (first < 0) return null;
    const { each, sent, values } = this.field;
    let best = first;
    for (let g = 1; g < sent; g++) if (values[first + 6 * g + 5] > values[best + 5]) best = first + 6 * g;
    const [sy, sx, rho] = [2, 3, 4].map((k) => values[best + k].toFixed(2));
    const count = each === 1 ? "its Gaussian" : `the strongest of its ${each} Gaussians`;
    return { pixel: `Pixel ${col}, ${row}`, text: `${count}: σy ${sy}, σx ${sx} pixels, ρ ${rho.replace("-", "−")}` };
  }
}

function ellipse(values, i) {
  const [sy, sx, rho] = [Math.max(values[i + 2], 0.01), Math.max(values[i + 3], 0.01), values[i + 4]];
  const [yy, xx, yx] = [sy * sy, sx * sx, rho * sy * sx];
  const middle = (yy + xx) / 2;
  const spread = Math.hypot((xx - yy) / 2, yx);
  return {
    long: Math.sqrt(middle + spread),
    short: Math.sqrt(Math.max(middle - spread, 1e-6)),
    angle: (0.5 * Math.atan2(2 * yx, xx - yy) + Math.PI) % Math.PI,
  };
}

function add(path, camera, values, i, shape, extent) {
  // Pixel i has its center at i; the picture's coordinates have it at i + 1/2.
  const { x, y } = camera.toStage(values[i + 1] + 0.5, values[i] + 0.5);
  const [long, short] = [shape.long * extent * camera.scale, Math.max(shape.short * extent * camera.scale, 0.4)];
  path.moveTo(x + long * Math.cos(shape.angle), y + long * Math.sin(shape.angle));
  path.ellipse(x, y, long, short, shape.angle, 0, 2 * Math.PI);
}

function same(a, b) {
  return Object.keys(a).every((key) => a[key] === b[key]);
}
