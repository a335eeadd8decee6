// The form of a route: its parameters and body as fields, the curl line that they make, and Send.
import { make, prose } from "./dom.js";
import { Reply } from "./reply.js";
import { jsonOf } from "./schema.js";

const KEY = "rudolph-key"; // the playground uses the same one
const quote = (text) => `'${String(text).replaceAll("'", "'\\''")}'`;

export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY)),
};

// A body that is a file is described, but the form sends the same image as JSON.
const FORMS = ["application/json", "multipart/form-data"];

const isFile = (schema) => Boolean(schema.contentMediaType);

export class TryForm {
  // `route`: {path, method, details}.
  constructor(schemas, route) {
    Object.assign(this, { schemas, ...route });
    this.content = this.details.requestBody?.content ?? {};
    this.reply = new Reply();
    this.node = this.build();
    this.chooseType();
  }

  build() {
    this.parameters = (this.details.parameters ?? []).map((parameter) => ({ ...parameter, input: this.parameter(parameter) }));
    const types = Object.keys(this.content).filter((type) => FORMS.includes(type));
    this.type = make("select", { onchange: () => this.chooseType() }, ...types.map((type) => make("option", {}, type)));
    this.body = make("div");
    this.curl = make("pre", {}, make("code"));
    this.send = make("button", { type: "submit", class: "send" }, "Send");
    const copy = make("button", { type: "button", onclick: () => this.copy(copy) }, "Copy curl");
    const form = make("form", { onsubmit: (event) => { event.preventDefault(); this.run(); }, oninput: () => this.showCurl() },
      this.parameters.map(({ name, input }) => make("label", {}, make("code", {}, name), input)),
      types.length > 1 ? make("label", {}, "Content-Type", this.type) : null,
      this.body, this.curl, make("div", { class: "tools" }, this.send, copy), this.reply.node);
    form.noValidate = true; // a mistake is sent too, so that its error is shown
    return form;
  }

  parameter({ name, in: place, schema, example }) {
    const value = place === "path" ? (example ?? schema?.examples?.[0] ?? "") : "";
    return make("input", { name, value, placeholder: place === "path" ? "required" : (schema?.examples?.[0] ?? "") });
  }

  chooseType() {
    this.body.replaceChildren();
    const content = this.content[this.type.value];
    this.fields = null;
    this.text = null;
    if (this.type.value === "multipart/form-data") this.buildForm(content);
    else if (content) {
      const example = content.example ?? Object.values(content.examples ?? {})[0]?.value ?? {};
      const json = jsonOf(example, 2);
      this.text = make("textarea", { rows: Math.min(json.split("\n").length + 1, 16), spellcheck: "false", wrap: "off" });
      this.text.value = json;
      this.body.append(make("label", {}, "Body", this.text));
    }
    this.showCurl();
  }

  buildForm({ schema, example = {} }) {
    this.fields = Object.entries(this.schemas.resolve(schema).properties).map(([name, raw]) => {
      const field = this.schemas.resolve(raw);
      const isList = field.type === "array";
      const takesFile = isFile(isList ? this.schemas.resolve(field.items) : field);
      const values = takesFile || example[name] === undefined ? [] : [example[name]].flat();
      const input = takesFile
        ? make("input", { name, type: "file", multiple: isList })
        : make(isList ? "textarea" : "input", { name, rows: isList ? 3 : null });
      if (!takesFile) input.value = values.map((value) => (typeof value === "object" ? jsonOf(value) : value)).join("\n");
      const hint = isList && !takesFile ? " (one per line)" : "";
      this.body.append(make("label", {}, make("code", {}, name), hint, input));
      return { name, input, isList, takesFile };
    });
    const text = "Empty fields are not sent.";
    this.body.append(make("p", { class: "muted" }, prose(text)));
  }

  url() {
    let path = this.path;
    const query = new URLSearchParams();
    for (const { name, in: place, input } of this.parameters) {
      if (place === "path") path = path.replace(`{${name}}`, encodeURIComponent(input.value));
      if (place === "query" && input.value) query.set(name, input.value);
    }
    // The server may be below a path of its host.
    return new URL(`${path.slice(1)}${query.size ? `?${query}` : ""}`, document.baseURI).href;
  }

  headers() {
    const own = this.parameters.filter(({ in: place, input }) => place === "header" && input.value);
    const headers = Object.fromEntries(own.map(({ name, input }) => [name, input.value]));
    if (this.text) headers["Content-Type"] = this.type.value;
    return headers;
  }

  // [[name, text or file], …] of the filled fields.
  parts() {
    return this.fields.flatMap(({ name, input, isList, takesFile }) => {
      if (takesFile) return [...input.files].map((file) => [name, file]);
      const values = isList ? input.value.split("\n") : [input.value];
      return values.filter((value) => value.trim()).map((value) => [name, value]);
    });
  }

  showCurl() {
    const lines = [`curl ${this.url()}`];
    if (this.method !== "get") lines[0] += ` -X ${this.method.toUpperCase()}`;
    if (key.get()) lines.push('-H "Authorization: Bearer $RUDOLPH_API_KEY"');
    for (const [name, value] of Object.entries(this.headers())) lines.push(`-H ${quote(`${name}: ${value}`)}`);
    if (this.text) lines.push(`-d ${quote(compact(this.text.value))}`);
    for (const [name, value] of this.fields ? this.parts() : []) {
      const isText = typeof value === "string";
      const file = isText ? "" : value.name.replace(/["\\]/g, "\\$&");
      lines.push(isText ? `--form-string ${quote(`${name}=${value}`)}` : `-F ${quote(`${name}=@"${file}"`)}`);
    }
    this.curl.firstChild.textContent = lines.join(" \\\n  ");
  }

  async copy(button) {
    try {
      await navigator.clipboard.writeText(this.curl.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(this.curl); // no clipboard without https
      button.textContent = "Selected, press Ctrl+C";
    }
    setTimeout(() => { button.textContent = "Copy curl"; }, 2000);
  }

  run() {
    const headers = this.headers();
    if (key.get()) headers.Authorization = `Bearer ${key.get()}`;
    const options = { method: this.method.toUpperCase(), headers };
    if (this.text) options.body = this.text.value;
    if (this.fields) {
      options.body = new FormData();
      for (const [name, value] of this.parts()) options.body.append(name, value);
    }
    return this.reply.show(this.url(), options);
  }
}

// One line for valid JSON; other text as it is.
function compact(text) {
  try {
    JSON.parse(text);
    return text.split("\n").map((line) => line.trim()).join("");
  } catch {
    return text;
  }
}
