// A job from submission to its last event, over the public API. Knows no page.
import { Disconnected, events } from "./events.js";

const POSITION_MS = 2000;
const RECONNECT_MS = 2000;

export class RequestFailed extends Error {
  constructor({ message, param, code, status, retryAfterS }) {
    super(message);
    Object.assign(this, { param, code, status, retryAfterS });
  }
}

export const key = {
  get: () => sessionStorage.getItem("rudolph-key"),
  set: (value) => sessionStorage.setItem("rudolph-key", value),
  forget: () => sessionStorage.removeItem("rudolph-key"),
};

const authorization = () => (key.get() ? { Authorization: `Bearer ${key.get()}` } : {});

async function failureOf(response) {
  const body = await response.json().catch(() => ({}));
  const retryAfterS = Number(response.headers.get("retry-after")) || null;
  return new RequestFailed({ message: `HTTP ${response.status}`, ...body.error, status: response.status, retryAfterS });
}

// Throws RequestFailed for an error of the server, and Disconnected without a reply.
async function request(path, { headers, ...options } = {}) {
  const all = { ...headers, ...authorization() };
  const response = await fetch(path, { ...options, headers: all }).catch((error) => {
    throw error.name === "AbortError" ? error : new Disconnected();
  });
  if (!response.ok) throw await failureOf(response);
  return response;
}

const call = async (path, options) => (await request(path, options)).json();

export const newKey = () => crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;

// `idempotencyKey`: a request that is sent again with the same key makes no second job.
export const submit = (task, input, idempotencyKey, signal) =>
  call("v1/jobs", {
    method: "POST",
    headers: { "Content-Type": "application/json", "Idempotency-Key": idempotencyKey },
    body: JSON.stringify({ task, input }),
    signal,
  });

export const cancel = (id) => call(`v1/jobs/${id}`, { method: "DELETE" });

// The loaded model's entry of /v1/models.
export const model = async () => (await call("v1/models")).data[0];

const look = (id) => call(`v1/jobs/${id}`);

export const pause = (ms, signal) =>
  new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
  });

// Calls onEvent(name, data) for every event. Resolves with the full reply; rejects with RequestFailed. After a broken
// connection it continues from the last event. `signal` stops it.
export async function follow(id, onEvent, signal) {
  const state = { lastId: null, isQueued: true };
  const ended = new AbortController();
  watchPosition(id, state, onEvent, ended.signal);
  try {
    for (;;) {
      const reply = await followOnce(id, state, onEvent, signal);
      if (reply) return reply;
      onEvent("lost");
      await pause(RECONNECT_MS, signal);
    }
  } finally {
    ended.abort();
  }
}

// The reply; null when the connection broke.
async function followOnce(id, state, onEvent, signal) {
  try {
    const headers = state.lastId ? { "Last-Event-ID": state.lastId } : {};
    const response = await request(`v1/jobs/${id}/events`, { headers, signal });
    for await (const { event, data, id: eventId } of events(response.body)) {
      state.lastId = eventId ?? state.lastId;
      const content = JSON.parse(data);
      if (event === "completed") return content;
      if (event === "error") throw new RequestFailed(content.error);
      if (event !== "state" || content.state === "running") state.isQueued = false;
      onEvent(event, content);
    }
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof Disconnected) && !error.retryAfterS) throw error;
  }
  return null;
}

async function watchPosition(id, state, onEvent, signal) {
  try {
    while (state.isQueued) {
      await pause(POSITION_MS, signal);
      const job = await look(id).catch(() => null);
      if (state.isQueued && !signal.aborted && job?.state === "queued") onEvent("position", { position: job.position });
    }
  } catch { /* the job has ended */ }
}
