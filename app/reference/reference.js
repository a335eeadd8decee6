// Draws the OpenAPI document as a page: routes by tag, errors, and every schema.
import { make, prose } from "./dom.js";
import { shorten } from "./reply.js";
import { Schemas, jsonOf, parseExact } from "./schema.js";
import { TryForm, key } from "./try.js";

const byId = (id) => document.getElementById(id);

// JSON, or a text such as an event stream as it is.
const exampleBlock = (title, example) => {
  const text = typeof example === "string" ? example : jsonOf(example, 2);
  return [make("p", { class: "label" }, title), make("pre", { tabindex: "0", role: "group", "aria-label": title }, make("code", {}, shorten(text)))];
};

function parameterTable(schemas, parameters) {
  const rows = parameters.map((parameter) =>
    make("tr", {}, make("td", {}, make("code", {}, parameter.name), parameter.required ? make("span", { class: "required", title: "required" }, " *") : null),
      make("td", {}, parameter.in), make("td", {}, schemas.range(parameter.schema)), make("td", {}, prose(parameter.description))));
  const head = ["Parameter", "In", "Range", "Meaning"].map((title) => make("th", { scope: "col" }, title));
  return make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows));
}

function choicesByTask(schemas, schema) {
  if (!schema.properties || !schema.oneOf) return [];
  const lines = schema.oneOf.map(({ properties = {} }) =>
    make("li", {}, Object.entries(properties).map(([name, field], index) => [index ? ", " : "", make("code", {}, name), " is ", schemas.type(field)])));
  return [make("p", { class: "label" }, "One of"), make("ul", {}, ...lines)];
}

// The first is the usual one; the others, such as a form or 202, are one click away.
const section = (index, title, content) => (index ? [make("details", {}, make("summary", {}, title), content)] : [title, content]);

const bodySections = (schemas, body) =>
  Object.entries(body?.content ?? {}).flatMap(([type, { schema, example }], index) => {
    const resolved = schemas.resolve(schema);
    return section(index, make("h4", {}, "Body: ", make("code", {}, type)), [
      resolved.description ? make("p", {}, prose(resolved.description)) : null,
      schemas.fields(schema).length ? schemas.table(schema) : null, ...choicesByTask(schemas, resolved), ...(example ? exampleBlock("Example", example) : []),
    ]);
  });

function replySections(schemas, responses) {
  const replies = Object.entries(responses ?? {});
  const good = replies.filter(([status]) => status < 400).flatMap(([status, reply], index) =>
    section(index, make("h4", {}, "Reply ", make("code", {}, status)), replyContent(schemas, reply)));
  const bad = replies.filter(([status]) => status >= 400);
  // An error with an example is one that the bundled checkpoint gives to the example of the body.
  const shown = bad.flatMap(([status, { content }]) =>
    Object.values(content ?? {}).flatMap(examplesOf).flatMap(([, example]) => exampleBlock(`Example of ${status}, from the bundled checkpoint`, example)));
  const links = bad.flatMap(([status, reply], index) => [index ? ", " : "", make("a", { href: "#errors", title: reply.description }, status)]);
  return [...good, ...shown, bad.length ? make("p", {}, "Errors: ", ...links) : null];
}

const replyContent = (schemas, { description, content, headers }) => [
  make("p", {}, prose(description)),
  Object.entries(content ?? {}).flatMap(([type, one]) => [
    make("p", { class: "label" }, make("code", {}, type), " ", schemas.type(one.schema)),
    one.schema?.description ? make("p", {}, prose(one.schema.description)) : null,
    schemas.fields(one.schema).length ? schemas.table(one.schema) : null,
    examplesOf(one).flatMap(([title, example]) => exampleBlock(title, example)),
  ]),
  headerList(headers),
];

const examplesOf = ({ example, examples }) => [
  ...(example === undefined ? [] : [["Example", example]]),
  ...Object.entries(examples ?? {}).map(([name, { summary, value }]) => [summary ?? `Example ${name}`, value]),
];

const headerList = (headers = {}) =>
  Object.keys(headers).length
    ? [make("p", { class: "label" }, "Headers"),
      make("ul", {}, Object.entries(headers).map(([name, { description }]) => make("li", {}, make("code", {}, name), " ", prose(description))))]
    : [];

function operation(schemas, path, method, details) {
  const id = details.operationId;
  const links = [make("a", { href: `#${id}` }, "Link to this route"), make("a", { href: `#${id}-try` }, "Try it")];
  const box = make("details", { id, class: "route" },
    make("summary", {}, make("h3", {}, make("span", { class: "method" }, method.toUpperCase()), " ", make("code", {}, path)),
      make("span", { class: "muted" }, details.summary ?? "")),
    make("p", { class: "links" }, links),
    details.description ? make("p", {}, prose(details.description)) : null,
    details.parameters?.length ? [make("h4", {}, "Parameters"), parameterTable(schemas, details.parameters)] : null,
    bodySections(schemas, details.requestBody), replySections(schemas, details.responses),
    make("h4", { id: `${id}-try` }, "Try it"));
  // Built when it is opened: a form for each route at once would double the page.
  box.addEventListener("toggle", () => {
    if (box.open && !box.form) box.append((box.form = new TryForm(schemas, { path, method, details })).node);
    box.form?.showCurl();
  });
  return box;
}

// The errors of all routes, once.
function errorSection(schemas, api) {
  const replies = Object.values(api.paths).flatMap((methods) => Object.values(methods)).flatMap(({ responses }) => Object.entries(responses ?? {}));
  const texts = Object.fromEntries(replies.filter(([status]) => status >= 400).map(([status, reply]) => [status, reply.description]));
  const lines = Object.entries(texts).map(([status, text]) => [make("dt", {}, make("code", {}, status)), make("dd", {}, prose(text))]);
  return make("section", { class: "part" }, make("h2", { id: "errors" }, "Errors"), make("dl", {}, lines), schemas.table({ $ref: "#/components/schemas/ErrorReply" }));
}

const schemaSection = (schemas) =>
  make("section", { class: "part" }, make("h2", { id: "schemas" }, "Schemas"),
    Object.entries(schemas.all).sort(([first], [second]) => first.localeCompare(second)).map(([name, schema]) =>
      make("details", { id: `schema-${name}`, class: "route" }, make("summary", {}, make("h3", {}, make("code", {}, name))),
        schema.description ? make("p", {}, prose(schema.description)) : null, schemas.table({ $ref: `/${name}` }), choicesByTask(schemas, schema))));

function draw(api) {
  const schemas = new Schemas(api);
  byId("about").replaceChildren(...prose(api.info.description));
  byId("key-field").hidden = !api.security;
  for (const tag of api.tags) {
    const routes = Object.entries(api.paths).flatMap(([path, methods]) =>
      Object.entries(methods).filter(([, { tags }]) => tags?.includes(tag.name)).map(([method, details]) => operation(schemas, path, method, details)));
    byId("routes").append(make("section", { class: "part" }, make("h2", { id: `tag-${tag.name}` }, tag.name), make("p", { class: "muted" }, prose(tag.description)), routes));
  }
  byId("routes").append(errorSection(schemas, api), schemaSection(schemas));
}

// Opens the route or schema that the address names, or that has the named part, and the page scrolls to it.
function followLink() {
  const target = byId(location.hash.slice(1));
  if (!target) return;
  const box = target.closest("details");
  if (box) box.open = true;
  target.scrollIntoView();
}

// Shows only the routes and schemas that contain the text.
function search() {
  const wanted = byId("search").value.trim().toLowerCase();
  for (const box of document.querySelectorAll(".route")) {
    box.hidden = wanted !== "" && !`${box.id} ${box.textContent}`.toLowerCase().includes(wanted);
  }
  for (const part of document.querySelectorAll(".part")) {
    part.hidden = wanted !== "" && ![...part.querySelectorAll(".route")].some((box) => !box.hidden);
  }
  byId("nothing").hidden = [...document.querySelectorAll(".part")].some((part) => !part.hidden);
}

byId("key").value = key.get();
byId("key").addEventListener("input", () => {
  key.set(byId("key").value.trim());
  for (const box of document.querySelectorAll("details[open]")) box.form?.showCurl();
});
byId("search").addEventListener("input", search);
addEventListener("hashchange", followLink);

try {
  draw(parseExact(await (await fetch("openapi.json")).text()));
  followLink();
} catch (error) {
  byId("about").textContent = "The document could not be loaded. Reload the page.";
  throw error;
}
