// The forms: number fields from one table, and a form's content as plain values and back.
import { make } from "./dom.js";
import { Fault } from "./faults.js";
import { say } from "./words.js";

// [min, max, step, default]. Larger seeds than 2^53 - 1 are no exact numbers in JavaScript.
const NUMBERS = {
  n: [1, 16, 1, 1],
  candidates: [1, 256, 1, 8],
  seed: [0, Number.MAX_SAFE_INTEGER, 1, ""],
  temperature: [0.01, 10, "any", ""],
  top_k: [0, 65536, 1, ""],
  top_p: [0, 1, "any", ""],
  guidance: [0, 1, "any", ""],
};

// Fills each data-numbers="n:3 candidates" of a form with its number fields.
export function buildNumbers(form) {
  const panel = form.closest("[role=tabpanel]").id;
  for (const box of form.querySelectorAll("[data-numbers]")) {
    for (const entry of box.dataset.numbers.split(" ")) {
      const [name, own] = entry.split(":");
      const [min, max, step, value] = NUMBERS[name];
      const hint = `${panel}-${name}-hint`;
      const input = make("input", {
        name, type: "number", min, max, step, value: own ?? value, "aria-describedby": hint, inputmode: step === 1 ? "numeric" : "decimal",
      });
      box.append(make("div", {},
        make("label", {}, make("span", { "data-words": name }), input), make("small", { id: hint, "data-words": `${name}Hint` })));
    }
  }
  raiseCandidates(form);
}

// There are never fewer candidates than results. The field shows the higher number before anything is sent.
function raiseCandidates(form) {
  const { n, candidates } = form.elements;
  if (!n || !candidates) return;
  n.addEventListener("input", () => {
    if (Number(n.value) > Number(candidates.value) && Number(n.value) <= NUMBERS.n[1]) candidates.value = n.value;
  });
}

// The numbers' own values of the model, as placeholders.
export function showDefaults(form, defaults) {
  for (const [name, value] of Object.entries(defaults ?? {})) {
    const field = form.elements[name];
    if (field) field.dataset.own = value;
  }
  translateNumbers(form);
}

export function translateNumbers(form) {
  for (const field of form.querySelectorAll("[type=number]")) {
    if (field.name === "guidance") field.placeholder = "0";
    else if (field.dataset.own) field.placeholder = say("byModel", { value: field.dataset.own });
    else if (field.name === "seed") field.placeholder = say("random");
  }
}

const isText = (field) => field.name && field.type !== "file" && field.type !== "radio";

const isShown = (field) => !field.closest("[data-direction][hidden]");

// The values of all filled fields by name, as text.
export function valuesOf(form) {
  const direction = form.elements.direction ? { direction: form.elements.direction.value } : {};
  const fields = [...form.elements].filter((field) => isText(field) && isShown(field) && field.value.trim() !== "");
  return { ...direction, ...Object.fromEntries(fields.map((field) => [field.name, field.value])) };
}

// Fills the fields that `values` names. With `clear` the others get their defaults.
export function fill(form, values, { clear = false } = {}) {
  if (clear) for (const field of [...form.elements].filter(isText)) field.value = field.defaultValue;
  for (const [name, value] of Object.entries(values)) {
    // Names come from a link: `elements[name]` would also find "length".
    const field = form.elements.namedItem(name);
    if (!field) continue;
    if (name === "direction") chooseDirection(form, value);
    else if (field.type !== "file") field.value = value;
  }
  // A setting that differs from its default is visible.
  for (const details of form.querySelectorAll("details.settings")) {
    if ([...details.querySelectorAll("input")].some((field) => field.value !== field.defaultValue)) details.open = true;
  }
  form.dispatchEvent(new Event("input"));
}

export function chooseDirection(form, value) {
  form.elements.direction.value = value;
  for (const part of form.querySelectorAll("[data-direction]")) part.hidden = part.dataset.direction !== form.elements.direction.value;
}

export const labelOf = (form, name) => {
  const field = form.elements[name];
  const input = field instanceof RadioNodeList ? null : field;
  return input?.closest("label")?.querySelector("span")?.textContent;
};

// Throws a Fault for the first field that the server would refuse, in the language of the page.
export function check(form) {
  for (const field of form.elements) {
    if (isText(field) && field.willValidate && isShown(field)) checkField(field);
  }
  const { n, candidates } = form.elements;
  if (candidates?.value && Number(candidates.value) < Number(n.value || 1)) {
    throw new Fault("tooFewCandidates", { n: n.value || 1 }, "candidates");
  }
}

function checkField(field) {
  if (field.required && !field.value.trim()) throw new Fault("missing", {}, field.name);
  if (!field.validity.valid) {
    throw new Fault(field.step === "any" ? "range" : "integer", { min: field.min, max: field.max }, field.name);
  }
}

// Marks the field at fault and moves the focus to it; null removes the mark. `errorId` is the message's id.
export function mark(form, name, errorId) {
  for (const field of form.querySelectorAll("[aria-invalid]")) {
    field.removeAttribute("aria-invalid");
    field.removeAttribute("aria-errormessage");
  }
  const found = name && form.elements[name];
  const field = found instanceof RadioNodeList ? found[0] : found;
  if (!field) return;
  field.setAttribute("aria-invalid", true);
  field.setAttribute("aria-errormessage", errorId);
  const settings = field.closest("details");
  if (settings) settings.open = true;
  field.focus();
}
