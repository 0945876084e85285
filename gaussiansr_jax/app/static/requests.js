// Which views the server is asked for, and when: coarse ones while moving where it is slow, the
// exact one at rest, never more than it can follow.

const REST = 140; // ms without motion until the exact view is wanted
const PATIENCE = 110; // ms after which a newer view stops the work for an older one
const BUDGET = 70; // ms that a view may take while moving
const COARSEST = 0.2;

export class Requests {
  constructor(channel, camera, stage, { loopback, mostPixels, onStatus, onRest }) {
    Object.assign(this, { channel, camera, stage, mostPixels, onStatus, onRest });
    this.exact = loopback ? "raw" : "compact"; // how the view at rest is sent
    this.number = 0;
    this.flight = null; // the view that the server works on: { number, sent, pixels }
    this.last = null; // the last view that was asked for
    this.cost = 0.6e-3; // ms a pixel, as measured
    this.picture = null;
    this.model = null;
    this.rendered = 0;
  }

  look(picture, model) {
    this.picture = picture;
    this.model = model;
    this.last = null;
    this.flight = null;
    this.complete = false;
    this.rest();
  }

  // The camera has moved.
  moved() {
    this.moving = true;
    this.complete = false;
    this.camera.still = false;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.rest(), REST);
    this.next();
  }

  rest() {
    this.moving = false;
    this.camera.still = true;
    clearTimeout(this.timer);
    this.stage.askBicubic();
    this.stage.invalidate();
    this.next();
  }

  next() {
    if (!this.picture || !this.channel.open || document.hidden) return;
    const now = performance.now();
    if (this.flight && this.moving && now - this.flight.sent < PATIENCE) return;
    const view = this.camera.view(this.part());
    if (!view) {
      this.flight = null;
      this.last = null;
      this.channel.send({ kind: "rest" });
      this.onStatus({ small: this.camera.scale < 1 });
      if (!this.moving) this.onRest(false);
      return;
    }
    const encoding = this.moving ? "compact" : this.exact;
    const wanted = { ...view, encoding };
    if (this.last && Object.keys(wanted).every((key) => this.last[key] === wanted[key])) return;
    this.last = wanted;
    this.number += 1;
    this.flight = { number: this.number, sent: now, pixels: view.height * view.width };
    this.channel.send({ kind: "view", number: this.number, picture: this.picture, model: this.model, encoding, ...view });
  }

  // How fine the next view is to be, 1 for a pixel of the stage each.
  part() {
    const { width, height } = this.camera.stage;
    const most = Math.min(1, Math.sqrt(this.mostPixels / (width * height)));
    if (!this.moving) return most;
    const part = Math.sqrt(BUDGET / (this.cost * width * height));
    if (part > 0.8) return most;
    return Math.min(Math.max(part, COARSEST, 1.0001 / this.camera.scale), most);
  }

  async frame(view, payload) {
    if (view.picture !== this.picture || view.model !== this.model) return;
    const pixels = view.height * view.width;
    if (this.flight?.number === view.number && pixels === this.flight.pixels) {
      const took = (performance.now() - this.flight.sent) / pixels;
      this.cost += 0.3 * (took - this.cost);
    }
    const bitmap = await (view.encoding === "raw"
      ? createImageBitmap(new ImageData(rgba(new Uint8ClampedArray(payload), pixels), view.width, view.height))
      : createImageBitmap(new Blob([payload])));
    if (view.picture !== this.picture || view.model !== this.model) return bitmap.close();
    this.rendered += 1;
    this.stage.add(view, bitmap);
  }

  status(message) {
    if (message.number !== this.number) return;
    if (!message.loading) {
      this.flight = null;
      this.complete = message.missing === 0 && !this.moving;
    }
    this.onStatus(message);
    if (message.loading) return;
    this.next();
    if (!this.moving) this.onRest(this.complete);
  }

  failed(number) {
    if (number === undefined || number === this.number) this.flight = null;
  }

  // The connection is there again: what was asked for is forgotten.
  again() {
    this.flight = null;
    this.last = null;
    this.next();
  }
}

// Pixels of three or four channels as the canvas wants them.
function rgba(values, pixels) {
  if (values.length === 4 * pixels) return values;
  const all = new Uint8ClampedArray(4 * pixels);
  for (let from = 0, to = 0; from < values.length; from += 3, to += 4) {
    all[to] = values[from];
    all[to + 1] = values[from + 1];
    all[to + 2] = values[from + 2];
    all[to + 3] = 255;
  }
  return all;
}
