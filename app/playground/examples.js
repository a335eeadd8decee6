// The loaded model's own examples: the first values of each form, and a button for each example.
import { make } from "./dom.js";
import { fill } from "./form.js";
import { onLanguage, say } from "./words.js";

const PLAIN = (example) => !example.image_prompt;
const MASKED = (example) => example.image_prompt?.mask;

const itemsOf = (uris) => uris.map((uri) => ({ uri, words: "exampleImage" }));

const urisOf = (example) => [example.image_prompt?.image ?? example.image, ...(example.images ?? [])].filter(Boolean);

export class Examples {
  constructor(tab) {
    this.tab = tab; // { name, form, fields, board }
    this.isTouched = false;
    this.labels = []; // [button, number] of buttons without a text
    tab.form.addEventListener("input", (event) => {
      if (!event.isTrusted) return;
      this.isTouched = true;
      if (event.target.type !== "number") this.release(event.target);
    });
    for (const field of Object.values(tab.fields)) field.onChange(() => this.release(field.box));
    onLanguage(() => this.translate());
  }

  // Adds the buttons. `examples` by task, from the generation_config of /v1/models.
  show(examples) {
    const isUntouched = !this.isTouched && Object.values(this.tab.fields).every((field) => !field.items.length);
    for (const box of this.tab.form.querySelectorAll("[data-examples]")) {
      const belongs = this.tab.board ? MASKED : PLAIN;
      const found = (examples[box.dataset.examples] ?? []).filter(belongs);
      const buttons = found.map((example, index) => this.button(box, example, index + 1));
      box.append(...buttons);
      box.hidden = !buttons.length;
      if (isUntouched && buttons.length) this.use(box, found[0], buttons[0]);
    }
    this.translate();
  }

  button(box, example, number) {
    const uris = urisOf(example);
    const pictures = uris.map((uri) => make("img", { src: uri, alt: "" }));
    const text = uris.length ? [] : [example.prompt ?? example.question];
    const button = make("button", { type: "button", class: "quiet", "aria-pressed": "false" }, ...pictures, ...text);
    if (uris.length) this.labels.push([button, number]);
    else button.lang = "ru";
    button.addEventListener("click", () => {
      this.isTouched = true;
      this.use(box, example, button);
    });
    return button;
  }

  use(box, example, button) {
    const { image_prompt: imagePrompt, image, images, ...texts } = example;
    const values = Object.entries(texts).map(([name, value]) => [name, [value].flat().join("\n")]);
    fill(this.tab.form, Object.fromEntries(values));
    if (images) this.tab.fields.images.set(itemsOf(images));
    else if (urisOf(example).length) this.tab.fields.image.set(itemsOf(urisOf(example)));
    if (imagePrompt) this.tab.board.load(imagePrompt.image).then(() => this.tab.board.paintMask(imagePrompt.mask));
    this.release(box);
    button.setAttribute("aria-pressed", "true");
  }

  // No example is chosen any more in the part of the form that `node` belongs to.
  release(node) {
    const part = node.closest("[data-direction]") ?? this.tab.form;
    for (const button of part.querySelectorAll("[data-examples] button")) button.setAttribute("aria-pressed", "false");
  }

  translate() {
    for (const [button, number] of this.labels) button.setAttribute("aria-label", say("example", { number }));
  }
}
