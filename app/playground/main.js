// The page: tabs, languages, keys, and what connects the tabs with each other.
import { MaskBoard } from "./canvas.js";
import { byId } from "./dom.js";
import { Examples } from "./examples.js";
import { buildNumbers, chooseDirection, fill, showDefaults, translateNumbers } from "./form.js";
import { HistoryList } from "./history.js";
import { ImageField, takeFilesAnywhere } from "./images.js";
import { key, model } from "./jobs.js";
import { parseLink } from "./link.js";
import { Run } from "./run.js";
import { onLanguage, say, speak, switchLanguage } from "./words.js";

const RETRY_MS = 3000;
const CELL_PX = 8;
const NOT_RUSSIAN = /[a-z]/i;
const RUSSIAN = /[а-яё]/i;

const buttons = [...document.querySelectorAll("[role=tab]")];
const nameOf = (button) => button.id.slice("tab-".length);
const names = buttons.map(nameOf);
let current = names[0];
let loaded = null; // the entry of /v1/models
let unsupported = null; // the tab of a link that the loaded model cannot do

// ---- the tabs ------------------------------------------------------------------------------------------------

function tabOf(name) {
  const panel = byId(`panel-${name}`);
  const form = panel.querySelector("form");
  buildNumbers(form);
  const fields = {};
  for (const box of form.querySelectorAll("[data-images]")) fields[box.dataset.images] = new ImageField(box);
  const tab = { name, panel, form, fields, board: name === "redraw" ? boardOf(fields.image, form) : null };
  tab.examples = new Examples(tab);
  tab.run = new Run(tab, page);
  for (const radio of form.querySelectorAll("[name=direction]")) {
    radio.addEventListener("change", () => chooseDirection(form, radio.value));
  }
  warnOfOtherLanguages(form);
  return tab;
}

function boardOf(field, form) {
  const board = new MaskBoard(byId("canvas"), () => {
    byId("board").hidden = !board.uri;
    byId("painted").textContent = say("paintedCells", { count: board.cells.size, total: board.total });
    form.dispatchEvent(new Event("paint"));
  });
  field.onChange(([item]) => {
    const uri = item?.uri ?? null;
    // A damaged file is reported by its thumbnail.
    if (uri !== board.uri) board.load(uri).catch(() => {});
  });
  byId("brush").addEventListener("input", ({ target }) => { board.brush = Number(target.value); });
  byId("erase").addEventListener("change", ({ target }) => { board.isErasing = target.checked; });
  byId("undo").addEventListener("click", () => board.undo());
  byId("clear").addEventListener("click", () => board.clear());
  onLanguage(() => board.onChange());
  return board;
}

function warnOfOtherLanguages(form) {
  const hint = form.querySelector("[data-russian]");
  if (!hint) return;
  form.addEventListener("input", () => {
    const text = form.elements.prompt.value;
    hint.hidden = !NOT_RUSSIAN.test(text) || RUSSIAN.test(text);
  });
}

// Tabs of tasks that the loaded model cannot do are hidden.
function showTabs(tasks) {
  for (const [index, button] of buttons.entries()) button.hidden = !tasks.includes(tabs[names[index]].form.dataset.task);
}

const offered = () => buttons.filter((button) => !button.hidden);

function choose(name, { isLink = false } = {}) {
  if (!isLink) {
    unsupported = null;
    sayUnsupported();
  }
  current = name;
  for (const button of buttons) {
    const chosen = button.id === `tab-${name}`;
    button.setAttribute("aria-selected", chosen);
    button.tabIndex = chosen ? 0 : -1;
    byId(button.getAttribute("aria-controls")).hidden = !chosen;
  }
  document.title = `${say(name)} · RuDOLPH`;
  if (!isLink && location.hash.slice(1).split("?")[0] !== name) history.pushState(null, "", `#${name}`);
}

function followLink() {
  const { name, values } = parseLink(location.hash, names);
  const isHidden = byId(`tab-${name}`).hidden;
  unsupported = isHidden && loaded ? name : null;
  sayUnsupported();
  if (isHidden) return choose(nameOf(offered()[0]), { isLink: true });
  choose(name, { isLink: true });
  if (Object.keys(values).length) fill(tabs[name].form, values);
}

for (const button of buttons) {
  button.addEventListener("click", () => choose(nameOf(button)));
  button.addEventListener("keydown", (event) => {
    const shown = offered();
    const [index, last] = [shown.indexOf(button), shown.length - 1];
    const next = {
      ArrowRight: index === last ? 0 : index + 1, ArrowLeft: index ? index - 1 : last, Home: 0, End: last,
    }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    choose(nameOf(shown[next]));
    shown[next].focus();
  });
}

// ---- from one tab to another ---------------------------------------------------------------------------------

const page = {
  ready: Promise.resolve(),
  isClosed: () => showKey(true),
  finished: () => list.render(),
  actions: (tab) => ({
    again: (image) => again(tab, image),
    describeIt: (image, uri) => send("caption", uri),
    redrawIt: (image, uri) => send("redraw", uri),
  }),
};

// Draws one image of a result again: its own seed, without other candidates.
function again(tab, image) {
  fill(tab.form, { n: 1, candidates: 1, seed: image.seed });
  tab.run.start();
  tab.panel.querySelector(".go").focus();
}

function send(name, uri) {
  choose(name);
  tabs[name].fields.image.set([{ uri, words: "resultImage" }]);
  byId(`tab-${name}`).focus();
}

// Shows a result of the history, with the form that led to it.
async function open(entry) {
  const { form, fields, board, run, examples } = tabs[entry.tab];
  if (run.stop && run.jobId !== entry.id) return;
  examples.isTouched = true;
  fill(form, entry.values, { clear: true });
  for (const [name, field] of Object.entries(fields)) field.set(entry.images[name] ?? []);
  if (board && entry.paint) {
    await board.load(board.uri);
    board.cells = new Set(entry.paint);
    board.changed();
  }
  if (entry.reply) run.showEntry(entry);
}

const list = new HistoryList(async (entry) => {
  // A stored result stays readable. A new run gets the error of the server.
  byId(`tab-${entry.tab}`).hidden = false;
  choose(entry.tab);
  await open(entry);
  byId(`tab-${entry.tab}`).focus();
});

// ---- the key and the model -----------------------------------------------------------------------------------

function showKey(isNeeded) {
  byId("key").hidden = !isNeeded;
  byId("key-set").hidden = isNeeded || !key.get();
}

byId("key").addEventListener("submit", async (event) => {
  event.preventDefault();
  key.set(byId("key").elements.key.value.trim());
  byId("key").reset();
  showKey(false);
  for (const { run } of Object.values(tabs)) run.show({ fault: null });
  page.ready = showModel();
  await page.ready;
});
byId("key-forget").addEventListener("click", () => {
  key.forget();
  showKey(true);
  byId("key").elements.key.focus();
});

// Resolves after the first try. Without a worker there is no model yet, so later tries follow.
async function showModel() {
  try {
    const found = await model();
    if (!loaded) showFirst(found);
  } catch (error) {
    if (error.status === 401) showKey(true);
    else setTimeout(showModel, RETRY_MS);
  }
}

function showFirst(found) {
  loaded = found;
  nameModel();
  showTabs(found.tasks);
  tabs.redraw.board.setWidth(Number.parseInt(found.size, 10) / CELL_PX);
  for (const { form, examples } of Object.values(tabs)) {
    showDefaults(form, found.generation_config[form.dataset.task]);
    examples.show(found.generation_config.examples);
  }
  followLink();
}

const nameModel = () => { byId("model").textContent = loaded ? say("model", { name: loaded.id, size: loaded.size.replace("x", "×") }) : ""; };

// Why the tab of a link is not shown.
function sayUnsupported() {
  byId("unsupported").hidden = !unsupported;
  byId("unsupported").textContent = unsupported ? say("unsupported", { model: loaded.id, task: say(unsupported) }) : "";
}

// ---- start ---------------------------------------------------------------------------------------------------

const tabs = Object.fromEntries(names.map((name) => [name, tabOf(name)]));

onLanguage(() => {
  nameModel();
  sayUnsupported();
  document.title = `${say(current)} · RuDOLPH`;
  for (const { form } of Object.values(tabs)) translateNumbers(form);
});
byId("language").addEventListener("click", switchLanguage);
addEventListener("hashchange", followLink);
addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) tabs[current].run.start();
});
takeFilesAnywhere((count) => {
  // Tabs without an image field pass the image to the one that describes it.
  if (!Object.keys(tabs[current].fields).length) choose("caption");
  const { form, fields } = tabs[current];
  if (count > 1 && fields.images) chooseDirection(form, "rank_images");
  return Object.values(fields).find((field) => !field.box.closest("[data-direction][hidden]"));
});

speak();
showKey(false);
followLink();
page.ready = showModel();
const entries = await Promise.all(Object.values(tabs).map((tab) => tab.run.resume()));
await page.ready;
for (const entry of entries) if (entry) await open(entry);
