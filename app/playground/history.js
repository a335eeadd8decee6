// The last results, stored in IndexedDB of this browser only.
import { byId, imageUri, make } from "./dom.js";
import { onLanguage, say, speaks } from "./words.js";

const STORE = "results";
const MAX_ENTRIES = 50;

const promised = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

let database;

function opened() {
  database ??= new Promise((resolve, reject) => {
    const request = indexedDB.open("rudolph", 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "id" }).createIndex("created", "created");
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return database;
}

// A browser may refuse storage, for example in a private window: then the page works without a history.
async function store(mode, use, instead) {
  try {
    return await use((await opened()).transaction(STORE, mode).objectStore(STORE));
  } catch {
    return instead;
  }
}

export const find = (id) => store("readonly", (entries) => promised(entries.get(id)));

export const remove = (id) => store("readwrite", (entries) => promised(entries.delete(id)));

// Stores an entry {id, created, tab, …, reply}, and drops the oldest beyond the last 50.
export const put = (entry) =>
  store("readwrite", async (entries) => {
    await promised(entries.put(entry));
    const keys = await promised(entries.index("created").getAllKeys());
    await Promise.all(keys.slice(0, Math.max(keys.length - MAX_ENTRIES, 0)).map((key) => promised(entries.delete(key))));
  });

const finished = () =>
  store("readonly", async (entries) => (await promised(entries.index("created").getAll())).filter((entry) => entry.reply).reverse(), []);

const clear = () => store("readwrite", (entries) => promised(entries.clear()));

const titleOf = ({ tab, values, reply }) =>
  `${say(tab)}: ${values.prompt ?? values.question ?? values.text ?? reply.class ?? reply.texts?.[0]?.text ?? values.texts?.split("\n")[0] ?? ""}`;

const pictureOf = ({ reply, images }) => {
  const own = Object.values(images).flat()[0]?.uri;
  return reply.images ? imageUri(reply.images[0].b64_json) : own;
};

// The list of the page. `open(entry)` shows an entry again.
export class HistoryList {
  constructor(open) {
    this.open = open;
    byId("history-clear").addEventListener("click", async () => {
      await clear();
      await this.render();
      byId("history").querySelector("summary").focus();
    });
    onLanguage(() => this.render());
  }

  async render() {
    const entries = await finished();
    byId("history").hidden = !entries.length;
    byId("history-count").textContent = `(${entries.length})`;
    byId("history-list").replaceChildren(...entries.map((entry) => this.item(entry)));
  }

  item(entry) {
    const title = titleOf(entry);
    const source = pictureOf(entry);
    const time = new Date(entry.created).toLocaleString(speaks(), { dateStyle: "short", timeStyle: "short" });
    const button = make("button", { type: "button", class: "quiet", title: say("open", { name: title }) },
      source ? make("img", { src: source, alt: "" }) : null, make("span", {}, title), make("small", {}, time));
    button.addEventListener("click", () => this.open(entry));
    return make("li", {}, button);
  }
}
