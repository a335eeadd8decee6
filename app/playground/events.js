// Reads server-sent events from the body of a response. EventSource could not send the API key.

export class Disconnected extends Error {}

// Yields {event, data, id} of each event; comments are skipped. Throws Disconnected.
export async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read().catch(() => { throw new Disconnected(); });
      if (done) return;
      const blocks = (rest + value).split(/\r?\n\r?\n/);
      rest = blocks.pop();
      for (const block of blocks) {
        const event = parse(block);
        if (event.data !== undefined) yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parse(block) {
  const event = {};
  for (const line of block.split(/\r?\n/)) {
    const [, name, value] = line.match(/^(\w+): ?(.*)$/) ?? [];
    if (name) event[name] = name === "data" && event.data !== undefined ? `${event.data}\n${value}` : value;
  }
  return event;
}
