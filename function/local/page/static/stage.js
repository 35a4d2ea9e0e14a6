// One picture before and after: slider, ground, alpha, box and loupe. All stages that share a View move together.

import { h } from "./dom.js";
import { Ground } from "./grounds.js";

const ZOOM = 8; // CSS pixels of the loupe for one pixel of the result
const CELLS = 25; // pixels of the result across the loupe, an odd number
const TALLEST = 0.68; // of the window's height
const LARGEST_SCALE = 2; // CSS pixels for one pixel of a small picture

export class View extends EventTarget {
  position = 0.5; // of the slider, 0..1
  spot = { x: 0.5, y: 0.5 }; // of the loupe, as shares of the picture
  pointed = false; // the pointer is on a stage, or keys moved the loupe
  alpha = false;
  loupe = true;
  box = false;
  ground = new Ground();

  set(fields) {
    Object.assign(this, fields);
    this.dispatchEvent(new Event("change"));
  }
}

export class Stage {
  #before = h("img", { class: "before", alt: "", decoding: "async", draggable: "false" });
  #after = h("img", { class: "after", alt: "", decoding: "async", draggable: "false" });
  #line = h("div", { class: "line", "aria-hidden": "true" }, h("span", { class: "grip" }));
  #box = h("div", { class: "box", "aria-hidden": "true" });
  #canvas = h("canvas", { class: "glass" });
  #readout = h("span", { class: "readout" });
  #loupe = h("div", { class: "loupe", "aria-hidden": "true" }, this.#canvas, this.#readout);
  #slider = h("input", { type: "range", min: "0", max: "1000", class: "slider" });
  #frame = h("div", { class: "frame" }, this.#before, this.#after, this.#box, this.#line, this.#slider, this.#loupe);
  #view;
  #subject = null; // the box in pixels of the result
  #update = () => this.#draw();
  #resized = new ResizeObserver(() => this.#fit());
  element = h("div", { class: "stage" }, this.#frame);

  constructor(view, label) {
    this.#view = view;
    this.#slider.setAttribute("aria-label", `Before and after: ${label}`);
    view.addEventListener("change", this.#update);
    for (const image of [this.#before, this.#after]) image.addEventListener("load", () => this.#fit());
    this.#before.addEventListener("error", () => this.#frame.classList.add("blank"));
    this.#slider.addEventListener("input", () => view.set({ position: this.#slider.valueAsNumber / 1000 }));
    this.#slider.addEventListener("keydown", (event) => this.#key(event));
    for (const kind of ["pointermove", "pointerdown"]) {
      this.#frame.addEventListener(kind, (event) => this.#point(event));
    }
    this.#frame.addEventListener("pointerleave", () => view.set({ pointed: false }));
    this.#resized.observe(this.element);
  }

  // before, after: addresses; after is empty while there is no result. box: [left, top, right, bottom] or null.
  show({ before, after, box }) {
    this.#subject = box;
    if (before && this.#before.getAttribute("src") !== before) this.#before.src = before;
    if (after && this.#after.getAttribute("src") !== after) this.#after.src = after;
    this.#slider.disabled = !after;
    this.#frame.classList.toggle("waiting", !after);
    this.#draw();
  }

  close() {
    this.#view.removeEventListener("change", this.#update);
    this.#resized.disconnect();
  }

  get #result() {
    return this.#after.naturalWidth ? this.#after : this.#before;
  }

  #fit() {
    const { naturalWidth: width, naturalHeight: height } = this.#result;
    const room = this.element.clientWidth;
    if (!width || !height || !room) return;
    const shown = Math.min(room, (TALLEST * window.innerHeight * width) / height, LARGEST_SCALE * width);
    this.#frame.style.width = `${Math.floor(shown)}px`;
    this.#frame.style.aspectRatio = `${width} / ${height}`;
    this.#frame.classList.remove("blank");
    this.#draw();
  }

  #draw() {
    const { position, alpha, ground } = this.#view;
    const waiting = this.#frame.classList.contains("waiting");
    const share = waiting ? 100 : position * 100;
    ground.lay(this.#frame);
    this.#before.style.clipPath = `inset(0 ${100 - share}% 0 0)`;
    this.#after.style.clipPath = `inset(0 0 0 ${share}%)`;
    this.#after.classList.toggle("grey", alpha);
    this.#line.style.left = `${share}%`;
    this.#slider.value = String(Math.round(position * 1000));
    this.#slider.setAttribute("aria-valuetext", `${Math.round(share)} % before`);
    this.#drawBox();
    this.#drawLoupe();
  }

  #drawBox() {
    const { naturalWidth: width, naturalHeight: height } = this.#after;
    this.#box.hidden = !(this.#view.box && this.#subject && width);
    if (this.#box.hidden) return;
    const [left, top, right, bottom] = this.#subject;
    this.#box.style.left = `${(left / width) * 100}%`;
    this.#box.style.top = `${(top / height) * 100}%`;
    this.#box.style.width = `${((right - left) / width) * 100}%`;
    this.#box.style.height = `${((bottom - top) / height) * 100}%`;
  }

  #drawLoupe() {
    const { loupe, pointed, spot, position, ground, alpha } = this.#view;
    const result = this.#result;
    this.#loupe.hidden = !(loupe && pointed && this.#after.naturalWidth);
    if (this.#loupe.hidden) return;
    const stage = { width: this.#frame.clientWidth, height: this.#frame.clientHeight };
    const cells = Math.min(CELLS, (Math.floor((stage.width * 0.45) / ZOOM / 2) * 2 || 2) + 1);
    const size = cells * ZOOM;
    const { naturalWidth: width, naturalHeight: height } = result;
    const x = Math.min(width - 1, Math.floor(spot.x * width));
    const y = Math.min(height - 1, Math.floor(spot.y * height));
    const left = x - (cells - 1) / 2;
    const top = y - (cells - 1) / 2;
    const context = this.#sized(size);
    const part = { x: left / width, y: top / height, width: cells / width, height: cells / height };
    ground.paint(context, size, part, stage);
    const pixels = cellsOf(this.#after, left, top, cells);
    const side = spot.x < position ? this.#before : this.#after;
    context.imageSmoothingEnabled = false;
    if (side === this.#after) {
      context.drawImage(alpha ? greyOf(pixels) : pixels.canvas, 0, 0, cells, cells, 0, 0, size, size);
    } else {
      const scale = side.naturalWidth / width; // another one than 1 if the result is enlarged
      context.drawImage(side, left * scale, top * scale, cells * scale, cells * scale, 0, 0, size, size);
    }
    cross(context, size);
    const opacity = pixels.getImageData((cells - 1) / 2, (cells - 1) / 2, 1, 1).data[3];
    this.#readout.textContent = `${side === this.#after ? "after" : "before"} ${x}, ${y}  alpha ${opacity}`;
    this.#place(size, stage);
  }

  #sized(size) {
    const ratio = window.devicePixelRatio || 1;
    this.#canvas.width = this.#canvas.height = Math.round(size * ratio);
    this.#canvas.style.width = this.#canvas.style.height = `${size}px`;
    const context = this.#canvas.getContext("2d");
    context.scale(ratio, ratio);
    return context;
  }

  // Beside the spot, on the side that has room.
  #place(size, stage) {
    const gap = 24;
    const x = this.#view.spot.x * stage.width;
    const y = this.#view.spot.y * stage.height;
    const beside = x + gap + size <= stage.width ? x + gap : x - gap - size;
    this.#loupe.style.left = `${Math.max(-8, Math.min(stage.width - size + 8, beside))}px`;
    this.#loupe.style.top = `${Math.max(0, Math.min(stage.height - size - 24, y - size / 2))}px`;
  }

  #point(event) {
    const place = this.#frame.getBoundingClientRect();
    const within = (value) => Math.min(1, Math.max(0, value));
    const spot = { x: within((event.clientX - place.left) / place.width), y: within((event.clientY - place.top) / place.height) };
    this.#view.set({ spot, pointed: true });
  }

  #key(event) {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const view = this.#view;
    if (step && event.shiftKey) {
      const { naturalWidth: width, naturalHeight: height } = this.#result;
      const within = (value) => Math.min(1, Math.max(0, value));
      const spot = { x: within(view.spot.x + step[0] / width), y: within(view.spot.y + step[1] / height) };
      view.set({ spot, pointed: true, loupe: true });
    } else if (step && step[0]) {
      view.set({ position: Math.min(1, Math.max(0, view.position + step[0] / 50)) });
    } else {
      return;
    }
    event.preventDefault();
  }
}

function cellsOf(image, left, top, cells) {
  const canvas = new OffscreenCanvas(cells, cells);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, left, top, cells, cells, 0, 0, cells, cells);
  return context;
}

function greyOf(context) {
  const { width, height } = context.canvas;
  const pixels = context.getImageData(0, 0, width, height);
  for (let at = 0; at < pixels.data.length; at += 4) {
    pixels.data.fill(pixels.data[at + 3], at, at + 3);
    pixels.data[at + 3] = 255;
  }
  context.putImageData(pixels, 0, 0);
  return context.canvas;
}

// Around the pixel in the middle.
function cross(context, size) {
  const start = (size - ZOOM) / 2;
  context.lineWidth = 1;
  context.strokeStyle = "#000000";
  context.strokeRect(start - 1.5, start - 1.5, ZOOM + 3, ZOOM + 3);
  context.strokeStyle = "#ffffff";
  context.strokeRect(start - 0.5, start - 0.5, ZOOM + 1, ZOOM + 1);
}
