// Where one looks: the point of the picture in the middle of the stage, and the scale. All lengths of
// the stage are device pixels, all of the picture its own pixels.

export class Camera {
  constructor(maxScale) {
    this.maxScale = maxScale;
    this.picture = { width: 1, height: 1 };
    this.stage = { width: 1, height: 1 };
    this.inset = { top: 0, bottom: 0 };
    this.ratio = 1; // device pixels of a CSS pixel
    this.scale = 1;
    this.x = 0;
    this.y = 0;
  }

  // The scale at which all of the picture is seen between the bars.
  get fitScale() {
    const { top, bottom } = this.inset;
    const free = Math.max(this.stage.height - top - bottom, 50);
    const fit = Math.min(this.stage.width / this.picture.width, free / this.picture.height);
    return Math.min(fit, this.maxScale);
  }

  get minScale() { return Math.min(this.fitScale, 1); }

  show(picture) {
    this.picture = picture;
    this.fit();
  }

  fit() {
    this.scale = this.fitScale;
    this.x = this.picture.width / 2;
    this.y = this.picture.height / 2;
    this.clamp();
  }

  resize(stage, inset) {
    const fitted = Math.abs(this.scale / this.fitScale - 1) < 1e-6;
    this.stage = stage;
    this.inset = inset;
    if (fitted) this.fit(); else this.clamp();
  }

  // Zooms so that the point under (x, y) of the stage stays there.
  zoomAt(scale, x = this.stage.width / 2, y = this.stage.height / 2) {
    const point = this.toPicture(x, y);
    this.scale = Math.min(Math.max(scale, this.minScale), this.maxScale);
    this.x = point.x - (x - this.stage.width / 2) / this.scale;
    this.y = point.y - (y - this.stage.height / 2) / this.scale;
    this.clamp();
  }

  moveBy(x, y) {
    this.x -= x / this.scale;
    this.y -= y / this.scale;
    this.clamp();
  }

  clamp() {
    this.scale = Math.min(Math.max(this.scale, this.minScale), this.maxScale);
    const { top, bottom } = this.inset;
    this.x = within(this.x, this.picture.width, this.stage.width, 0, 0, this.scale);
    this.y = within(this.y, this.picture.height, this.stage.height, top, bottom, this.scale);
  }

  toPicture(x, y) {
    return {
      x: this.x + (x - this.stage.width / 2) / this.scale,
      y: this.y + (y - this.stage.height / 2) / this.scale,
    };
  }

  toStage(x, y) {
    return {
      x: (x - this.x) * this.scale + this.stage.width / 2,
      y: (y - this.y) * this.scale + this.stage.height / 2,
    };
  }

  // The part of the output that is seen, such that each of its pixels is one of the stage; `part`
  // below 1 gives a coarser one. Null where the picture is not enlarged, or not seen.
  view(part = 1) {
    const corner = this.toPicture(0, 0);
    const across = axis(corner.x * this.scale, this.stage.width, this.picture.width * this.scale);
    const down = axis(corner.y * this.scale, this.stage.height, this.picture.height * this.scale);
    const scale = this.scale * part;
    if (scale < 1 || across.count < 1 || down.count < 1) return null;
    return {
      scale,
      top: down.first * part,
      left: across.first * part,
      height: Math.max(Math.floor(down.count * part), 1),
      width: Math.max(Math.floor(across.count * part), 1),
    };
  }
}

// Keeps the picture's edge out of the stage, or the picture, where it is smaller, in the middle.
function within(center, length, stage, before, after, scale) {
  const visible = stage / scale;
  const middle = (after - before) / 2 / scale;
  if (length * scale <= stage - before - after) return length / 2 + middle;
  const low = visible / 2 - before / scale;
  const high = length - visible / 2 + after / scale;
  return Math.min(Math.max(center, Math.min(low, high)), Math.max(low, high));
}

// First output pixel and number of those that lie on whole pixels of the stage.
function axis(first, stage, length) {
  const skipped = Math.max(Math.ceil(-first - 1e-6), 0);
  const end = Math.min(stage, Math.floor(length - first + 1e-6));
  return { first: Math.max(first + skipped, 0), count: end - skipped };
}
