// What went wrong, in the language of the page, and the field at fault.
import { Disconnected } from "./events.js";
import { RequestFailed } from "./jobs.js";
import { knows, say } from "./words.js";

// A fault that the page finds before it sends anything. `field` is a field's name.
export class Fault extends Error {
  constructor(key, values = {}, field = null) {
    super(key);
    Object.assign(this, { key, values, field });
  }
}

// "input.images[2].codes" → "images"; the fields of an image prompt have forms' fields of their own.
export const fieldOf = (error) => {
  if (error instanceof Fault) return error.field;
  const [, path] = error.param?.match(/^(?:input\.)?(?:image_prompt\.)?(\w+)/) ?? [];
  return path ?? null;
};

// A sentence for a warning of a reply: what the model could not use.
export const describeWarning = (warning, labelOf) => {
  const key = `warning_${warning.code}`;
  return knows(key) ? say(key, { label: labelOf(fieldOf(warning)) ?? warning.param }) : warning.message;
};

// A sentence for `error`. `labelOf(field)` is the field's label on the page, or undefined.
export function describe(error, labelOf) {
  if (error instanceof Fault) return say(error.key, { label: labelOf(error.field), ...error.values });
  if (error instanceof Disconnected) return say("offline");
  if (!(error instanceof RequestFailed)) throw error;
  const key = `error_${error.code}`;
  if (knows(key)) return say(key);
  // The server writes "input.prompt is empty": people see the label instead of the path.
  const message = error.param ? error.message.replace(error.param, "").trim() : error.message;
  const label = labelOf(fieldOf(error));
  return label ? say("refusedField", { label, message }) : say("refused", { message: error.message });
}
