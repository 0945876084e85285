// The page: opens pictures, and ties the parts together.

import { Camera } from "./camera.js";
import { Channel, request } from "./channel.js";
import { Ellipses } from "./ellipses.js";
import { Enlarge } from "./enlarge.js";
import { Motion, listen, listenToDivider } from "./input.js";
import { Requests } from "./requests.js";
import { Stage } from "./stage.js";

const $ = (id) => document.getElementById(id);
const LOOPBACK = /^(localhost|127(\.\d+){3}|\[::1\])$/.test(location.hostname);
const LEAST_FOR_ELLIPSES = 8; // CSS pixels a pixel below which single Gaussians cannot be told apart
const client = Array.from(crypto.getRandomValues(new Uint8Array(12)), (b) => b.toString(16).padStart(2, "0")).join("");

const camera = new Camera(30);
const ellipses = new Ellipses();
const stage = new Stage($("stage"), camera, ellipses);
const motion = new Motion(camera, moved);
let requests, channel, enlarge, start;
let current = null; // { key, name, width, height, file }
let hover = null;

// ---- opening pictures ----

async function openFile(file) {
  if (!file) return;
  closePanels();
  say(`Opening ${file.name}…`, true);
  try {
    const picture = await give(file, file.name || "pasted.png");
    await show({ ...picture, file });
  } catch (error) {
    say("");
    complain(error.message);
  }
}

async function show(picture) {
  const answer = await fetch(`/api/pictures/${encodeURIComponent(picture.key)}/preview.png`);
  if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).error ?? "this picture is gone; open it again");
  const bitmap = await createImageBitmap(await answer.blob(), { colorSpaceConversion: "none" });
  if (current && current.file && current.key !== picture.key) {
    request(`/api/pictures/${encodeURIComponent(current.key)}`, { method: "DELETE" }).catch(() => {});
  }
  current = picture;
  motion.stop();
  document.body.dataset.state = "viewing";
  $("welcome").hidden = true;
  $("viewer").hidden = $("dock").hidden = false;
  $("toast").hidden = true;
  const title = document.createElement("b");
  title.textContent = picture.name;
  $("title").replaceChildren(title, ` ${picture.width} × ${picture.height}`);
  document.title = `${picture.name} – GaussianSR`;
  resize();
  camera.show(picture);
  stage.show(picture, bitmap);
  enlarge.show(picture);
  say(picture.notes.join("; "));
  requests.look(picture.key, $("model").value);
  update();
  $("stage").focus({ preventScroll: true });
}

// The server has forgotten the picture: a restart, or a long pause. It is given again.
async function reopen() {
  const lost = current;
  if (lost.reopening) return;
  if (!lost.file || Date.now() - (lost.reopened ?? 0) < 5000) {
    return complain("this picture is no longer open here; open it again");
  }
  lost.reopening = true;
  try {
    const picture = await give(lost.file, lost.name);
    if (current !== lost) return;
    current = { ...picture, file: lost.file, reopened: Date.now() };
    enlarge.picture = current;
    requests.look(picture.key, $("model").value);
  } catch (error) {
    lost.reopening = false;
    complain(error.message);
  }
}

function give(file, name) {
  const headers = { "X-File-Name": encodeURIComponent(name), "Content-Type": "application/octet-stream" };
  return request("/api/pictures", { method: "POST", headers, body: file });
}

// ---- what is said ----

function say(text, busy = false) {
  if ($("status").textContent !== text) $("status").textContent = text;
  $("status").classList.toggle("busy", busy && Boolean(text));
}

function complain(sentence) {
  $("toast").querySelector("span").textContent = sentence[0].toUpperCase() + sentence.slice(1);
  $("toast").hidden = false;
}

function onStatus({ loading, missing, tiles, small }) {
  if (loading) say("Loading the model…", true);
  else if (missing) say(tiles === 1 ? "Encoding…" : `Encoding: ${tiles - missing} of ${tiles} parts`, true);
  else if (small) say("Zoom in past ×1 to see more than the file holds");
  else if (stage.showEllipses && tooSmall()) say("Zoom in to see the Gaussians");
  else say("");
}

// ---- moving about ----

function moved() {
  requests?.moved();
  update();
}

function update() {
  const slider = $("zoom");
  const part = Math.log(camera.scale / camera.minScale) / Math.log(camera.maxScale / camera.minScale);
  slider.value = Math.round(1000 * part);
  const text = `×${camera.scale < 9.95 ? camera.scale.toFixed(1) : Math.round(camera.scale)}`;
  slider.setAttribute("aria-valuetext", text);
  $("readout").textContent = text;
  $("in").disabled = camera.scale >= camera.maxScale * 0.9999;
  $("out").disabled = camera.scale <= camera.minScale * 1.0001;
  stage.invalidate();
  if (stage.compare) stage.askBicubicLater();
  aim();
}

function resize() {
  const { clientWidth, clientHeight } = $("stage");
  if (!clientWidth) return;
  const ratio = window.devicePixelRatio || 1;
  const canvas = $("stage");
  const [width, height] = [Math.round(clientWidth * ratio), Math.round(clientHeight * ratio)];
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  const above = document.querySelector(".bar").getBoundingClientRect().bottom + 10;
  const below = clientHeight - $("dock").getBoundingClientRect().top + 10;
  camera.ratio = ratio;
  camera.resize({ width, height }, { top: above * ratio, bottom: below * ratio });
  moved();
}

function onRest(complete) {
  if (stage.showEllipses && complete) askGaussians();
}

// ---- Gaussians ----

const tooSmall = () => camera.scale < LEAST_FOR_ELLIPSES * camera.ratio;

function askGaussians() {
  if (!stage.showEllipses || !current) return;
  if (tooSmall()) return ellipses.clear();
  const [from, to] = [camera.toPicture(0, 0), camera.toPicture(camera.stage.width, camera.stage.height)];
  const low = (x) => Math.max(Math.floor(x) - 1, 0);
  const box = { top: low(from.y), left: low(from.x) };
  box.height = Math.min(Math.ceil(to.y) + 1, current.height) - box.top;
  box.width = Math.min(Math.ceil(to.x) + 1, current.width) - box.left;
  if (box.height < 1 || box.width < 1 || ellipses.covers(box)) return;
  channel.send({ kind: "gaussians", picture: current.key, model: $("model").value, ...box });
}

function aim() {
  let place = hover;
  if (!place && document.activeElement === $("stage") && $("stage").matches(":focus-visible")) {
    place = { x: camera.stage.width / 2, y: camera.stage.height / 2 };
  }
  const point = place && stage.showEllipses ? camera.toPicture(place.x, place.y) : null;
  const pixel = point && { row: Math.floor(point.y), col: Math.floor(point.x) };
  const found = pixel && !tooSmall() ? ellipses.describe(pixel) : null;
  stage.probe = found ? pixel : null;
  $("probe").hidden = !found;
  if (found) {
    const title = document.createElement("b");
    title.textContent = found.pixel;
    $("probe").replaceChildren(title, found.text);
  }
  stage.invalidate();
}

function toggle(id, on) {
  $(id).setAttribute("aria-pressed", String(on));
  if (id === "compare") {
    stage.compare = on;
    $("divider").hidden = !on;
    if (on) stage.askBicubicLater();
  } else {
    stage.showEllipses = on;
    if (on && requests.complete) askGaussians();
    if (on && tooSmall()) say("Zoom in to see the Gaussians");
    else if (!requests.flight) say("");
  }
  aim();
}

const isOn = (id) => $(id).getAttribute("aria-pressed") === "true";

// ---- models and panels ----

function chooseModel(name) {
  $("model").value = $("panel-model").value = name;
  stage.forget();
  if (current) requests.look(current.key, name);
}

function openPanel(id, button) {
  const opening = $(id).hidden;
  closePanels();
  $(id).hidden = !opening;
  $(button).setAttribute("aria-expanded", String(opening));
  const first = $(id).querySelector("select, input, button:not([data-close])") ?? $(id).querySelector("[data-close]");
  if (opening) first.focus({ preventScroll: true });
}

function closePanels() {
  for (const [id, button] of [["panel", "enlarge"], ["help", "help-button"]]) {
    if ($(id).hidden) continue;
    const inside = $(id).contains(document.activeElement);
    $(id).hidden = true;
    $(button).setAttribute("aria-expanded", "false");
    if (inside) $(button).focus();
  }
}

// ---- wiring ----

function onMessage(message, payload) {
  if (message.kind === "frame") requests.frame(message, payload).catch(console.error);
  else if (message.kind === "status") requests.status(message);
  else if (message.kind === "gaussians") {
    if (message.model !== $("model").value || message.picture !== current?.key) return;
    ellipses.take(message, payload);
    aim();
  } else if (message.kind === "many") {
    ellipses.clear();
    say("Zoom in further to see the Gaussians");
    aim();
  } else if (message.kind === "gone") {
    requests.failed(message.number);
    if (message.picture === current?.key) reopen();
  } else if (message.kind === "error") {
    requests.failed(message.number);
    say("");
    complain(message.message);
  }
}

function onState(open) {
  if (open) {
    if (onState.lost) say("");
    onState.lost = false;
    requests?.again();
  } else {
    onState.lost = true;
    say("The server does not answer; trying again…", true);
  }
}

function shortcuts(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") return closePanels();
  const typing = event.target.closest?.("input:not([type=range]):not([type=radio]), select, textarea");
  if (typing) return;
  const key = event.key.toLowerCase();
  if (key === "o") return $("file").click();
  if (key === "?") return openPanel("help", "help-button");
  if (!current) return;
  const step = Math.min(camera.stage.width, camera.stage.height) * (event.shiftKey ? 0.4 : 0.1);
  const onStage = event.target === $("stage") || event.target === document.body;
  const arrows = { arrowleft: [step, 0], arrowright: [-step, 0], arrowup: [0, step], arrowdown: [0, -step] };
  const work = {
    "+": () => motion.zoomBy(1.25), "=": () => motion.zoomBy(1.25),
    "-": () => motion.zoomBy(0.8), _: () => motion.zoomBy(0.8),
    0: () => { motion.stop(); camera.fit(); moved(); },
    1: () => motion.zoomTo(1),
    c: () => toggle("compare", !isOn("compare")),
    g: () => toggle("gaussians", !isOn("gaussians")),
    e: () => openPanel("panel", "enlarge"),
  }[key];
  if (work) work();
  else if (onStage && arrows[key]) motion.moveBy(...arrows[key]);
  else return;
  event.preventDefault();
}

function wire() {
  $("choose").onclick = $("open").onclick = () => $("file").click();
  $("file").onchange = () => { openFile($("file").files[0]); $("file").value = ""; };
  $("in").onclick = () => motion.zoomBy(1.5);
  $("out").onclick = () => motion.zoomBy(1 / 1.5);
  $("fit").onclick = () => { motion.stop(); camera.fit(); moved(); };
  $("zoom").oninput = () => {
    const part = $("zoom").value / 1000;
    motion.jump(camera.minScale * (camera.maxScale / camera.minScale) ** part);
  };
  $("compare").onclick = () => toggle("compare", !isOn("compare"));
  $("gaussians").onclick = () => toggle("gaussians", !isOn("gaussians"));
  $("model").onchange = () => chooseModel($("model").value);
  $("enlarge").onclick = () => openPanel("panel", "enlarge");
  $("help-button").onclick = () => openPanel("help", "help-button");
  for (const button of document.querySelectorAll("[data-close]")) button.onclick = closePanels;
  $("toast").querySelector("button").onclick = () => { $("toast").hidden = true; };
  listen($("viewer"), $("stage"), motion, { onHover: (place) => { hover = place; if (stage.showEllipses) aim(); } });
  listenToDivider($("divider"), $("viewer"), (border) => { stage.border = border; stage.invalidate(); });
  $("stage").addEventListener("focus", aim);
  $("stage").addEventListener("blur", aim);
  addEventListener("keydown", shortcuts);
  new ResizeObserver(resize).observe($("viewer"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => stage.invalidate());
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) channel.send({ kind: "rest" }); else requests.again();
  });
  let depth = 0;
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragenter", (event) => { if (hasFiles(event)) { depth += 1; $("dropping").hidden = false; event.preventDefault(); } });
  addEventListener("dragleave", (event) => { if (hasFiles(event) && --depth <= 0) { depth = 0; $("dropping").hidden = true; } });
  addEventListener("dragover", (event) => { if (hasFiles(event)) event.preventDefault(); });
  addEventListener("drop", (event) => {
    depth = 0;
    $("dropping").hidden = true;
    if (!hasFiles(event)) return;
    event.preventDefault();
    openFile(event.dataTransfer.files[0]);
  });
  addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find((f) => f.type.startsWith("image/"));
    if (file) openFile(file);
  });
}

async function begin() {
  start = await request("/api/start");
  camera.maxScale = start.limits.maxScale;
  for (const select of [$("model"), $("panel-model")]) {
    select.replaceChildren(...start.models.map(({ name, label }) => new Option(label, name)));
  }
  $("samples").replaceChildren(...start.samples.map((sample) => {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    const image = new Image();
    image.src = `/api/pictures/${encodeURIComponent(sample.key)}/preview.png`;
    image.alt = "";
    const name = document.createElement("span");
    name.textContent = sample.name;
    button.append(image, name);
    button.onclick = () => show(sample).catch((error) => complain(error.message));
    item.append(button);
    return item;
  }));
  enlarge = new Enlarge({
    form: $("form"), factor: $("factor"), width: $("width"), height: $("height"), model: $("panel-model"),
    error: $("form-error"), job: $("job"), text: $("job-text"), progress: $("job-progress"),
    stop: $("stop"), download: $("download"), button: $("enlarge"), panel: $("panel"),
  }, { client, maxScale: start.limits.maxScale, onModel: chooseModel });
  channel = new Channel(onMessage, onState);
  requests = new Requests(channel, camera, stage, { loopback: LOOPBACK, mostPixels: start.limits.viewPixels, onStatus, onRest });
  wire();
  document.body.dataset.ready = "true";
  // For tests and the curious.
  Object.assign(window, { gaussiansr: { camera, stage, requests, ellipses, moved } });
}

begin().catch((error) => complain(error.message));
