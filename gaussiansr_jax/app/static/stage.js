// What is drawn: the picture by bicubic interpolation, on it the sharp pieces that have come, the
// ellipses on top.

const MOST_FRAMES = 40;

export class Stage {
  constructor(canvas, camera, ellipses) {
    this.canvas = canvas;
    this.camera = camera;
    this.ellipses = ellipses;
    this.context = canvas.getContext("2d", { alpha: false });
    this.border = 0.5;
    this.compare = true;
    this.showEllipses = false;
    this.probe = null;
    this.picture = null;
    this.frames = [];
    this.bicubic = null;
    this.pending = false;
    this.worker = null;
    this.onDrawn = () => {};
  }

  show(picture, bitmap) {
    this.forget();
    this.picture?.bitmap.close?.();
    this.picture = { ...picture, bitmap };
    this.bicubic = null;
    this.worker?.terminate();
    const copy = document.createElement("canvas");
    copy.width = picture.width;
    copy.height = picture.height;
    const context = copy.getContext("2d", { willReadFrequently: true });
    context.drawImage(bitmap, 0, 0);
    const { data } = context.getImageData(0, 0, picture.width, picture.height);
    this.worker = new Worker("/static/bicubic.js");
    this.worker.postMessage({ pixels: data, width: picture.width, height: picture.height, transparent: picture.transparent }, [data.buffer]);
    this.busy = false;
    this.worker.onmessage = ({ data: view }) => this.takeBicubic(view);
    this.invalidate();
  }

  // Another model: the sharp pieces are no longer true.
  forget() {
    for (const frame of this.frames) frame.bitmap.close?.();
    this.frames = [];
    this.ellipses.clear();
    this.invalidate();
  }

  add(view, bitmap) {
    this.frames.push({ ...view, bitmap });
    const most = 7 * this.canvas.width * this.canvas.height;
    let pixels = this.frames.reduce((sum, f) => sum + f.width * f.height, 0);
    while (this.frames.length > MOST_FRAMES || (pixels > most && this.frames.length > 1)) {
      const [old] = this.frames.splice(0, 1);
      pixels -= old.width * old.height;
      old.bitmap.close?.();
    }
    this.invalidate();
  }

  // Once the stage rests, the browser's smoothing gives way to exact bicubic interpolation.
  askBicubic() {
    const view = this.camera.view();
    if (!view || !this.compare || this.busy || !this.worker) return;
    if (this.bicubic && sameView(this.bicubic, view)) return;
    this.busy = true;
    this.worker.postMessage(view);
  }

  async takeBicubic(view) {
    this.busy = false;
    const bitmap = await createImageBitmap(new ImageData(view.pixels, view.width, view.height));
    this.bicubic?.bitmap.close?.();
    this.bicubic = { ...view, pixels: null, bitmap };
    this.invalidate();
    this.askBicubicLater();
  }

  askBicubicLater() {
    clearTimeout(this.later);
    this.later = setTimeout(() => this.askBicubic(), 60);
  }

  invalidate() {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame((now) => {
      this.pending = false;
      this.draw();
      this.onDrawn(now);
    });
  }

  draw() {
    const { context, camera, canvas } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = getComputedStyle(canvas.parentElement).backgroundColor;
    context.fillRect(0, 0, canvas.width, canvas.height);
    if (!this.picture) return;
    const corner = camera.toStage(0, 0);
    const size = { width: this.picture.width * camera.scale, height: this.picture.height * camera.scale };
    if (this.picture.transparent) this.checker(corner, size);
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "high";
    const border = this.compare ? Math.round(this.border * canvas.width) : 0;
    this.clipped(0, border, () => {
      this.base(corner, size);
      if (this.bicubic && this.fits(this.bicubic)) this.piece(this.bicubic);
    });
    this.clipped(border, canvas.width, () => {
      this.base(corner, size);
      // Finer ones later: the picture of another scale stands in for what has not come yet.
      const exact = (frame) => Number(this.fits(frame));
      const order = this.frames.map((frame, age) => ({ frame, age }));
      order.sort((a, b) => exact(a.frame) - exact(b.frame) || a.frame.scale - b.frame.scale || a.age - b.age);
      for (const { frame } of order) this.piece(frame);
      if (this.showEllipses) this.ellipses.draw(context, camera, this.probe);
    });
  }

  clipped(left, right, draw) {
    if (right <= left) return;
    this.context.save();
    this.context.beginPath();
    this.context.rect(left, 0, right - left, this.canvas.height);
    this.context.clip();
    draw();
    this.context.restore();
  }

  base(corner, size) {
    this.context.drawImage(this.picture.bitmap, corner.x, corner.y, size.width, size.height);
  }

  // Whether each pixel of a piece is one of the stage.
  fits(view) {
    if (Math.abs(view.scale - this.camera.scale) > 1e-9) return false;
    const at = this.camera.toStage(view.left / view.scale, view.top / view.scale);
    return Math.abs(at.x - Math.round(at.x)) < 0.02 && Math.abs(at.y - Math.round(at.y)) < 0.02;
  }

  piece(view) {
    const { camera, context } = this;
    let { x, y } = camera.toStage(view.left / view.scale, view.top / view.scale);
    const factor = camera.scale / view.scale;
    const fits = this.fits(view);
    if (fits) [x, y] = [Math.round(x), Math.round(y)];
    if (this.picture.transparent) this.erase(x, y, view.width * factor, view.height * factor);
    context.imageSmoothingEnabled = !fits;
    context.drawImage(view.bitmap, x, y, view.width * factor, view.height * factor);
    context.imageSmoothingEnabled = true;
  }

  // What is seen through must not lie under itself.
  erase(x, y, width, height) {
    this.context.save();
    this.context.beginPath();
    this.context.rect(x, y, width, height);
    this.context.clip();
    this.checker({ x, y }, { width, height });
    this.context.restore();
  }

  checker(corner, size) {
    if (!this.pattern) {
      const tile = document.createElement("canvas");
      tile.width = tile.height = 24;
      const context = tile.getContext("2d");
      context.fillStyle = "#c9ccd1";
      context.fillRect(0, 0, 24, 24);
      context.fillStyle = "#eceef0";
      context.fillRect(0, 0, 12, 12);
      context.fillRect(12, 12, 12, 12);
      this.pattern = this.context.createPattern(tile, "repeat");
    }
    this.context.fillStyle = this.pattern;
    this.context.fillRect(corner.x, corner.y, size.width, size.height);
  }
}

function sameView(a, b) {
  return ["scale", "top", "left", "height", "width"].every((key) => a[key] === b[key]);
}
