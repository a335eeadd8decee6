// The page: tabs, forms to requests, events to pictures and words, and the job that outlives a reload.
import { PaintBoard } from "./canvas.js";
import { RequestFailed, cancel, follow, submit } from "./jobs.js";
import { showPartial, showResult } from "./results.js";
import { WORDS } from "./words.js";

const byId = (id) => document.getElementById(id);
const tabs = [...document.querySelectorAll("[role=tab]")];
const forms = [...document.querySelectorAll("[role=tabpanel]")];
const board = new PaintBoard(byId("canvas"));
let language = localStorage.getItem("language") ?? (navigator.language.startsWith("ru") ? "ru" : "en");
let running = null; // { id, stop: AbortController }
let leaving = false;

const say = (key) => WORDS[language][key] ?? key;

function speak() {
  document.documentElement.lang = language;
  for (const node of document.querySelectorAll("[data-words]")) node.textContent = say(node.dataset.words);
  for (const node of document.querySelectorAll("[data-words-label]")) node.setAttribute("aria-label", say(node.dataset.wordsLabel));
  for (const node of document.querySelectorAll("[data-words-placeholder]")) node.placeholder = say(node.dataset.wordsPlaceholder);
  byId("language").textContent = say("language");
}

function choose(tab) {
  for (const other of tabs) {
    const chosen = other === tab;
    other.setAttribute("aria-selected", chosen);
    other.tabIndex = chosen ? 0 : -1;
    byId(other.getAttribute("aria-controls")).hidden = !chosen;
  }
  byId("go").setAttribute("form", tab.getAttribute("aria-controls"));
  location.replace(`#${tab.id.slice(4)}`);
}

// ---- requests ----------------------------------------------------------------------------------------------

const dataUri = (blob) =>
  new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });

const lines = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);
const file = (form, name = "image") => {
  const chosen = form.elements[name].files;
  if (!chosen.length) throw new RequestFailed({ message: say("needPictures") });
  return [...chosen];
};

const REQUESTS = {
  "panel-draw": async (form) => {
    const values = new FormData(form);
    const n = Number(values.get("n"));
    const input = {
      prompt: values.get("prompt"), n, candidates: Math.max(n, Number(values.get("candidates"))),
      temperature: Number(values.get("temperature")), guidance: Number(values.get("guidance")), partial_images: 8,
    };
    if (values.get("seed")) input.seed = Number(values.get("seed"));
    return ["text2image", input];
  },
  "panel-caption": async (form) => {
    const values = new FormData(form);
    const n = Number(values.get("n"));
    return ["image2text", {
      image: await dataUri(file(form)[0]), template: values.get("template"), n,
      candidates: Math.max(n, Number(values.get("candidates"))), rerank: true,
    }];
  },
  "panel-classify": async (form) => {
    const values = new FormData(form);
    return ["classify", {
      image: await dataUri(file(form)[0]), classes: lines(values.get("classes")), template: values.get("template"),
    }];
  },
  "panel-rank": async (form) => {
    const values = new FormData(form);
    if (values.get("direction") === "rank_images") {
      return ["rank_images", { text: values.get("text"), images: await Promise.all(file(form, "images").map(dataUri)) }];
    }
    return ["rank_texts", { image: await dataUri(file(form)[0]), texts: lines(values.get("texts")) }];
  },
  "panel-continue": async (form) => {
    const values = new FormData(form);
    const n = Number(values.get("n"));
    return ["text2text", { prompt: values.get("prompt"), n, candidates: n, temperature: Number(values.get("temperature")) }];
  },
  "panel-redraw": async (form) => {
    file(form);
    if (!board.isPainted) throw new RequestFailed({ message: say("nothingPainted") });
    const { image, mask } = await board.parts();
    return ["text2image", {
      prompt: form.elements.prompt.value, partial_images: 8,
      image_prompt: { image: await dataUri(image), mask: await dataUri(mask) },
    }];
  },
};

const ROUTES = { rank_images: "rank/images", rank_texts: "rank/texts" };

function showCurl(task, input) {
  const short = (value) => (typeof value === "string" && value.startsWith("data:") ? "data:image/png;base64,…" : value);
  const { partial_images: _, ...plain } = input;
  const body = JSON.stringify(plain, (_key, value) => short(value)).replaceAll("'", "'\\''");
  byId("curl").textContent =
    `curl ${location.origin}/v1/${ROUTES[task] ?? task} -H 'Content-Type: application/json' -d '${body}'`;
}

// ---- a running job -----------------------------------------------------------------------------------------

function busy(isBusy) {
  byId("go").disabled = isBusy;
  byId("cancel").hidden = !isBusy;
  if (!isBusy) byId("progress").hidden = true;
}

function tell(text) {
  byId("status").textContent = text;
}

function complain(error) {
  const words = error instanceof TypeError || !error.message ? say("offline") : error.message;
  byId("error").textContent = words;
  byId("error").hidden = false;
  tell("");
}

function hear(name, data) {
  if (name === "position") tell(say("queued") + data);
  else if (name === "lost") tell(say("lost"));
  else if (name === "state" && data.state === "running") tell(say("running"));
  else if (name === "progress") {
    byId("progress").hidden = false;
    byId("progress").max = data.total;
    byId("progress").value = data.done;
    const phase = { drawing: "drawing", scoring: "score" }[data.phase] ?? "generate";
    tell(phase === "score" ? say(phase) : `${say(phase)}${data.done} / ${data.total}`);
  } else if (name === "partial_image") showPartial(byId("results"), data);
}

async function attend(id, task, names) {
  const stop = new AbortController();
  running = { id, stop };
  localStorage.setItem("job", JSON.stringify({ id, task, names }));
  busy(true);
  try {
    const reply = await follow(id, hear, stop.signal);
    showResult(byId("results"), task, reply, names, say);
    tell(`${say("done")}${(reply.timings.total_ms / 1000).toFixed(1)}${say("seconds")}`);
  } catch (error) {
    if (error.name !== "AbortError") complain(error);
  } finally {
    // A page that is going away breaks its connections; the job is still wanted when it comes back.
    if (!leaving) localStorage.removeItem("job");
    running = null;
    busy(false);
  }
}

async function start(form) {
  byId("error").hidden = true;
  byId("results").replaceChildren();
  busy(true);
  try {
    const [task, input] = await REQUESTS[form.id](form);
    showCurl(task, input);
    const accepted = await submit(task, input);
    tell(say("running"));
    const names = { rank_images: input.images, rank_texts: input.texts }[task];
    await attend(accepted.id, task, task === "rank_images" ? [...form.elements.images.files].map((one) => one.name) : names);
  } catch (error) {
    complain(error);
    busy(false);
  }
}

async function giveUp() {
  if (!running) return;
  const { id, stop } = running;
  // First stop listening: the job's last event says "cancelled", which is no error to the one who asked for it.
  stop.abort();
  tell(say("cancelled"));
  await cancel(id).catch(complain);
}

// ---- wiring ------------------------------------------------------------------------------------------------

for (const [place, tab] of tabs.entries()) {
  tab.addEventListener("click", () => choose(tab));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(place + step + tabs.length) % tabs.length];
    choose(next);
    next.focus();
  });
}
for (const form of forms) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!running) start(form);
  });
}
for (const radio of document.querySelectorAll("[name=direction]")) {
  radio.addEventListener("change", () => {
    for (const label of document.querySelectorAll("[data-direction]")) label.hidden = label.dataset.direction !== radio.value;
  });
}
byId("panel-redraw").elements.image.addEventListener("change", async (event) => {
  const [chosen] = event.target.files;
  if (chosen) await board.load(chosen).catch(complain);
  byId("canvas").hidden = byId("clear").hidden = !chosen;
});
byId("clear").addEventListener("click", () => board.clear());
byId("cancel").addEventListener("click", giveUp);
byId("copy").addEventListener("click", async () => {
  await navigator.clipboard.writeText(byId("curl").textContent);
  byId("copy").textContent = say("copied");
});
byId("language").addEventListener("click", () => {
  language = language === "ru" ? "en" : "ru";
  localStorage.setItem("language", language);
  speak();
});

addEventListener("beforeunload", () => { leaving = true; });

speak();
choose(tabs.find((tab) => `#${tab.id.slice(4)}` === location.hash) ?? tabs[0]);
const left = JSON.parse(localStorage.getItem("job") ?? "null");
if (left) attend(left.id, left.task, left.names);
