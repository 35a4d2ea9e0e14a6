// What the message says about one cut, for a person.

import { bytes, copyButton, h, milliseconds, percent } from "./dom.js";

const STEPS = ["download", "decode", "segment", "matte", "upscale", "encode", "upload"];

export function failure(cut) {
  return h(
    "div",
    { class: "failure", role: "alert" },
    h("p", {}, h("code", {}, cut.code || "no outcome")),
    h("p", {}, cut.reason),
    retries(cut),
  );
}

export function facts(cut, about, takeOptions) {
  const { message } = cut;
  return h(
    "div",
    { class: "fact-list" },
    measures(cut, about),
    timings(message.timings_ms),
    retries(cut),
    notes(message.notes),
    h("div", { class: "row downloads" }, ...message.outputs.map((output, number) => download(cut, output, number)), takeOptions),
    json(cut),
  );
}

export function measures(cut, about) {
  const { subject, outputs, model } = cut.message;
  const known = subject.confidence > 0;
  const items = [
    measure("Coverage", percent(subject.coverage), subject.coverage, "mean opacity"),
    measure("Uncertain", percent(subject.uncertain), subject.uncertain, "share of soft pixels"),
    measure("Confidence", known ? percent(subject.confidence, 0) : "unknown", known ? subject.confidence : 0, "probability that the cutout is good"),
    text("Result", `${outputs[0].width} × ${outputs[0].height}`, `${bytes(outputs[0].bytes)}, ${outputs[0].content_type.split("/")[1]}`),
    text("Model", model.id.split("/").at(-1), `${model.device}, ${model.dtype}`),
  ];
  const review = cut.attributes.review === "true";
  return h(
    "dl",
    { class: "measures" },
    ...items,
    review && h("div", { class: "review" }, h("dt", {}, "Review"), h("dd", {}, `asked for: confidence below ${about.review_below}`)),
  );
}

function measure(name, value, share, title) {
  const bar = h("span", { class: "bar", "aria-hidden": "true" }, h("span", { class: "bar-fill" }));
  bar.firstChild.style.width = `${share * 100}%`;
  return h("div", { title }, h("dt", {}, name), h("dd", {}, value, bar));
}

const text = (name, value, more) => h("div", {}, h("dt", {}, name), h("dd", {}, value, h("span", { class: "more" }, more)));

// One bar of the steps that ran, and the same in words.
function timings(told) {
  const steps = STEPS.filter((step) => told[step] > 0);
  const sum = steps.reduce((total, step) => total + told[step], 0) || 1;
  const parts = steps.map((step) => {
    const part = h("span", { class: "step", "data-step": step });
    part.style.flexGrow = String(told[step] / sum);
    return part;
  });
  return h(
    "section",
    { class: "timings", "aria-label": "Timings" },
    h("h3", {}, `Time ${milliseconds(told.total)}`),
    h("div", { class: "steps", "aria-hidden": "true" }, ...parts),
    h(
      "ul",
      {},
      ...steps.map((step) =>
        h("li", {}, h("span", { class: "key", "data-step": step, "aria-hidden": "true" }), `${step} ${milliseconds(told[step])}`),
      ),
    ),
  );
}

function retries(cut) {
  if (!cut.retries.length) return null;
  return h(
    "section",
    { class: "retries" },
    h("h3", {}, "Retries"),
    h(
      "ol",
      {},
      ...cut.retries.map((retry) =>
        h("li", {}, `Attempt ${retry.attempt} was answered ${retry.status || "not at all"}: ${retry.answer} The event was delivered again.`),
      ),
    ),
  );
}

function notes(told) {
  const entries = Object.entries(told);
  if (!entries.length) return null;
  return h("ul", { class: "notes" }, ...entries.map(([name, said]) => h("li", {}, h("code", {}, name), ` ${said}`)));
}

function download(cut, output, number) {
  const name = output.name.split("/").at(-1);
  const link = h("a", { class: number ? "button" : "button primary", href: `cuts/${cut.id}/outputs/${number}`, download: name });
  link.append(`Download ${name}`);
  return link;
}

function json(cut) {
  const shown = JSON.stringify(cut.message, null, 2);
  const attributes = JSON.stringify(cut.attributes, null, 2);
  return h(
    "details",
    { class: "message" },
    h("summary", {}, "Message"),
    h("h3", {}, "Data ", copyButton(() => shown, "the message")),
    h("pre", { tabindex: "0", role: "group", "aria-label": "Data of the message" }, shown),
    h("h3", {}, "Attributes"),
    h("pre", { tabindex: "0", role: "group", "aria-label": "Attributes of the message" }, attributes),
  );
}
