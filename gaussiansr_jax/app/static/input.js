// Wheel, drag, pinch, taps and keys on the stage.

const CALM = window.matchMedia("(prefers-reduced-motion: reduce)");

export class Motion {
  constructor(camera, onMove) {
    this.camera = camera;
    this.onMove = onMove;
    this.target = null; // scale that the camera glides to
    this.speed = null; // of the picture after it was let go, device pixels a ms
  }

  zoomTo(scale, x, y) {
    const { camera } = this;
    this.speed = null;
    scale = Math.min(Math.max(scale, camera.minScale), camera.maxScale);
    if (CALM.matches) {
      camera.zoomAt(scale, x, y);
      return this.onMove();
    }
    this.target = { scale, x, y };
    this.run();
  }

  zoomBy(factor, x, y) { this.zoomTo((this.target?.scale ?? this.camera.scale) * factor, x, y); }

  jump(scale, x, y) {
    this.stop();
    this.camera.zoomAt(scale, x, y);
    this.onMove();
  }

  moveBy(x, y) {
    this.target = null;
    this.camera.moveBy(x, y);
    this.onMove();
  }

  letGo(x, y) {
    if (CALM.matches || Math.hypot(x, y) < 0.15) return;
    this.speed = { x, y };
    this.run();
  }

  stop() { this.target = this.speed = null; }

  run() {
    if (this.running) return;
    this.running = true;
    let before = performance.now();
    const step = (now) => {
      const time = Math.min(Math.max(now - before, 1), 50);
      before = now;
      const { camera, target, speed } = this;
      if (target) {
        const left = Math.log(target.scale / camera.scale);
        const done = Math.abs(left) < 0.0015;
        camera.zoomAt(done ? target.scale : camera.scale * Math.exp(left * (1 - Math.exp(-time / 65))), target.x, target.y);
        if (done) this.target = null;
      } else if (speed) {
        camera.moveBy(speed.x * time, speed.y * time);
        const slower = Math.exp(-time / 160);
        speed.x *= slower;
        speed.y *= slower;
        if (Math.hypot(speed.x, speed.y) < 0.02) this.speed = null;
      }
      this.onMove();
      this.running = Boolean(this.target || this.speed);
      if (this.running) requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }
}

export function listen(viewer, stage, motion, { onHover }) {
  const pixels = () => stage.width / stage.clientWidth; // device pixels of a CSS pixel
  const place = (event) => {
    const box = stage.getBoundingClientRect();
    return { x: (event.clientX - box.left) * pixels(), y: (event.clientY - box.top) * pixels() };
  };
  const pointers = new Map();
  let trail = [];
  let tap = null;

  viewer.addEventListener("wheel", (event) => {
    event.preventDefault();
    const unit = event.deltaMode === 1 ? 18 : event.deltaMode === 2 ? 300 : 1;
    const delta = Math.max(Math.min(event.deltaY * unit, 300), -300);
    const { x, y } = place(event);
    motion.zoomBy(Math.exp(-delta * (event.ctrlKey ? 0.01 : 0.0018)), x, y);
  }, { passive: false });

  stage.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "mouse" && event.button !== 0) return;
    try { stage.setPointerCapture(event.pointerId); } catch { /* it has gone already */ }
    pointers.set(event.pointerId, place(event));
    motion.stop();
    trail = [];
    stage.classList.add("dragging");
    tap = pointers.size === 1 ? { ...place(event), time: event.timeStamp, before: tap } : null;
  });

  stage.addEventListener("pointermove", (event) => {
    const now = place(event);
    if (!pointers.has(event.pointerId)) return onHover(event.pointerType === "touch" ? null : now);
    const before = pointers.get(event.pointerId);
    if (pointers.size === 1) {
      motion.moveBy(now.x - before.x, now.y - before.y);
      trail.push({ ...now, time: event.timeStamp });
      trail = trail.filter((point) => event.timeStamp - point.time < 90);
    } else if (pointers.size === 2) {
      const other = [...pointers].find(([id]) => id !== event.pointerId)[1];
      const factor = Math.hypot(now.x - other.x, now.y - other.y) / Math.max(Math.hypot(before.x - other.x, before.y - other.y), 1);
      const [middle, old] = [now, before].map((p) => ({ x: (p.x + other.x) / 2, y: (p.y + other.y) / 2 }));
      motion.camera.moveBy(middle.x - old.x, middle.y - old.y);
      motion.jump(motion.camera.scale * factor, middle.x, middle.y);
    }
    if (tap && Math.hypot(now.x - tap.x, now.y - tap.y) > 12 * pixels()) tap = null;
    pointers.set(event.pointerId, now);
  });

  const lift = (event) => {
    if (!pointers.delete(event.pointerId)) return;
    if (pointers.size) return;
    stage.classList.remove("dragging");
    const [first, last] = [trail[0], trail.at(-1)];
    if (first && last.time - first.time > 15 && event.timeStamp - last.time < 50) {
      const time = last.time - first.time;
      motion.letGo((last.x - first.x) / time, (last.y - first.y) / time);
    }
    if (tap && event.pointerType === "touch") {
      const { before } = tap;
      const double = before && tap.time - before.time < 320 && Math.hypot(tap.x - before.x, tap.y - before.y) < 40 * pixels();
      if (double) motion.zoomBy(2, tap.x, tap.y);
      tap = double ? null : { ...tap, before: null };
    }
  };
  stage.addEventListener("pointerup", lift);
  stage.addEventListener("pointercancel", lift);
  stage.addEventListener("pointerleave", () => onHover(null));
  stage.addEventListener("dblclick", (event) => {
    const { x, y } = place(event);
    motion.zoomBy(event.shiftKey ? 0.5 : 2, x, y);
  });
}

export function listenToDivider(divider, viewer, onChange) {
  let value = 50;
  const set = (percent) => {
    value = Math.min(Math.max(percent, 0), 100);
    divider.style.left = `${value}%`;
    divider.setAttribute("aria-valuenow", Math.round(value));
    divider.setAttribute("aria-valuetext", `bicubic on ${Math.round(value)} percent`);
    onChange(value / 100);
  };
  divider.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "mouse" && event.button !== 0) return;
    divider.setPointerCapture(event.pointerId);
    divider.focus({ preventScroll: true });
    const drag = (move) => {
      const box = viewer.getBoundingClientRect();
      set(((move.clientX - box.left) / box.width) * 100);
    };
    const end = () => {
      divider.removeEventListener("pointermove", drag);
      divider.removeEventListener("pointerup", end);
      divider.removeEventListener("pointercancel", end);
    };
    divider.addEventListener("pointermove", drag);
    divider.addEventListener("pointerup", end);
    divider.addEventListener("pointercancel", end);
    event.preventDefault();
  });
  divider.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 10 : 2;
    const next = { ArrowLeft: value - step, ArrowRight: value + step, Home: 0, End: 100 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    set(next);
  });
  set(value);
}
