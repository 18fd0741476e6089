// The page that shows files dropped on it: zoom, a divider or a blink between a picture and its original, saving as PNG.

import { info } from "./cwic.js";
import { pictures } from "./install.js";

const LEVELS = [1, 2, 4, 8]; // pixels of the screen for one of the picture
const NAME = /\.cwic$/i;
const STEP = 1.25; // of the wheel

const $ = (id) => document.getElementById(id);
const stem = (name) => name.replace(/\.[^.]*$/, "").toLowerCase();
const frame = $("frame");
const get = pictures();
const items = [];
let item = null; // that is shown
const view = { zoom: 0, x: 0.5, y: 0.5, split: 50 }; // zoom 0: all of it; x, y: what is in the middle

// ---- files ----------------------------------------------------------------------------------------------------------

const kilobytes = (size) => (size < 1e6 ? `${(size / 1000).toFixed(1)} kB` : `${(size / 1e6).toFixed(2)} MB`);

async function loaded(blob) {
  const img = Object.assign(new Image(), { src: URL.createObjectURL(blob) });
  await img.decode();
  return img;
}

async function opened(file) {
  const one = { name: file.name, size: file.size, picture: null, original: null, error: null };
  items.push(one);
  list();
  const source = URL.createObjectURL(file);
  const start = performance.now();
  try {
    one.info = info(new Uint8Array(await file.slice(0, 46).arrayBuffer()));
    one.picture = await loaded(await get(source));
    one.seconds = (performance.now() - start) / 1000;
  } catch (error) {
    one.error = error.message;
  } finally {
    URL.revokeObjectURL(source);
  }
  list();
  if (one === item) show(one);
}

/** The picture that a file of another format is the original of: that of its name, or the one that is shown. */
async function paired(file) {
  const one = items.find(({ name }) => stem(name) === stem(file.name)) ?? item;
  if (!one) return say(`${file.name}: drop a .cwic file first, to compare it with`);
  try {
    one.original = await loaded(file);
    one.originalName = `${file.name}, ${kilobytes(file.size)}`;
    show(one);
  } catch {
    say(`${file.name}: this browser cannot show it`);
  }
}

function take(files) {
  const all = [...files];
  if (!all.length) return;
  $("empty").hidden = true;
  for (const id of ["open", "frame", "bar"]) $(id).hidden = false;
  const first = items.length;
  all.filter(({ name }) => NAME.test(name)).forEach(opened);
  if (items.length > first) show(items[first]);
  all.filter(({ name }) => !NAME.test(name)).forEach(paired);
}

// ---- what is shown --------------------------------------------------------------------------------------------------

function say(text, bad = true) {
  $("note").textContent = text;
  $("note").classList.toggle("bad", bad);
}

function list() {
  $("list").hidden = items.length < 2;
  $("list").replaceChildren(...items.map((one) => {
    const button = Object.assign(document.createElement("button"), { type: "button", title: one.error ?? one.name });
    button.setAttribute("aria-pressed", one === item);
    const thumb = one.picture ? Object.assign(new Image(), { src: one.picture.src, alt: "" }) : document.createElement("i");
    const name = Object.assign(document.createElement("span"), { textContent: one.name, className: one.error ? "bad" : "" });
    button.append(thumb, name);
    button.addEventListener("click", () => show(one));
    return button;
  }));
}

function facts({ size, picture, info: { lossless, mode, grey }, seconds }) {
  const pixels = picture.naturalWidth * picture.naturalHeight;
  const kind = [lossless && "lossless", grey && "grey", mode.endsWith("A") && "alpha"].filter(Boolean);
  return [`${picture.naturalWidth} × ${picture.naturalHeight}`, kilobytes(size), `${((8 * size) / pixels).toFixed(2)} bpp`, ...kind,
    `decoded in ${seconds.toFixed(2)} s`].join(" · ");
}

function show(one) {
  if (one !== item) Object.assign(view, { zoom: 0, x: 0.5, y: 0.5 });
  item = one;
  document.title = `${one.name} – CWIC viewer`;
  document.querySelector("h1").textContent = one.name;
  say(one.error ?? (one.picture ? "" : "Decoding .."), Boolean(one.error));
  for (const [id, img] of [["cwic", one.picture], ["original", one.original]]) {
    $(id).hidden = !img;
    if (img) $(id).firstElementChild.src = img.src;
  }
  const both = Boolean(one.picture && one.original);
  for (const id of ["handle", "blink", "tagoriginal", "tagcwic"]) $(id).hidden = !both;
  $("save").hidden = !one.picture;
  document.querySelector(".zoom").hidden = Boolean(one.error);
  $("facts").textContent = one.picture ? facts(one) : "";
  if (one.picture) {
    Object.assign($("save"), { href: one.picture.src, download: one.name.replace(NAME, "") + ".png" });
    $("tagcwic").textContent = `CWIC, ${kilobytes(one.size)}`;
    $("tagoriginal").textContent = one.originalName ?? "";
  }
  list();
  place();
}

/** Width and height of the picture, and how many pixels of the page one of its own takes. */
function sizes() {
  const [width, height] = [item.picture.naturalWidth, item.picture.naturalHeight];
  const fit = Math.min(frame.clientWidth / width, frame.clientHeight / height, 1 / devicePixelRatio);
  return { width, height, scale: view.zoom ? view.zoom / devicePixelRatio : fit };
}

function place() {
  for (const button of document.querySelectorAll("[data-zoom]")) {
    button.setAttribute("aria-pressed", Number(button.dataset.zoom) === view.zoom);
  }
  frame.style.setProperty("--split", `${view.split}%`);
  $("handle").setAttribute("aria-valuenow", Math.round(view.split));
  if (!item?.picture) return;
  const { width, height, scale } = sizes();
  const along = (key, length, room) => { // what is smaller than the frame stands in its middle
    const half = room / 2 / length;
    view[key] = half >= 0.5 ? 0.5 : Math.min(1 - half, Math.max(half, view[key]));
    return room / 2 - view[key] * length;
  };
  const style = {
    left: `${along("x", width * scale, frame.clientWidth)}px`, top: `${along("y", height * scale, frame.clientHeight)}px`,
    width: `${width * scale}px`, height: `${height * scale}px`,
  };
  for (const img of frame.querySelectorAll(".layer img")) Object.assign(img.style, style);
  frame.classList.toggle("sharp", scale * devicePixelRatio >= 2);
}

/** Zooms so that what is at a place of the frame, by default its middle, stays there. */
function zoom(level, x = frame.clientWidth / 2, y = frame.clientHeight / 2) {
  if (!item?.picture) return;
  const before = sizes();
  view.zoom = level;
  const { width, height, scale } = sizes();
  view.x += ((x - frame.clientWidth / 2) / width) * (1 / before.scale - 1 / scale);
  view.y += ((y - frame.clientHeight / 2) / height) * (1 / before.scale - 1 / scale);
  place();
}

function move(dx, dy) {
  if (!item?.picture) return;
  const { width, height, scale } = sizes();
  view.x -= dx / (width * scale);
  view.y -= dy / (height * scale);
  place();
}

function split(percent) {
  view.split = Math.min(100, Math.max(0, percent));
  place();
}

/** The next level up or down from what is shown. */
function step(up) {
  if (!item?.picture) return;
  const now = sizes().scale * devicePixelRatio;
  const level = up ? LEVELS.find((each) => each > now + 1e-6) : LEVELS.findLast((each) => each < now - 1e-6);
  zoom(level ?? (up ? LEVELS.at(-1) : 0));
}

// ---- hands ----------------------------------------------------------------------------------------------------------

/** `moved(dx, dy, event, other)` while a pointer that went down on an element moves; `other` is a second one's place. */
function drag(element, moved) {
  const held = new Map(); // where each pointer was last
  element.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    event.stopPropagation();
    element.setPointerCapture(event.pointerId);
    held.set(event.pointerId, event);
  });
  element.addEventListener("pointermove", (event) => {
    const before = held.get(event.pointerId);
    if (!before) return;
    const other = [...held.values()].find(({ pointerId }) => pointerId !== event.pointerId);
    held.set(event.pointerId, event);
    moved(event.clientX - before.clientX, event.clientY - before.clientY, event, other);
  });
  for (const name of ["pointerup", "pointercancel"]) element.addEventListener(name, ({ pointerId }) => held.delete(pointerId));
}

/** Zooms by a factor, about a place of the page. */
function scale(factor, { clientX, clientY }) {
  if (!item?.picture) return;
  const level = sizes().scale * devicePixelRatio * factor;
  const { left, top } = frame.getBoundingClientRect();
  zoom(Math.min(32, Math.max(1 / 16, level)), clientX - left, clientY - top);
}

drag(frame, (dx, dy, { clientX, clientY }, other) => {
  if (!other) return move(dx, dy);
  const [x, y] = [clientX - other.clientX, clientY - other.clientY]; // two fingers
  return scale(Math.hypot(x, y) / Math.max(1, Math.hypot(x - dx, y - dy)), other);
});
drag($("handle"), (dx, dy, { clientX }) => split((100 * (clientX - frame.getBoundingClientRect().left)) / frame.clientWidth));

frame.addEventListener("wheel", (event) => {
  event.preventDefault();
  scale(event.deltaY < 0 ? STEP : 1 / STEP, event);
}, { passive: false });

for (const button of document.querySelectorAll("[data-zoom]")) {
  button.addEventListener("click", () => zoom(Number(button.dataset.zoom)));
}

const blink = (on) => frame.classList.toggle("blink", on && Boolean(item?.original));
$("blink").addEventListener("pointerdown", () => blink(true));
for (const name of ["pointerup", "blur"]) addEventListener(name, () => blink(false));
addEventListener("keyup", ({ key }) => key.toLowerCase() === "b" && blink(false));

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const arrow = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
  if (event.target === $("handle") && arrow?.[0]) split(view.split - 2 * arrow[0]);
  else if (event.target === frame && arrow) move(40 * arrow[0], 40 * arrow[1]);
  else if (event.key === "+" || event.key === "=") step(true);
  else if (event.key === "-") step(false);
  else if (event.key === "0") zoom(0);
  else if (event.key.toLowerCase() === "b") blink(true);
  else return;
  event.preventDefault();
});

addEventListener("resize", place);
for (const input of document.querySelectorAll("input")) {
  input.addEventListener("change", () => {
    take(input.files);
    input.value = "";
  });
}
for (const name of ["dragover", "dragleave", "drop"]) {
  addEventListener(name, (event) => {
    event.preventDefault();
    document.body.classList.toggle("over", name === "dragover");
    if (name === "drop") take(event.dataTransfer.files);
  });
}
