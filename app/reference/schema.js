// Reads the schemas of an OpenAPI document: types, ranges, and the fields of nested objects by their path.
import { make, prose } from "./dom.js";

const MAX_DEPTH = 4;
const MAX_NESTED = 2; // of more kinds of objects, such as all results, the links are enough
const MAX_PATTERN = 60;
const CONTROLS = "\\x00"; // patterns with it only refuse control characters

const EXACT = "\uE000"; // marks a text that stands for an integer

const STRING_OR_NUMBER = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

// Parses JSON. JavaScript would round integers of more than 15 digits, so they become marked texts.
export const parseExact = (text) =>
  JSON.parse(text.replace(STRING_OR_NUMBER, (part) => (/^-?\d{16,}$/.test(part) ? `"${EXACT}${part}"` : part)));

// The opposite of `parseExact`.
export const jsonOf = (value, indent) =>
  JSON.stringify(value, null, indent).replace(new RegExp(`"${EXACT}(-?\\d+)"`, "g"), "$1");

export const nameOf = (raw) => raw?.$ref?.split("/").pop();

export class Schemas {
  constructor(api) {
    this.all = api.components?.schemas ?? {};
  }

  resolve(raw = {}) {
    let found = raw;
    while (found.$ref) found = { ...this.all[nameOf(found)], ...without(found, "$ref") };
    return found;
  }

  // The alternatives of a schema; one for a plain schema.
  choices(raw) {
    const schema = this.resolve(raw);
    return schema.anyOf ?? (schema.properties ? null : schema.oneOf) ?? [raw];
  }

  // The objects whose fields belong below this field: [{raw, suffix}, …]. The suffix of the field's path is "[]" for a list.
  nested(raw, suffix = "") {
    return this.choices(raw).flatMap((choice) => {
      const schema = this.resolve(choice);
      if (schema.type === "array") return this.nested(schema.items, `${suffix}[]`);
      if (schema.anyOf && choice !== raw) return this.nested(choice, suffix);
      return schema.properties ? [{ raw: choice, suffix }] : [];
    });
  }

  // Nodes that say the type: names of objects are links to their section.
  type(raw) {
    const name = nameOf(raw);
    const schema = this.resolve(raw);
    if (name && (schema.properties || schema.oneOf)) return [make("a", { href: `#schema-${name}` }, name)];
    if (schema.contentSchema) return ["JSON: ", this.type(schema.contentSchema)];
    const choices = this.choices(raw);
    if (choices.length > 1) return choices.flatMap((choice, index) => [index ? " or " : "", this.type(choice)]);
    if (schema.type === "array") return ["list of ", this.type(schema.items)];
    if (schema.const !== undefined) return [make("code", {}, jsonOf(schema.const))];
    if (schema.enum) return enumeration(schema.enum);
    if (schema.format === "picture") return ["base64 or data URI"];
    if (schema.format === "picture-uri") return ["data URI"];
    if (schema.contentMediaType || schema.format === "binary") return ["file"];
    return [schema.type ?? "any"];
  }

  // [{path, field, isRequired, owner}, …] of all fields, those of nested objects after their own. The owner is the name of
  // the object, where there are several kinds.
  fields(raw, prefix = "", depth = 0, owner = null) {
    const schema = this.resolve(raw);
    return Object.entries(schema.properties ?? {}).flatMap(([name, field]) => {
      const path = `${prefix}${name}`;
      const objects = depth < MAX_DEPTH ? this.nested(field) : [];
      const shown = objects.length <= MAX_NESTED ? objects : [];
      const below = shown.flatMap((inner) =>
        this.fields(inner.raw, `${path}${inner.suffix}.`, depth + 1, shown.length > 1 ? nameOf(inner.raw) : owner));
      return [{ path, field, isRequired: schema.required?.includes(name) ?? false, owner }, ...below];
    });
  }

  range(raw) {
    const own = this.resolve(raw);
    const parts = [own, ...this.choices(raw).map((choice) => this.resolve(choice))];
    const words = new Set(parts.flatMap(limits));
    if (own.default !== undefined && own.default !== null && own.const === undefined) words.add(`default ${jsonOf(own.default)}`);
    return [...words].join("; ");
  }

  // A table of all fields, or a line for a schema without fields.
  table(raw) {
    const schema = this.resolve(raw);
    const rows = this.fields(raw);
    if (!rows.length) return make("p", {}, this.type(schema), schema.description ? [": ", prose(schema.description)] : null);
    const head = ["Field", "Type", "Range", "Meaning"].map((title) => make("th", { scope: "col" }, title));
    const body = rows.map(({ path, field, isRequired, owner }) => {
      const { description } = this.resolve(field);
      return make("tr", {},
        make("td", {}, make("code", {}, path), isRequired ? make("span", { class: "required", title: "required" }, " *") : null,
          owner ? make("span", { class: "owner" }, `of ${owner}`) : null),
        make("td", {}, this.type(field)), make("td", {}, this.range(field)), make("td", {}, prose(description)));
    });
    return make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...body));
  }
}

const without = (object, name) => Object.fromEntries(Object.entries(object).filter(([key]) => key !== name));

function enumeration(values) {
  // A form writes booleans as text, and the server reads twelve spellings.
  if (values.includes("true") && values.includes("off")) return ['"true" or "false"'];
  return values.flatMap((value, index) => [index ? " or " : "", make("code", {}, jsonOf(value))]);
}

function limits(schema) {
  const words = [];
  const names = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"];
  const [low, high, above, below] = names.map((name) => (schema[name] === undefined ? undefined : jsonOf(schema[name])));
  if (low !== undefined && high !== undefined) words.push(`${low} – ${high}`);
  else if (low !== undefined) words.push(`≥ ${low}`);
  else if (high !== undefined) words.push(`≤ ${high}`);
  if (above !== undefined) words.push(`> ${above}`);
  if (below !== undefined) words.push(`< ${below}`);
  words.push(...lengths(schema.minLength, schema.maxLength, "characters"), ...lengths(schema.minItems, schema.maxItems, "items"));
  if (schema.pattern && schema.pattern.length <= MAX_PATTERN && !schema.pattern.includes(CONTROLS)) words.push(`pattern ${schema.pattern}`);
  return words;
}

function lengths(low, high, unit) {
  if (high !== undefined) return [`${low ?? 0} – ${high} ${unit}`];
  return low === undefined ? [] : [`≥ ${low} ${unit}`];
}
