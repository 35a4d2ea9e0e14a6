// Variants of one picture side by side: which ones, and their stages.

import { fill, h, milliseconds, percent } from "./dom.js";
import { failure } from "./facts.js";
import { Stage } from "./stage.js";
import { ended, progress } from "./state.js";

const MODEL = "model";

export class CompareForm extends EventTarget {
  #about;
  #what = h("select", { id: "compare-what" });
  #choices = h("fieldset", { class: "compare-choices" });
  #button = h("button", { type: "button" }, "Compare");
  #hint = h("p", { class: "doc" });

  constructor(section, about) {
    super();
    this.#about = about;
    const options = about.options.filter((option) => ["choice", "boolean"].includes(option.kind));
    const names = options.map((option) => option.name);
    if (about.models.length > 1) names.push(MODEL);
    this.#what.append(...names.map((name) => h("option", { value: name }, name)));
    this.#what.addEventListener("change", () => this.#offer());
    this.#choices.addEventListener("change", () => this.#count());
    this.#button.addEventListener("click", () => this.dispatchEvent(new Event("order")));
    section.append(
      h("p", { class: "doc" }, "Cuts this picture once for each value, the other options as above, and links slider and loupe."),
      h("div", { class: "option-line" }, h("label", { for: "compare-what" }, "Vary"), this.#what),
      this.#choices,
      this.#hint,
      h("div", { class: "form-end row" }, this.#button),
    );
    this.#offer();
  }

  set ready(ready) {
    this.#button.dataset.ready = String(ready);
    this.#count();
  }

  // Variants to order: the given options with each chosen value.
  variants(options, model) {
    const name = this.#what.value;
    return this.#chosen().map((value) =>
      name === MODEL
        ? { model: value, options, label: value.split("/").at(-1) }
        : { model, options: { ...options, [name]: value }, label: `${name}=${value}` },
    );
  }

  #offer() {
    const name = this.#what.value;
    const option = this.#about.options.find((each) => each.name === name);
    const values = name === MODEL ? this.#about.models : option.kind === "boolean" ? ["false", "true"] : option.choices;
    const absent = option?.absent ?? {};
    let free = this.#about.most_variants;
    const boxes = values.map((value) => {
      const usable = !(value in absent);
      const box = h("input", { type: "checkbox", value, disabled: !usable, checked: usable && free-- > 0 });
      return h("label", { class: "check", title: absent[value] }, box, value.split("/").at(-1));
    });
    this.#choices.replaceChildren(h("legend", { class: "for-readers" }, `Values of ${name}`), ...boxes);
    const reasons = [...new Set(Object.values(absent))];
    this.#hint.textContent = reasons.join(" ");
    this.#hint.hidden = !reasons.length;
    this.#count();
  }

  #chosen = () => [...this.#choices.querySelectorAll("input:checked")].map((box) => box.value);

  #count() {
    const count = this.#chosen().length;
    this.#button.disabled = this.#button.dataset.ready !== "true" || count < 2 || count > this.#about.most_variants;
    this.#button.textContent = count < 2 ? "Choose two or more" : `Compare ${count} variants`;
  }
}

// One stage for each cut; they share a View.
export class Panes {
  #panes = new Map(); // id of a cut -> {stage, head, facts}

  constructor(parent, cuts, view, takeOptions) {
    for (const cut of cuts) {
      const stage = new Stage(view, cut.label);
      const state = h("p", { class: "state", role: "status" });
      const facts = h("div", { class: "pane-facts" });
      const head = h("div", { class: "pane-head" }, h("h3", {}, cut.label), state);
      this.#panes.set(cut.id, { stage, state, facts, takeOptions });
      parent.append(h("section", { class: "pane", "aria-label": cut.label }, head, stage.element, facts));
    }
    parent.dataset.count = String(cuts.length);
  }

  show(cuts, state, about, before) {
    for (const cut of cuts) {
      const pane = this.#panes.get(cut.id);
      const done = cut.state === "completed";
      pane.stage.show({ before: before(cut), after: done ? `cuts/${cut.id}/view` : "", box: done ? cut.message.subject.box : null });
      pane.state.textContent = progress(state, cut, about.models);
      pane.state.hidden = ended(cut);
      if (ended(cut) && !pane.facts.childElementCount) fill(pane.facts, done ? this.#facts(cut, pane) : failure(cut));
    }
  }

  close() {
    for (const { stage } of this.#panes.values()) stage.close();
  }

  #facts(cut, pane) {
    const { subject, outputs, timings_ms: timings } = cut.message;
    const words = [
      `confidence ${subject.confidence ? percent(subject.confidence, 0) : "unknown"}`,
      `uncertain ${percent(subject.uncertain)}`,
      `${outputs[0].width} × ${outputs[0].height}`,
      milliseconds(timings.total),
    ];
    const name = outputs[0].name.split("/").at(-1);
    return h(
      "div",
      {},
      h("p", { class: "doc" }, words.join(" · ")),
      h(
        "div",
        { class: "row" },
        h("a", { class: "button", href: `cuts/${cut.id}/outputs/0`, download: name }, "Download"),
        h("button", { type: "button", onclick: () => pane.takeOptions(cut) }, "Take these options"),
      ),
    );
  }
}
