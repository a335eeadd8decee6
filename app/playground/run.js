// The runs of one tab: from the form to the result, with everything that is shown below the form.
import { CodeBox } from "./codebox.js";
import { byId, copyText, make } from "./dom.js";
import { describe, describeWarning, fieldOf } from "./faults.js";
import { labelOf, mark, valuesOf } from "./form.js";
import * as history from "./history.js";
import { cancel, follow, newKey, pause, submit } from "./jobs.js";
import { linkOf } from "./link.js";
import { newSeed, requestOf } from "./requests.js";
import { showPartial, showResult } from "./results.js";
import { onLanguage, say, speaks } from "./words.js";

const PARTIAL_IMAGES = 8;
const RUNNING = "jobs"; // in localStorage: the ids of running jobs by tab, which a reload follows again
const SHOWN = "shown"; // in sessionStorage: the ids of shown results by tab

const read = (storage, name) => {
  try {
    const found = JSON.parse(storage.getItem(name));
    return Object.prototype.toString.call(found) === "[object Object]" ? found : {};
  } catch {
    return {};
  }
};
const write = (storage, name, tab, id) => {
  const { [tab]: _, ...others } = read(storage, name);
  storage.setItem(name, JSON.stringify(id ? { ...others, [tab]: id } : others));
};

export class Run {
  // `tab`: {name, form, fields, board, panel}. `page`: {ready, isClosed(), finished(), actions(tab)}.
  constructor(tab, page) {
    this.tab = tab;
    this.page = page;
    this.status = null; // [key of a text, values]
    this.fault = null;
    this.entry = null; // the result that is shown
    this.stop = null; // AbortController of a run
    this.jobId = null;
    this.seed = null; // of the last run, so that the code repeats it
    this.build();
    onLanguage(() => this.render());
  }

  build() {
    const { form, panel, name } = this.tab;
    const parts = byId("run").content.cloneNode(true);
    this.find = (selector) => panel.querySelector(selector);
    form.append(parts.querySelector(".actions"));
    panel.append(parts);
    this.find(".error").id = `error-${name}`;
    form.noValidate = true; // the browser's own words are in the browser's language
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.start();
    });
    form.addEventListener("input", () => {
      mark(form, null);
      this.show({ fault: null });
    });
    form.addEventListener("paint", () => this.show(this.fault?.key === "nothingPainted" ? { fault: null } : {}));
    form.addEventListener("fault", ({ detail }) => this.show({ fault: detail }));
    for (const field of Object.values(this.tab.fields)) field.onChange(() => this.code.show());
    this.find(".cancel").addEventListener("click", () => this.cancel());
    this.find(".link").addEventListener("click", ({ target }) => this.copyLink(target));
    this.code = new CodeBox(panel, () => this.request(this.seed), (fault) => this.words(fault));
  }

  copyLink(button) {
    const { name, form, panel } = this.tab;
    const text = make("code", { class: "address" }, linkOf(name, valuesOf(form), form));
    panel.querySelector(".address")?.remove();
    button.after(text);
    copyText(text, button);
  }

  // ---- a run ------------------------------------------------------------------------------------------------

  async start() {
    if (this.stop) return;
    this.stop = new AbortController();
    this.show({ status: ["sending"], fault: null });
    mark(this.tab.form, null);
    try {
      await this.page.ready;
      const request = await this.request(newSeed());
      this.entry = null; // a fault of the form, above, keeps the last result
      this.find(".results").replaceChildren();
      this.seed = request.input.seed ?? null;
      this.code.show();
      const id = await this.submit(request);
      await this.follow(id, this.entryOf(id, request));
    } catch (error) {
      this.fail(error);
    } finally {
      this.end();
    }
  }

  request(seed) {
    const { name, form, fields, board } = this.tab;
    return requestOf(name, form, fields, board, seed);
  }

  // Sends the request again after a refusal that is only for now. Returns the job's id.
  async submit({ task, input }) {
    const sent = task === "text2image" ? { ...input, partial_images: PARTIAL_IMAGES } : input;
    const idempotencyKey = newKey();
    for (;;) {
      try {
        const { id } = await submit(task, sent, idempotencyKey);
        if (this.stop.signal.aborted) await cancel(id);
        this.stop.signal.throwIfAborted();
        return id;
      } catch (error) {
        if (!error.retryAfterS) throw error;
        await this.countDown(error);
      }
    }
  }

  async countDown(error) {
    for (let seconds = error.retryAfterS; seconds > 0; seconds -= 1) {
      this.show({ status: ["retry", { reason: this.words(error), seconds }] });
      await pause(1000, this.stop.signal);
    }
  }

  entryOf(id, { task, input }) {
    const { name, form, fields, board } = this.tab;
    const images = Object.fromEntries(Object.entries(fields).map(([field, { items }]) => [field, items]));
    const paint = board ? [...board.cells] : null;
    return { id, tab: name, task, created: Date.now(), values: valuesOf(form), images, paint, seed: input.seed ?? null };
  }

  async follow(id, entry) {
    this.jobId = id;
    if (entry) await history.put(entry);
    write(localStorage, RUNNING, this.tab.name, id);
    const queued = { since: Date.now(), first: null };
    const reply = await follow(id, (event, data) => this.hear(event, data, queued), this.stop.signal);
    if (entry) {
      entry.reply = reply;
      await history.put(entry);
      write(sessionStorage, SHOWN, this.tab.name, id);
      this.page.finished();
    }
    const seconds = (reply.timings.total_ms / 1000).toLocaleString(speaks(), { maximumFractionDigits: 1 });
    this.show({ status: ["done", { seconds }], entry });
  }

  hear(event, data, queued) {
    if (event === "position") this.show({ status: waiting(data.position, queued) });
    else if (event === "lost") this.show({ status: ["lost"] });
    else if (event === "state" && data.state === "running") this.show({ status: ["running"] });
    else if (event === "progress") {
      const progress = this.find("progress");
      Object.assign(progress, { hidden: false, max: data.total, value: data.done });
      this.show({ status: [{ drawing: "drawing", scoring: "scoring" }[data.phase] ?? "generate", data] });
    } else if (event === "partial_image") showPartial(this.find(".results"), data);
  }

  cancel() {
    this.stop?.abort();
  }

  fail(error) {
    if (error.name === "AbortError" || error.code === "cancelled") {
      if (this.jobId) cancel(this.jobId).catch(() => {}); // it may have ended meanwhile
      this.show({ status: ["cancelled"] });
    } else this.show({ status: null, fault: error });
    if (this.jobId) history.remove(this.jobId);
    if (error.status === 401) this.page.isClosed();
    if (!this.entry) this.find(".results").replaceChildren();
  }

  end() {
    // Another window may run a job of its own on this tab.
    if (read(localStorage, RUNNING)[this.tab.name] === this.jobId) write(localStorage, RUNNING, this.tab.name, null);
    this.stop = this.jobId = null;
    this.find("progress").hidden = true;
    this.render();
  }

  // ---- after a reload ---------------------------------------------------------------------------------------

  // Follows the job that a reload interrupted, or shows the last result of this browser tab.
  async resume() {
    const { [this.tab.name]: running } = read(localStorage, RUNNING);
    const { [this.tab.name]: shown } = read(sessionStorage, SHOWN);
    const isId = typeof running === "string" && /^[\w-]+$/.test(running);
    const interrupted = isId ? await history.find(running) : null;
    if (interrupted) {
      this.attend(interrupted);
      return interrupted;
    }
    write(localStorage, RUNNING, this.tab.name, null); // also removes what is no list of jobs
    const entry = shown && (await history.find(shown));
    return entry?.reply ? entry : null;
  }

  async attend(entry) {
    this.stop = new AbortController();
    this.seed = entry.seed;
    this.render();
    try {
      await this.follow(entry.id, entry);
    } catch (error) {
      // A job of an earlier visit that the server has forgotten is no fault.
      if (error.status === 404) {
        this.show({ status: null });
        history.remove(entry.id);
      } else this.fail(error);
    } finally {
      this.end();
    }
  }

  // Shows a result of the history.
  showEntry(entry) {
    this.seed = entry.seed;
    write(sessionStorage, SHOWN, this.tab.name, entry.id);
    this.show({ status: ["restored"], fault: null, entry });
  }

  // ---- what is shown ----------------------------------------------------------------------------------------

  show(changes) {
    Object.assign(this, changes);
    this.render();
  }

  words(error) {
    return describe(error, (field) => field && labelOf(this.tab.form, field));
  }

  render() {
    const isBusy = Boolean(this.stop);
    const [go, error, results] = [".go", ".error", ".results"].map(this.find);
    go.textContent = say(`go_${this.tab.name}`);
    go.setAttribute("aria-disabled", isBusy); // not disabled: it keeps the focus
    this.find(".cancel").hidden = !isBusy;
    this.find(".status").textContent = this.status ? say(...this.status) : "";
    results.setAttribute("aria-busy", isBusy);
    const wasHidden = error.hidden;
    error.hidden = !this.fault;
    error.textContent = this.fault ? this.words(this.fault) : "";
    if (this.fault && (wasHidden || this.marked !== this.fault)) this.markFault();
    this.marked = this.fault;
    this.renderWarnings();
    this.renderResult(results);
    this.code.show();
  }

  renderWarnings() {
    const found = this.entry?.reply.warnings ?? [];
    const texts = found.map((warning) => describeWarning(warning, (field) => labelOf(this.tab.form, field)));
    const list = this.find(".warnings");
    list.hidden = !texts.length;
    // A change of a live region is read out, so the same texts are not written again.
    if (list.textContent !== texts.join("")) list.replaceChildren(...texts.map((text) => make("li", {}, text)));
  }

  // Only after a change: the input event of each key calls `render`.
  renderResult(results) {
    const shown = this.entry && `${this.entry.id} ${speaks()}`;
    if (shown && shown !== this.shown) showResult(results, this.entry, this.page.actions(this.tab));
    this.shown = shown;
  }

  markFault() {
    const field = fieldOf(this.fault);
    mark(this.tab.form, field, this.find(".error").id);
    if (field === "mask") byId("canvas").focus();
  }
}

// The position in the queue, with the seconds that are left at its present speed once it has moved.
function waiting(position, queued) {
  queued.first ??= position;
  const waitedS = (Date.now() - queued.since) / 1000;
  const moved = queued.first - position;
  if (!moved) return ["queued", { position, seconds: Math.round(waitedS) }];
  return ["queuedLeft", { position, seconds: Math.max(Math.round((waitedS / moved) * (position + 1)), 1) }];
}
