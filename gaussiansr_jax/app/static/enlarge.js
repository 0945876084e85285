// The panel that enlarges the whole picture: size, format, progress, download.

import { request } from "./channel.js";

const EVERY = 400; // ms between two questions after the progress

export class Enlarge {
  constructor(elements, { client, maxScale, onModel }) {
    Object.assign(this, { e: elements, client, maxScale, onModel });
    this.picture = null;
    this.job = null;
    const { form, factor, width, height, stop, model } = this.e;
    factor.addEventListener("input", () => this.fromFactor());
    width.addEventListener("input", () => this.fromSide(width, "width", height, "height"));
    height.addEventListener("input", () => this.fromSide(height, "height", width, "width"));
    model.addEventListener("change", () => this.onModel(model.value));
    form.addEventListener("submit", (event) => { event.preventDefault(); this.start(); });
    stop.addEventListener("click", () => this.stop());
  }

  show(picture) {
    this.picture = picture;
    this.e.factor.value = 4;
    this.fromFactor();
    this.complain("");
  }

  fromFactor() {
    const factor = Number(this.e.factor.value);
    if (!this.picture || !(factor > 0)) return;
    this.e.width.value = Math.round(this.picture.width * factor);
    this.e.height.value = Math.round(this.picture.height * factor);
    this.complain("");
  }

  fromSide(side, name, other, otherName) {
    const factor = Number(side.value) / this.picture[name];
    if (!(factor > 0)) return;
    other.value = Math.round(this.picture[otherName] * factor);
    this.e.factor.value = Number(factor.toFixed(3));
    this.complain("");
  }

  complain(sentence) {
    this.e.error.textContent = sentence;
    this.e.error.hidden = !sentence;
  }

  async start() {
    const { width, height, model, form } = this.e;
    const size = { width: Number(width.value), height: Number(height.value) };
    if (!Number.isInteger(size.width) || !Number.isInteger(size.height) || size.width < 1 || size.height < 1) {
      return this.complain("Width and height must be whole numbers of pixels.");
    }
    this.complain("");
    const wish = { picture: this.picture.key, model: model.value, ...size, format: new FormData(form).get("format"), client: this.client };
    try {
      this.job = await request("/api/jobs", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(wish) });
    } catch (error) {
      return this.complain(capital(error.message));
    }
    this.began = null;
    this.e.download.hidden = true;
    this.e.stop.hidden = false;
    this.e.job.hidden = false;
    this.tell();
    this.poll(this.job.key);
  }

  async poll(key) {
    while (this.job?.key === key && ["waiting", "working", "writing"].includes(this.job.state)) {
      await new Promise((resolve) => setTimeout(resolve, EVERY));
      let job;
      try {
        job = await request(`/api/jobs/${key}`);
      } catch (error) {
        job = { ...this.job, state: "failed", message: error.message };
      }
      if (this.job?.key !== key) return;
      this.job = job;
      this.tell();
    }
  }

  async stop() {
    if (!this.job) return;
    try { this.job = await request(`/api/jobs/${this.job.key}`, { method: "DELETE" }); } catch { /* it is gone */ }
  }

  tell() {
    const { job, e } = this;
    const running = ["waiting", "working", "writing"].includes(job.state);
    const percent = Math.floor(100 * job.done);
    if (job.state === "working" && job.done > 0 && !this.began) this.began = { at: performance.now(), done: job.done };
    const text = {
      waiting: "Waiting for its turn…",
      working: `Enlarging: ${percent} %${this.remaining()}`,
      writing: "Writing the file…",
      done: `${job.name} is ready, ${megabytes(job.bytes)}.${job.message ? ` ${capital(job.message)}` : ""}`,
      stopped: "Stopped.",
      failed: capital(job.message ?? "It failed."),
    }[job.state];
    if (e.text.textContent !== text) e.text.textContent = text;
    e.text.classList.toggle("error", job.state === "failed");
    e.progress.hidden = !running;
    if (job.state === "working") e.progress.value = job.done; else e.progress.removeAttribute("value");
    e.stop.hidden = !running;
    e.button.textContent = running ? `Enlarging ${percent} %` : "Enlarge…";
    if (job.state === "done" && e.download.hidden) {
      e.download.href = `/api/jobs/${job.key}/file`;
      e.download.download = job.name;
      e.download.hidden = false;
      if (!e.panel.hidden) e.download.focus();
    }
  }

  remaining() {
    if (!this.began || this.job.done - this.began.done < 0.03) return "";
    const speed = (this.job.done - this.began.done) / (performance.now() - this.began.at);
    const seconds = (1 - this.job.done) / speed / 1000;
    if (seconds < 90) return `, ${Math.max(Math.round(seconds), 1)} s left`;
    return `, ${Math.round(seconds / 60)} min left`;
  }
}

function megabytes(bytes) {
  return bytes < 1e6 ? `${Math.max(Math.round(bytes / 1e3), 1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

function capital(sentence) {
  return sentence[0].toUpperCase() + sentence.slice(1) + (/[.!?]$/.test(sentence) ? "" : ".");
}
