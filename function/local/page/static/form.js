// The options as a form, made from the service's own table, and the command lines that give the same result.

import * as api from "./api.js";
import { copyButton, h } from "./dom.js";

const CHECK_AFTER_MS = 120;
const PARTS = { cut: "Cut", result: "Result" };
const LINES = { cloud: "Upload to the service", local: "Run on this machine" };

export class OptionsForm extends EventTarget {
  #fields = new Map(); // name -> {option, control, row, problem, reset}
  #form;
  #lines = new Map();
  #problem = h("p", { class: "problem", role: "alert", hidden: true });
  #submit = h("button", { class: "primary", type: "submit" }, "Cut again");
  #all = h("button", { type: "button" }, "Cut all");
  #timer = 0;
  #checks = 0;
  changed = {}; // {name: canonical text} of what differs from the service's own options
  valid = true;
  file = "PICTURE";
  model = "";

  constructor(form, lines, about) {
    super();
    this.#form = form;
    const parts = Object.entries(PARTS).map(([part, title]) => this.#part(title, about.options.filter((option) => option.part === part)));
    const reset = h("button", { type: "button", class: "quiet", onclick: () => this.set({}) }, "Reset all");
    const explain = h("button", { type: "button", class: "quiet toggle", "aria-pressed": "false" }, "Explain");
    explain.addEventListener("click", () => explain.setAttribute("aria-pressed", String(form.classList.toggle("explained"))));
    form.append(h("div", { class: "form-top" }, h("h2", {}, "Options"), explain, reset), ...parts);
    form.append(h("div", { class: "form-end sticky" }, this.#problem, h("div", { class: "row" }, this.#submit, this.#all)));
    form.addEventListener("input", () => this.#check());
    form.addEventListener("change", () => this.#check());
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.dispatchEvent(new Event("order"));
    });
    this.#all.addEventListener("click", () => this.dispatchEvent(new Event("order-all")));
    for (const [name, title] of Object.entries(LINES)) lines.append(this.#line(name, title));
    this.set(about.start);
  }

  // {name: text} of all that was changed, as it was typed.
  texts() {
    const texts = {};
    for (const [name, { option, control }] of this.#fields) {
      const text = read(control);
      if (text !== option.default) texts[name] = text;
    }
    return texts;
  }

  set(texts) {
    for (const [name, { option, control }] of this.#fields) write(control, texts[name] ?? option.default);
    this.#check(0);
  }

  about({ file, model, pictures }) {
    this.#submit.disabled = !pictures || !this.valid;
    this.#all.disabled = !this.valid;
    this.#all.hidden = pictures < 2;
    this.#all.textContent = `Cut all ${pictures}`;
    if (file === this.file && model === this.model) return;
    Object.assign(this, { file, model });
    this.#check(0);
  }

  #part(title, options) {
    return h("fieldset", { class: "part" }, h("legend", {}, title), ...options.map((option) => this.#row(option)));
  }

  #row(option) {
    const id = `option-${option.name}`;
    const control = controlOf(option, id);
    const problem = h("p", { class: "problem", id: `${id}-problem`, hidden: true });
    const reset = h("button", { type: "button", class: "quiet reset", "aria-label": `Reset ${option.name}`, hidden: true }, "reset");
    const mark = h("span", { class: "mark", hidden: true }, h("span", { class: "for-readers" }, " changed"));
    const doc = h("p", { class: "doc", id: `${id}-doc` }, option.doc, range(option));
    control.setAttribute("aria-describedby", `${id}-doc ${id}-problem`);
    const label = h("label", { for: id }, h("code", {}, option.name), mark);
    const picker = option.kind === "colour" ? colourPicker(control, option) : null;
    const row = h("div", { class: "option", title: doc.textContent }, h("div", { class: "option-line" }, label, reset, picker, control), doc, problem);
    reset.addEventListener("click", () => {
      write(control, option.default);
      control.focus();
      this.#check(0);
    });
    this.#fields.set(option.name, { option, control, row, problem, reset, mark });
    return row;
  }

  #line(name, title) {
    const line = h("code", {});
    this.#lines.set(name, line);
    const block = h("pre", { tabindex: "0", role: "group", "aria-label": title }, line);
    return h("div", { class: "shell" }, h("div", { class: "form-top" }, h("h3", {}, title), copyButton(() => line.textContent, title)), block);
  }

  #check(after = CHECK_AFTER_MS) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(async () => {
      const number = ++this.#checks;
      const told = await api.check(this.texts(), this.file, this.model);
      if (number === this.#checks) this.#tell(told);
    }, after);
  }

  #tell({ changed, problems, problem, commands }) {
    this.changed = changed;
    this.valid = !problem && !Object.keys(problems).length;
    const typed = this.texts();
    for (const [name, field] of this.#fields) {
      const differs = name in (this.valid ? changed : typed);
      field.row.classList.toggle("changed", differs);
      field.mark.hidden = field.reset.hidden = !differs;
      field.problem.textContent = problems[name] ?? "";
      field.problem.hidden = !problems[name];
      field.control.setAttribute("aria-invalid", String(name in problems));
    }
    this.#problem.textContent = problem;
    this.#problem.hidden = !problem;
    for (const [name, line] of this.#lines) line.textContent = this.valid ? commands[name] : "—";
    this.dispatchEvent(new Event("checked"));
  }
}

function controlOf(option, id) {
  if (option.kind === "boolean") return h("input", { type: "checkbox", id });
  if (option.kind === "choice") {
    const choices = option.choices.map((choice) =>
      h("option", { value: choice, disabled: choice in option.absent, title: option.absent[choice] }, choice),
    );
    return h("select", { id }, ...choices);
  }
  if (option.kind === "number" || option.kind === "integer") {
    const step = option.step || (option.high - option.low > 1 ? 0.1 : 0.01);
    return h("input", { type: "number", id, min: `${option.low}`, max: `${option.high}`, step: `${step}` });
  }
  return h("input", { type: "text", id, spellcheck: "false", autocomplete: "off" });
}

function colourPicker(control, option) {
  const picker = h("input", { type: "color", class: "colour", "aria-label": `Pick ${option.name}` });
  picker.addEventListener("input", () => (control.value = picker.value));
  return picker;
}

function range(option) {
  if (option.kind !== "number" && option.kind !== "integer") return "";
  return ` (${option.low} to ${option.high}${option.step === 2 ? ", odd" : ""})`;
}

const read = (control) => (control.type === "checkbox" ? String(control.checked) : control.value.trim());

function write(control, text) {
  if (control.type === "checkbox") control.checked = text === "true";
  else control.value = text;
}
