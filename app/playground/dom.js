// Builds nodes from text only: nothing from a reply, a file name or a link becomes markup.
import { say } from "./words.js";

export const byId = (id) => document.getElementById(id);

// make("a", { href: "/" }, "text", node …) → an element. Attributes that are null or false are left out.
export function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export const dataUri = (blob) =>
  new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });

export const base64Of = (uri) => uri.slice(uri.indexOf(",") + 1);

// The page's own policy lets it fetch no data URI.
export const blobOf = (uri) =>
  new Blob([Uint8Array.from(atob(base64Of(uri)), (character) => character.charCodeAt(0))], { type: typeOf(uri) });

export const typeOf = (uri) => uri.slice("data:".length, uri.indexOf(";"));

export const suffixOf = (uri) => ({ "image/jpeg": "jpg", "image/webp": "webp" })[typeOf(uri)] ?? "png";

const BEGINNINGS = { "/9j/": "jpeg", UklGR: "webp" };

// The data URI of an image in a reply, which has no type.
export function imageUri(base64) {
  const kind = Object.keys(BEGINNINGS).find((beginning) => base64.startsWith(beginning));
  return `data:image/${BEGINNINGS[kind] ?? "png"};base64,${base64}`;
}

// Copies the text of `node`, and says so on the button for a while. Without a clipboard (any http address but
// localhost) it selects the text.
export async function copyText(node, button) {
  let done = "copied";
  try {
    await navigator.clipboard.writeText(node.textContent);
  } catch {
    getSelection().selectAllChildren(node);
    done = "selected";
  }
  button.textContent = say(done);
  setTimeout(() => { button.textContent = say(button.dataset.words); }, 2000);
}
