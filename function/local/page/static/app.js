// Puts the page together: the server's events change the state, each change draws what depends on it.

import { Adding } from "./adding.js";
import * as api from "./api.js";
import { CompareForm, Panes } from "./compare.js";
import { $, fill, h } from "./dom.js";
import { facts, failure } from "./facts.js";
import { OptionsForm } from "./form.js";
import { PictureList } from "./list.js";
import { Stage, View } from "./stage.js";
import { State, ended, progress, wish } from "./state.js";
import { offerThemes } from "./theme.js";
import { Tools } from "./tools.js";

const about = await api.about();
const state = new State();
const view = new View();
const tools = new Tools(view);
const form = new OptionsForm($("form"), $("lines"), about);
const compare = new CompareForm($("compare"), about);
const list = new PictureList($("list"), state, about);
const model = $("model");
let showing = { id: "", stage: null, panes: null, facts: "" };

// ---- what people ask for

const order = (picture, variants) => api.order(picture, variants).catch((error) => tell(error.message));
const cutAsAsked = (picture) => form.valid && order(picture, [{ model: model.value, options: form.changed }]);

function addedPicture(picture, select) {
  state.picture(picture);
  if (select) state.selected = picture.id;
  state.changed();
  cutAsAsked(picture.id);
}

function takeOptions(cut) {
  form.set(cut.options);
  model.value = cut.model;
  draw();
  $("form").scrollIntoView({ block: "nearest" });
}

function tell(sentence) {
  $("state").hidden = false;
  $("state").textContent = sentence;
}

// ---- drawing

function draw() {
  const picture = state.pictures.get(state.selected);
  list.render();
  $("welcome").hidden = Boolean(picture);
  $("work").hidden = !picture;
  compare.ready = Boolean(picture) && form.valid;
  form.about({ file: picture?.name ?? "PICTURE", model: model.value, pictures: state.pictures.size });
  if (picture) drawPicture(picture);
  else clear();
}

function drawPicture(picture) {
  const entry = state.entry(picture.id);
  $("name").textContent = picture.name;
  drawChips(picture, entry);
  const id = entry ? `${entry.id} ${entry.cuts.length}` : picture.id; // the cuts of a group come one by one
  if (showing.id !== id) begin(id, picture, entry);
  $("state").hidden = Boolean(showing.panes);
  if (showing.panes) showing.panes.show(entry.cuts, state, about, before);
  else drawSingle(picture, entry?.cuts[0]);
}

function drawChips(picture, shown) {
  const chips = state.entries(picture.id).map((entry) => {
    const words = entry.cuts.length > 1 ? `${entry.cuts.length} variants: ${entry.cuts[0].label.split("=")[0]}` : wish(entry.cuts[0], about.models);
    const chip = h("button", { type: "button", class: "chip", "aria-pressed": String(entry.id === shown.id), "data-key": entry.id }, words);
    chip.addEventListener("click", () => {
      state.shown.set(picture.id, entry.id);
      draw();
    });
    return chip;
  });
  fill($("chips"), ...chips);
  $("chips").hidden = chips.length < 2;
}

function clear() {
  showing.stage?.close();
  showing.panes?.close();
  showing = { id: "", stage: null, panes: null, facts: "" };
  $("stages").replaceChildren();
  $("facts").replaceChildren();
}

function begin(id, picture, entry) {
  clear();
  showing.id = id;
  if (entry && entry.cuts.length > 1) {
    showing.panes = new Panes($("stages"), entry.cuts, view, takeOptions);
    return;
  }
  showing.stage = new Stage(view, picture.name);
  $("stages").dataset.count = "1";
  $("stages").append(showing.stage.element);
}

function drawSingle(picture, cut) {
  const done = cut?.state === "completed";
  showing.stage.element.hidden = Boolean(cut) && cut.state === "failed";
  showing.stage.show({ before: cut ? before(cut) : "", after: done ? `cuts/${cut.id}/view` : "", box: done ? cut.message.subject.box : null });
  const words = cut ? progress(state, cut, about.models) : "";
  $("state").textContent = words;
  $("state").hidden = !words;
  if (!cut || !ended(cut) || showing.facts === cut.id) return;
  showing.facts = cut.id;
  const take = h("button", { type: "button", onclick: () => takeOptions(cut) }, "Take these options");
  fill($("facts"), done ? facts(cut, about, take) : failure(cut));
}

// The file itself until the service has read it, then what the service read: upright, in its colours.
const before = (cut) =>
  cut.state === "completed" ? `pictures/${cut.picture}/before` : (state.originals.get(cut.picture) ?? state.thumbnails.get(cut.picture) ?? "");

// ---- the page's parts

model.append(...about.models.map((name) => h("option", { value: name }, name === "embedded" ? "embedded (demo)" : name)));
model.addEventListener("change", draw);
$("tools").append(tools.element);
$("samples").append(
  ...about.samples.map((name) =>
    h(
      "button",
      { type: "button", class: "sample", onclick: async () => addedPicture(await api.addSample(name), true) },
      h("img", { src: `samples/${name}`, alt: "" }),
      name,
    ),
  ),
);
$("keys-button").addEventListener("click", () => $("keys").showModal());
$("stages").addEventListener("keydown", (event) => {
  if (event.target.classList.contains("slider") && !event.ctrlKey && !event.metaKey && tools.key(event.key.toLowerCase())) event.preventDefault();
});
offerThemes($("theme"));
new Adding(state, about, addedPicture);

form.addEventListener("checked", draw);
form.addEventListener("order", () => state.selected && cutAsAsked(state.selected));
form.addEventListener("order-all", () => [...state.pictures.keys()].forEach(cutAsAsked));
compare.addEventListener("order", () => order(state.selected, compare.variants(form.changed, model.value)));
state.addEventListener("change", draw);

api.follow({
  all: (told) => state.all(told),
  picture: (told) => state.picture(told),
  cut: (told) => state.cut(told),
  removed: (told) => state.removed(told),
  found: () => ($("lost").hidden = true),
  lost: () => {
    $("lost").textContent = "The page has lost its server. If it was ended, start it again and open the new address.";
    $("lost").hidden = false;
  },
});
