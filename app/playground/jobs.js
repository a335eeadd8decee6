// A job from submission to its last event, over the public API. Knows no page.

export class RequestFailed extends Error {
  constructor(error) {
    super(error.message);
    this.param = error.param;
  }
}

const answerOf = async (response) => {
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new RequestFailed(body.error ?? { message: `HTTP ${response.status}` });
  return body;
};

export const submit = async (task, input) =>
  answerOf(await fetch("/v1/jobs", {
    method: "POST",
    headers: { "Content-Type": "application/json", "Idempotency-Key": crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}` },
    body: JSON.stringify({ task, input }),
  }));

export const cancel = async (id) => answerOf(await fetch(`/v1/jobs/${id}`, { method: "DELETE" }));

export const look = async (id) => answerOf(await fetch(`/v1/jobs/${id}`));

// Calls hear(name, data) for every event; resolves after the last one with the whole reply, or rejects with
// RequestFailed. The browser reconnects by itself and sends Last-Event-ID. `signal` stops listening.
export const follow = (id, hear, signal) =>
  new Promise((resolve, reject) => {
    const source = new EventSource(`/v1/jobs/${id}/events`);
    const waiting = setInterval(async () => {
      const job = await look(id).catch(() => null);
      if (job?.state === "queued") hear("position", job.position);
    }, 1000);
    const end = (settle, value) => {
      source.close();
      clearInterval(waiting);
      settle(value);
    };
    for (const name of ["state", "progress", "partial_image", "partial_text"]) {
      source.addEventListener(name, (event) => hear(name, JSON.parse(event.data)));
    }
    source.addEventListener("completed", (event) => end(resolve, JSON.parse(event.data)));
    source.addEventListener("error", (event) => {
      // The server's own last event carries data; a broken connection does not.
      if (event.data) end(reject, new RequestFailed(JSON.parse(event.data).error));
      else if (source.readyState === EventSource.CLOSED) end(reject, new RequestFailed({ message: "" }));
      else hear("lost");
    });
    signal.addEventListener("abort", () => end(reject, new DOMException("stopped", "AbortError")));
  });
