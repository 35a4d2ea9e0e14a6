// How a cutout is looked at: the ground under it, alpha alone, loupe, box.

import { h } from "./dom.js";
import { GROUNDS } from "./grounds.js";

export class Tools {
  #view;
  #radios = new Map();
  #toggles = {};
  #colour = h("input", { type: "color", class: "colour", "aria-label": "Colour of the ground" });
  #file = h("input", { type: "file", accept: "image/*", hidden: true });
  element;

  constructor(view) {
    this.#view = view;
    this.#colour.value = view.ground.colour;
    const swatches = GROUNDS.map((ground) => this.#swatch(ground));
    this.element = h(
      "div",
      { class: "toolbar" },
      h("fieldset", { class: "grounds" }, h("legend", {}, "Ground"), ...swatches, this.#colour, this.#file),
      h(
        "div",
        { class: "row", role: "group", "aria-label": "Show" },
        this.#toggle("alpha", "Alpha"),
        this.#toggle("loupe", "Loupe 8×"),
        this.#toggle("box", "Box"),
      ),
      h("button", { type: "button", class: "quiet", onclick: toCompare }, "Compare"),
    );
    this.#colour.addEventListener("input", () => {
      view.ground.colour = this.#colour.value;
      this.#choose("colour");
    });
    this.#file.addEventListener("change", () => this.#usePicture(this.#file.files[0]));
    view.addEventListener("change", () => this.#mark());
    this.#mark();
  }

  key(key) {
    const toggle = { a: "alpha", l: "loupe", b: "box" }[key];
    if (toggle) this.#view.set({ [toggle]: !this.#view[toggle] });
    else if (key === "g") this.#next();
    else return false;
    return true;
  }

  #swatch(ground) {
    const radio = h("input", { type: "radio", name: "ground", value: ground.id, class: "hidden-control" });
    radio.addEventListener("change", () => this.#choose(ground.id));
    radio.addEventListener("click", () => ground.id === "picture" && !this.#view.ground.picture && this.#file.click());
    this.#radios.set(ground.id, radio);
    const swatch = h("span", { class: "swatch", "data-ground": ground.id });
    if (ground.colour) swatch.style.backgroundColor = ground.colour;
    return h("label", { class: "ground", title: ground.label }, radio, swatch, h("span", { class: "for-readers" }, ground.label));
  }

  #toggle(name, text) {
    const button = h("button", { type: "button", class: "toggle" }, text);
    button.addEventListener("click", () => this.#view.set({ [name]: !this.#view[name] }));
    this.#toggles[name] = button;
    return button;
  }

  #choose(id) {
    this.#view.ground.id = id;
    this.#view.set({});
  }

  #next() {
    const usable = GROUNDS.filter((ground) => ground.id !== "picture" || this.#view.ground.picture);
    const place = usable.findIndex((ground) => ground.id === this.#view.ground.id);
    this.#choose(usable[(place + 1) % usable.length].id);
  }

  #usePicture(file) {
    if (!file) return;
    const image = new Image();
    image.addEventListener("load", () => {
      this.#view.ground.picture = image;
      this.#choose("picture");
    });
    image.src = URL.createObjectURL(file);
  }

  #mark() {
    const { ground } = this.#view;
    this.#radios.get(ground.id).checked = true;
    this.#colour.hidden = ground.id !== "colour";
    const swatch = this.#radios.get("colour").nextSibling;
    swatch.style.backgroundColor = ground.colour;
    for (const [name, button] of Object.entries(this.#toggles)) {
      button.setAttribute("aria-pressed", String(this.#view[name]));
    }
  }
}

function toCompare() {
  document.getElementById("compare").scrollIntoView({ block: "nearest" });
  document.getElementById("compare-what").focus();
}
