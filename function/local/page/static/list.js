// The list of pictures: thumbnail, name, how far it is.

import * as api from "./api.js";
import { bytes, h } from "./dom.js";
import { progress } from "./state.js";

export class PictureList {
  #state;
  #about;
  #element;
  #items = new Map(); // key -> {item, button, image, name, words}

  constructor(element, state, about) {
    this.#element = element;
    this.#state = state;
    this.#about = about;
    element.addEventListener("keydown", (event) => this.#key(event));
  }

  render() {
    const state = this.#state;
    const keys = [...state.pictures.keys(), ...state.sending.keys()];
    for (const [key, { item }] of this.#items) {
      if (keys.includes(key)) continue;
      const focused = item.contains(document.activeElement);
      item.remove();
      this.#items.delete(key);
      if (focused) this.#items.get(state.selected)?.button.focus();
    }
    for (const key of keys) {
      if (!this.#items.has(key)) this.#items.set(key, this.#item(key));
      this.#update(key, this.#items.get(key));
    }
    this.#element.append(...keys.map((key) => this.#items.get(key).item).filter((item, at) => this.#element.children[at] !== item));
  }

  #item(key) {
    const image = h("img", { alt: "", loading: "lazy" });
    const name = h("span", { class: "item-name" });
    const words = h("span", { class: "item-state" });
    const button = h("button", { type: "button", class: "item" }, h("span", { class: "thumb" }, image), h("span", { class: "item-text" }, name, words));
    const remove = h("button", { type: "button", class: "quiet remove" }, "×");
    image.addEventListener("error", () => (image.hidden = true));
    button.addEventListener("click", () => this.#select(key));
    remove.addEventListener("click", () => this.#remove(key));
    return { item: h("li", {}, button, remove), button, remove, image, name, words };
  }

  #update(key, parts) {
    const picture = this.#state.pictures.get(key);
    const one = picture ?? this.#state.sending.get(key);
    parts.name.textContent = one.name;
    parts.remove.setAttribute("aria-label", `Remove ${one.name}`);
    parts.button.disabled = !picture;
    if (picture && key === this.#state.selected) parts.button.setAttribute("aria-current", "true");
    else parts.button.removeAttribute("aria-current");
    const { words, kind } = picture ? this.#words(picture) : sendingWords(one);
    parts.words.textContent = words;
    parts.item.dataset.kind = kind;
    const address = this.#state.thumbnails.get(key) ?? (picture && kind !== "failed" && kind !== "waiting" ? `pictures/${key}/thumbnail` : "");
    if (address && parts.image.getAttribute("src") !== address) {
      parts.image.hidden = false;
      parts.image.src = address;
    }
  }

  #words(picture) {
    const cuts = this.#state.entry(picture.id)?.cuts ?? [];
    const open = cuts.find((cut) => cut.state !== "completed");
    if (!cuts.length) return { words: bytes(picture.bytes), kind: "waiting" };
    if (!open) return { words: cuts.some((cut) => cut.attributes.review === "true") ? "to be reviewed" : "done", kind: "done" };
    if (open.state === "failed") return { words: open.code || "failed", kind: "failed" };
    return { words: progress(this.#state, open, this.#about.models), kind: "waiting" };
  }

  #select(key) {
    this.#state.selected = key;
    this.#items.get(key).item.scrollIntoView({ block: "nearest", inline: "nearest" });
    this.#state.changed();
  }

  async #remove(key) {
    if (!this.#state.pictures.has(key)) {
      this.#state.sending.delete(key);
      this.#state.changed();
    } else {
      await api.remove(key);
    }
  }

  #key(event) {
    const keys = [...this.#state.pictures.keys()];
    const at = keys.findIndex((key) => this.#items.get(key).button === document.activeElement);
    if (at < 0) return;
    const next = { ArrowDown: at + 1, ArrowUp: at - 1, ArrowRight: at + 1, ArrowLeft: at - 1 }[event.key];
    if (next !== undefined && keys[next]) {
      this.#items.get(keys[next]).button.focus();
      this.#select(keys[next]);
    } else if (event.key === "Delete") {
      this.#remove(keys[at]);
    } else {
      return;
    }
    event.preventDefault();
  }
}

const sendingWords = (one) => (one.reason ? { words: `${one.code}: ${one.reason}`, kind: "failed" } : { words: "Sending.", kind: "waiting" });
