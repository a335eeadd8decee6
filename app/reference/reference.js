// Draws the OpenAPI document as a page. Builds nodes from text only: nothing in the document is taken for markup.
"use strict";

const make = (tag, text, className) => {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (className) node.className = className;
  return node;
};

const resolve = (api, schema) => {
  let found = schema ?? {};
  while (found.$ref) found = api.components.schemas[found.$ref.split("/").pop()] ?? {};
  return found;
};

const typeOf = (api, raw) => {
  const name = raw?.$ref?.split("/").pop();
  const schema = resolve(api, raw);
  if (name) return name;
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices) return choices.map((choice) => typeOf(api, choice)).join(" | ");
  if (schema.type === "array") return `list of ${typeOf(api, schema.items)}`;
  return schema.type ?? "any";
};

const rangeOf = (schema) => {
  const parts = [schema, ...(schema.anyOf ?? [])];
  const words = [];
  for (const part of parts) {
    if (part.minimum !== undefined || part.maximum !== undefined) words.push(`${part.minimum ?? "…"} – ${part.maximum ?? "…"}`);
    if (part.maxLength !== undefined) words.push(`≤ ${part.maxLength} characters`);
    if (part.maxItems !== undefined) words.push(`${part.minItems ?? 0} – ${part.maxItems} items`);
  }
  if (schema.default !== undefined && schema.default !== null) words.push(`default ${JSON.stringify(schema.default)}`);
  return words.join("; ");
};

const fieldTable = (api, raw) => {
  const schema = resolve(api, raw);
  const table = make("table");
  const head = table.appendChild(make("tr"));
  for (const title of ["Field", "Type", "Range", "Meaning"]) head.append(make("th", title));
  for (const [name, rawField] of Object.entries(schema.properties ?? {})) {
    const field = resolve(api, rawField);
    const row = table.appendChild(make("tr"));
    const cell = row.appendChild(make("td"));
    cell.append(make("code", name));
    if (schema.required?.includes(name)) cell.append(" *");
    row.append(make("td", typeOf(api, rawField)), make("td", rangeOf({ ...field, ...rawField })));
    row.append(make("td", rawField.description ?? field.description ?? ""));
  }
  return table;
};

const parameterTable = (parameters) => {
  const table = make("table");
  for (const parameter of parameters) {
    const row = table.appendChild(make("tr"));
    row.appendChild(make("td")).append(make("code", parameter.name));
    row.append(make("td", parameter.in), make("td", parameter.description ?? ""));
  }
  return table;
};

const bodySection = (api, body) => {
  const nodes = [];
  for (const [kind, content] of Object.entries(body?.content ?? {})) {
    nodes.push(make("h4", `Body: ${kind}`), fieldTable(api, content.schema));
    if (content.example) nodes.push(make("pre", JSON.stringify(content.example, null, 2)));
  }
  return nodes;
};

const replySection = (api, responses) => {
  const nodes = [make("h4", "Replies")];
  for (const [status, reply] of Object.entries(responses ?? {})) {
    const line = make("p");
    line.append(make("code", status), ` ${reply.description ?? ""}`);
    nodes.push(line);
    const schema = reply.content?.["application/json"]?.schema;
    if (schema && status.startsWith("2")) nodes.push(fieldTable(api, schema));
  }
  return nodes;
};

const operation = (api, path, method, details) => {
  const box = make("details");
  const summary = box.appendChild(make("summary"));
  summary.append(make("span", method.toUpperCase(), "method"), make("code", path));
  summary.append(make("span", details.summary ?? "", "muted"));
  if (details.description) box.append(make("p", details.description));
  if (details.parameters?.length) box.append(make("h4", "Parameters"), parameterTable(details.parameters));
  box.append(...bodySection(api, details.requestBody), ...replySection(api, details.responses));
  return box;
};

const draw = (api) => {
  document.getElementById("about").textContent = api.info.description;
  const main = document.getElementById("routes");
  for (const tag of api.tags) {
    main.append(make("h2", tag.name), make("p", tag.description, "muted"));
    for (const [path, methods] of Object.entries(api.paths)) {
      for (const [method, details] of Object.entries(methods)) {
        if (details.tags?.includes(tag.name)) main.append(operation(api, path, method, details));
      }
    }
  }
};

fetch("/openapi.json")
  .then((reply) => reply.json())
  .then(draw)
  .catch(() => { document.getElementById("about").textContent = "The document could not be loaded."; });
