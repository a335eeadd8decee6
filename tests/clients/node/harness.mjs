// Runs the features of a client against a server and prints one JSON line for each. Usage: program.mjs URL IMAGE.

import assert from "node:assert";
import { readFileSync } from "node:fs";

export const [URL, IMAGE] = process.argv.slice(2);
export const BASE = `${URL}/v1`;
export const PICTURE = readFileSync(IMAGE);
export const PICTURE_URI = `data:image/png;base64,${PICTURE.toString("base64")}`;
export const IGNORED = "works; the text is ignored, with a warning";
const WORD = "фоне"; // every text of the demo checkpoint has it

export function describes(text) {
  assert.ok(text.includes(WORD), text);
}

export function isPng(data) {
  const bytes = typeof data === "string" ? Buffer.from(data, "base64") : Buffer.from(data);
  assert.deepEqual(bytes.subarray(1, 4).toString(), "PNG");
}

export async function refused(call, code) {
  let reply;
  try {
    reply = await call();
  } catch (error) {
    const reply = JSON.stringify([error.data, error.httpResponse?.body]);
    const words = `${error} ${error.code} ${error.responseBody} ${reply}`;
    if (words.includes(code)) return `refused: \`${code}\``;
    throw error;
  }
  throw new Error(`not refused with ${code}: ${JSON.stringify(reply)}`);
}

export function versionOf(name) {
  const path = new globalThis.URL(`node_modules/${name}/package.json`, import.meta.url);
  return JSON.parse(readFileSync(path)).version;
}

export async function run(client, features) {
  for (const [feature, call] of Object.entries(features)) {
    let result, failed = false;
    try {
      result = (await call()) ?? "works";
    } catch (error) {
      console.error(error);
      [result, failed] = [`fails: ${error}`, true];
    }
    console.log(JSON.stringify({ client, feature, result, failed }));
  }
}
