// The page's own HTTP interface. Every address is relative to the page's, which holds the token.

async function answer(response) {
  const told = response.status === 204 ? null : await response.json().catch(() => ({ reason: response.statusText }));
  if (!response.ok) throw Object.assign(new Error(told.reason || "It did not work."), { code: told.code || "" });
  return told;
}

const post = async (path, body) =>
  answer(await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }));

export const about = async () => answer(await fetch("about"));
export const addSample = async (name) => answer(await fetch(`samples/${encodeURIComponent(name)}`, { method: "POST" }));
export const remove = async (picture) => answer(await fetch(`pictures/${picture}`, { method: "DELETE" }));
export const order = (picture, variants) => post("cuts", { picture, variants });
export const check = (options, file, model) => post("options", { options, file, model });

export async function addPicture(file, ref) {
  const query = new URLSearchParams({ name: file.name, ref });
  return answer(await fetch(`pictures?${query}`, { method: "POST", body: file }));
}

// heard: {all, picture, cut, removed, lost, found}
export function follow(heard) {
  const source = new EventSource("events");
  for (const name of ["all", "picture", "cut", "removed"]) {
    source.addEventListener(name, (event) => heard[name](JSON.parse(event.data)));
  }
  source.addEventListener("open", heard.found);
  source.addEventListener("error", heard.lost);
}
