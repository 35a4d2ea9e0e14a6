// What the page knows: pictures and cuts as the server tells them, and files on their way to it.

export class State extends EventTarget {
  pictures = new Map(); // id -> {id, name, bytes, ref}
  cuts = new Map(); // id -> cut, oldest first
  sending = new Map(); // ref -> {ref, name, code, reason}: a file that has no picture yet
  thumbnails = new Map(); // ref or id -> address
  originals = new Map(); // ref or id -> address of the file itself, if the browser can show it
  selected = ""; // id of a picture
  shown = new Map(); // id of a picture -> id of a cut or of a group
  #due = false;

  changed() {
    if (this.#due) return;
    this.#due = true;
    queueMicrotask(() => {
      this.#due = false;
      this.dispatchEvent(new Event("change"));
    });
  }

  all({ pictures, cuts }) {
    this.pictures = new Map(pictures.map((picture) => [picture.id, picture]));
    this.cuts = new Map(cuts.map((cut) => [cut.id, cut]));
    if (!this.pictures.has(this.selected)) this.selected = pictures.at(0)?.id ?? "";
    this.changed();
  }

  picture(picture) {
    this.pictures.set(picture.id, picture);
    this.sending.delete(picture.ref);
    for (const kept of [this.thumbnails, this.originals]) {
      if (kept.has(picture.ref)) kept.set(picture.id, kept.get(picture.ref));
    }
    if (!this.selected) this.selected = picture.id;
    this.changed();
  }

  cut(cut) {
    const known = this.cuts.has(cut.id);
    this.cuts.set(cut.id, cut);
    if (!known) this.shown.set(cut.picture, cut.group || cut.id);
    this.changed();
  }

  removed({ picture }) {
    const ids = [...this.pictures.keys()];
    const place = ids.indexOf(picture);
    this.pictures.delete(picture);
    for (const cut of this.cutsOf(picture)) this.cuts.delete(cut.id);
    if (this.selected === picture) this.selected = ids[place + 1] ?? ids[place - 1] ?? "";
    this.changed();
  }

  cutsOf = (picture) => [...this.cuts.values()].filter((cut) => cut.picture === picture);

  // Cuts and groups of cuts of a picture, in order: [{id, cuts, label}]
  entries(picture) {
    const entries = new Map();
    for (const cut of this.cutsOf(picture)) {
      const id = cut.group || cut.id;
      if (!entries.has(id)) entries.set(id, { id, cuts: [] });
      entries.get(id).cuts.push(cut);
    }
    return [...entries.values()];
  }

  // The entry that is shown of a picture: the chosen one, else its last.
  entry(picture) {
    const entries = this.entries(picture);
    return entries.find((entry) => entry.id === this.shown.get(picture)) ?? entries.at(-1);
  }

  // Queued cuts that come before this one.
  ahead(cut) {
    const queued = [...this.cuts.values()].filter((other) => other.state === "queued");
    return queued.findIndex((other) => other.id === cut.id);
  }
}

export const ended = (cut) => cut.state === "completed" || cut.state === "failed";

// What was asked for, in a few words.
export function wish(cut, models) {
  if (cut.label) return cut.label;
  const words = Object.entries(cut.options).map(([name, text]) => `${name}=${text}`);
  if (models.length > 1 && cut.model !== models[0]) words.unshift(cut.model.split("/").at(-1));
  return words.join(", ") || "defaults";
}

// How far a cut is, in a sentence.
export function progress(state, cut, models) {
  const again = cut.retries.length
    ? ` Attempt ${cut.retries.length + 1}: the last one was answered ${answerOf(cut.retries.at(-1))}`
    : "";
  if (cut.state === "queued") {
    const ahead = state.ahead(cut);
    return ahead ? `Queued, ${ahead} before it.` : "Queued, it is next.";
  }
  if (cut.state === "starting") {
    return cut.model === models[0] ? "Uploading." : `Starting the server of ${cut.model}.`;
  }
  if (cut.state === "working") return cut.retries.length ? `Retry.${again}` : "Cutting out.";
  return "";
}

function answerOf(retry) {
  return `${retry.status || "not at all"}${retry.answer ? `, ${retry.answer}` : ""}`;
}
