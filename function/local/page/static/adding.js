// Files in: dropped, pasted, picked, or a folder of them. Each has a thumbnail at once.

import * as api from "./api.js";
import { $ } from "./dom.js";

const THUMBNAIL = 192; // pixels of the longer side

export class Adding {
  #state;
  #about;
  #added;
  #last = Promise.resolve(); // files go to the server one after the other, in their order

  // added: called with each new picture, and whether it is the first of its files.
  constructor(state, about, added) {
    this.#state = state;
    this.#about = about;
    this.#added = added;
    for (const [button, input] of [["pick", "files"], ["pick-folder", "folder"]]) {
      $(button).addEventListener("click", () => $(input).click());
      $(input).addEventListener("change", () => {
        this.take([...$(input).files]);
        $(input).value = "";
      });
    }
    document.addEventListener("paste", (event) => event.clipboardData.files.length && this.take([...event.clipboardData.files]));
    this.#listenForDrops();
  }

  take(given) {
    const files = given.filter((file) => !file.name.startsWith("."));
    for (const [number, file] of files.entries()) {
      const ref = `${Date.now()}-${Math.random()}`;
      this.#state.sending.set(ref, { ref, name: file.name, code: "", reason: "" });
      this.#thumbnail(file, ref);
      this.#last = this.#last.then(() => this.#send(file, ref, number === 0));
    }
    this.#state.changed();
  }

  async #send(file, ref, first) {
    try {
      if (file.size > this.#about.most_bytes) {
        const reason = `The file has more than ${this.#about.most_bytes} bytes, the most that the service takes.`;
        throw Object.assign(new Error(reason), { code: "upload_too_large" });
      }
      this.#added(await api.addPicture(file, ref), first);
    } catch (error) {
      this.#state.sending.set(ref, { ref, name: file.name, code: error.code || "not sent", reason: error.message });
      this.#state.changed();
    }
  }

  async #thumbnail(file, ref) {
    let bitmap;
    try {
      bitmap = await createImageBitmap(file);
    } catch {
      return; // a format that the browser does not show: the server makes the thumbnail
    }
    const scale = Math.min(1, THUMBNAIL / Math.max(bitmap.width, bitmap.height));
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(bitmap.width * scale));
    canvas.height = Math.max(1, Math.round(bitmap.height * scale));
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    bitmap.close();
    this.#keep(this.#state.thumbnails, ref, canvas.toDataURL());
    this.#keep(this.#state.originals, ref, URL.createObjectURL(file));
    this.#state.changed();
  }

  // The picture may have come before its thumbnail was made.
  #keep(kept, ref, address) {
    kept.set(ref, address);
    for (const picture of this.#state.pictures.values()) {
      if (picture.ref === ref) kept.set(picture.id, address);
    }
  }

  #listenForDrops() {
    let depth = 0;
    const carriesFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
    const show = (shown) => ($("drop").hidden = !shown);
    document.addEventListener("dragenter", (event) => carriesFiles(event) && show(++depth > 0));
    document.addEventListener("dragleave", (event) => carriesFiles(event) && show(--depth > 0));
    document.addEventListener("dragover", (event) => carriesFiles(event) && event.preventDefault());
    document.addEventListener("drop", async (event) => {
      depth = 0;
      show(false);
      if (!carriesFiles(event)) return;
      event.preventDefault();
      this.take(await filesOf(event.dataTransfer));
    });
  }
}

// Files, also those in dropped folders, in the order of their paths.
async function filesOf(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files];
  const files = [];
  for (const entry of entries) await walk(entry, files);
  return files;
}

async function walk(entry, files) {
  if (entry.isFile) {
    files.push(await new Promise((found, failed) => entry.file(found, failed)));
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((found, failed) => reader.readEntries(found, failed)); // a hundred at a time
    if (!some.length) return;
    for (const each of some.sort((a, b) => a.name.localeCompare(b.name))) await walk(each, files);
  }
}
