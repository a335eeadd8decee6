// A reply of Send: status, time, headers that clients use, the body as it arrives, and the images in it.
import { make } from "./dom.js";

const HEADERS = ["x-request-id", "retry-after", "location", "x-job-id", "content-type"];
const LONG = 120;
const MAX_SHOWN = 200_000;
const IMAGES = { iVBORw0KGgo: "png", "/9j/": "jpeg", UklGR: "webp" };

// Shortens each long string without a blank of a JSON text: an image's base64.
export const shorten = (text) =>
  text.replace(/"(?:[^"\\\s]|\\.){120,}"/g, (part) => `"${part.slice(1, LONG)}… (${part.length - 2} characters)"`);

const pretty = (text) => {
  try {
    JSON.parse(text);
  } catch {
    return text;
  }
  return indent(text);
};

// Indents JSON without parsing its numbers: large integers keep their digits.
function indent(text) {
  let depth = 0;
  return text.replace(/"(?:[^"\\]|\\.)*"|[[{]\s*[\]}]|[[\]{},:]|\s+/g, (part) => {
    const line = () => `\n${"  ".repeat(depth)}`;
    if (/^\s/.test(part)) return "";
    if (part === "{" || part === "[") { depth += 1; return `${part}${line()}`; }
    if (part === "}" || part === "]") { depth -= 1; return `${line()}${part}`; }
    if (part === ",") return `,${line()}`;
    return part === ":" ? ": " : part;
  });
}

function imagesIn(text) {
  const found = [...text.matchAll(/"(?:b64_json|url)":\s*"(?:data:[^,"]*,)?([A-Za-z0-9+/=]{40,})"/g)].map(([, data]) => data);
  return found.flatMap((data) => {
    const kind = Object.keys(IMAGES).find((start) => data.startsWith(start));
    return kind ? [`data:image/${IMAGES[kind]};base64,${data}`] : [];
  });
}

export class Reply {
  constructor() {
    this.status = make("p", { role: "status" });
    this.stop = make("button", { type: "button", hidden: true, onclick: () => this.controller.abort() }, "Stop");
    this.headers = make("p", { class: "muted" });
    this.images = make("div", { class: "images" });
    this.text = make("pre", { tabindex: "0", role: "group", "aria-label": "Reply", hidden: true }, make("code"));
    this.node = make("div", {}, this.status, this.stop, this.headers, this.images, this.text);
  }

  async show(url, options) {
    this.controller?.abort();
    const controller = (this.controller = new AbortController());
    const started = performance.now();
    const seconds = () => `${((performance.now() - started) / 1000).toFixed(2)} s`;
    this.write("Sending…", "", []);
    this.headers.textContent = "";
    this.stop.hidden = false;
    let line = "";
    try {
      const response = await fetch(url, { ...options, signal: controller.signal });
      line = `${response.status} ${response.statusText}`.trim();
      this.headers.textContent = HEADERS.filter((name) => response.headers.has(name)).map((name) => `${name}: ${response.headers.get(name)}`).join(" · ");
      await this.read(response, () => `${line} · ${seconds()}`);
    } catch (error) {
      if (this.controller === controller) {
        this.status.textContent = error.name === "AbortError" ? `${line} stopped`.trim() : "The server does not answer. Check that it is running.";
      }
    } finally {
      if (this.controller === controller) this.stop.hidden = true;
    }
  }

  async read(response, status) {
    const type = response.headers.get("content-type") ?? "";
    if (type.startsWith("image/")) {
      this.write(status(), "", [URL.createObjectURL(await response.blob())]);
      return;
    }
    let text = "";
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      text += part.value;
      if (type.startsWith("text/event-stream")) this.write(status(), text, imagesIn(text));
    }
    this.write(status(), type.startsWith("application/json") ? pretty(text) : text, imagesIn(text));
  }

  write(status, text, images) {
    this.status.textContent = status;
    this.text.hidden = !text;
    const shown = shorten(text);
    this.text.firstChild.textContent = shown.length > MAX_SHOWN ? `${shown.slice(0, MAX_SHOWN)}…` : shown;
    this.images.replaceChildren(...images.map((src, index) => make("img", { src, alt: `Image ${index + 1} of the reply` })));
  }
}
