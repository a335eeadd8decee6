// The part of a tab that shows its request as code.
import { curlOf, pythonOf } from "./code.js";
import { copyText, make } from "./dom.js";
import { Fault } from "./faults.js";
import { key } from "./jobs.js";

// The text of images is cut where it is shown; a copy has all of it.
const folded = (text) =>
  text.split(/([A-Za-z0-9+/=]{200,})/).map((part, index) => (index % 2 ? make("span", { class: "data" }, part) : part));

export class CodeBox {
  // `request()` resolves with the request of the form, or rejects with a Fault; `words(fault)` describes it.
  constructor(panel, request, words) {
    this.box = panel.querySelector("details.code");
    this.text = this.box.querySelector("pre code");
    this.request = request;
    this.words = words;
    this.write = curlOf;
    this.turn = 0;
    this.box.addEventListener("toggle", () => this.show());
    for (const button of this.box.querySelectorAll("[data-language]")) {
      button.addEventListener("click", () => this.choose(button));
    }
    this.box.querySelector(".copy").addEventListener("click", ({ target }) => copyText(this.text, target));
  }

  choose(chosen) {
    this.write = chosen.dataset.language === "python" ? pythonOf : curlOf;
    for (const button of this.box.querySelectorAll("[data-language]")) button.setAttribute("aria-pressed", button === chosen);
    this.show();
  }

  // Shows the code of the form as it is now, if the part is open.
  async show() {
    if (!this.box.open) return;
    this.turn += 1;
    const { turn } = this;
    const text = await this.request().then(
      (request) => this.write(request, Boolean(key.get())),
      (error) => (error instanceof Fault ? `# ${this.words(error)}` : Promise.reject(error)));
    if (turn === this.turn) this.text.replaceChildren(...folded(text));
  }
}
