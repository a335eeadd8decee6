// A field for images: chosen, dropped, pasted, from an example or from a result; with thumbnails.
import { dataUri, make } from "./dom.js";
import { Fault } from "./faults.js";
import { onLanguage, say } from "./words.js";

const TYPES = ["image/png", "image/jpeg", "image/webp"];
const MAX_BYTES = 10_000_000;
const MAX_BASE64 = 15_500_000; // of a request's 16 MB, the rest is for texts

const megabytes = (bytes) => (Math.ceil(bytes / 100_000) / 10).toString();

export class ImageField {
  // `box` is the element with data-images, which names the field of the request.
  constructor(box) {
    this.box = box;
    this.name = box.dataset.images;
    this.isMany = "many" in box.dataset;
    this.items = []; // { name, uri, isFile }
    this.listeners = [];
    this.build();
    onLanguage(() => this.render());
  }

  build() {
    this.label = make("span");
    this.button = make("span", { class: "button quiet" });
    this.hint = make("small", { id: `${this.box.closest("[role=tabpanel]").id}-${this.name}-hint`, "data-words": "dropHint" });
    this.input = make("input", {
      type: "file", name: this.name, accept: TYPES.join(), multiple: this.isMany, class: "file", "aria-describedby": this.hint.id,
      onchange: () => {
        const files = [...this.input.files];
        this.input.value = ""; // so that the same file can be chosen again
        this.add(files);
      },
    });
    this.thumbnails = make("ul", { class: "thumbnails" });
    this.box.append(make("label", { class: "chooser" }, this.label, this.input, this.button), this.hint, this.thumbnails);
  }

  // Takes files; shows a fault for those that the server would refuse.
  async add(files) {
    const form = this.box.closest("form");
    const fault = files.map(faultOf).find(Boolean);
    const good = files.filter((file) => !faultOf(file));
    const taken = this.isMany ? good : good.slice(0, 1);
    const items = await Promise.all(taken.map(async (file) => ({ name: file.name || "image.png", uri: await dataUri(file), isFile: true })));
    if (items.length) this.set(this.isMany ? [...this.items.filter((item) => item.isFile), ...items] : items);
    if (fault) form.dispatchEvent(new CustomEvent("fault", { detail: new Fault(fault.key, fault.values, this.name) }));
    else if (good.length > taken.length) form.dispatchEvent(new CustomEvent("fault", { detail: new Fault("oneImage", {}, this.name) }));
    else form.dispatchEvent(new CustomEvent("fault", { detail: null }));
  }

  set(items) {
    this.items = items;
    this.render();
    for (const listener of this.listeners) listener(items);
  }

  // Calls `listener` with the items after each change.
  onChange(listener) {
    this.listeners.push(listener);
  }

  require() {
    if (!this.items.length) throw new Fault(this.isMany ? "needImages" : "needImage", {}, this.name);
    const size = this.items.reduce((sum, item) => sum + item.uri.length, 0);
    if (size > MAX_BASE64) {
      throw new Fault("filesSize", { size: megabytes(size * 0.75), max: megabytes(MAX_BASE64 * 0.75) }, this.name);
    }
    return this.items;
  }

  render() {
    this.label.textContent = say(this.isMany ? "images" : "image");
    this.button.textContent = say(this.isMany ? "chooseMany" : "choose");
    this.thumbnails.replaceChildren(...this.items.map((item) => this.thumbnail(item)));
    this.thumbnails.hidden = !this.items.length;
  }

  thumbnail(item) {
    const name = nameOf(item);
    const picture = make("img", { src: item.uri, alt: "" });
    picture.addEventListener("error", () => {
      const detail = new Fault("fileDamaged", { name }, this.name);
      this.box.closest("form").dispatchEvent(new CustomEvent("fault", { detail }));
    });
    const remove = make("button", { type: "button", class: "quiet remove", "aria-label": say("remove", { name }) }, "×");
    remove.addEventListener("click", () => {
      this.set(this.items.filter((other) => other !== item));
      this.input.focus();
    });
    return make("li", {}, picture, make("span", {}, name), remove);
  }
}

// A name for people. Images without a file have the key of a text.
export const nameOf = (item) => item.name ?? say(item.words);

const faultOf = (file) => {
  const name = file.name || "image";
  if (!TYPES.includes(file.type)) return { key: "fileType", values: { name } };
  if (file.size > MAX_BYTES) return { key: "fileSize", values: { name, size: megabytes(file.size) } };
  return null;
};

// Files that are dropped or pasted anywhere on the page go to the visible image field: `fieldFor(count)` finds it.
export function takeFilesAnywhere(fieldFor) {
  const take = (event, data) => {
    const files = [...(data?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    fieldFor(files.length).add(files);
  };
  addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dropping");
  });
  addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    take(event, event.dataTransfer);
  });
  addEventListener("paste", (event) => take(event, event.clipboardData));
}
