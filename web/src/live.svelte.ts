// Revision numbers that the server streams; a page asks again for what it shows when its number grew.

export type Topic = "ledger" | "advisories" | "policies" | "images" | "fleet";

const HEARTBEAT_MS = 15_000;
const POLL_MS = 10_000;
const RETRY_MS = 3_000;

const revisions = $state<Record<Topic, number>>({ ledger: 0, advisories: 0, policies: 0, images: 0, fleet: 0 });
let heard = $state(Date.now());
let now = $state(Date.now());
let running: AbortController | undefined;

setInterval(() => (now = Date.now()), 1_000);

export const live = {
  /** Grows when something of this kind changed. */
  revision(topic: Topic): number {
    return revisions[topic];
  },
  /** Milliseconds since the epoch, a second exact. */
  get now(): number {
    return now;
  },
  /** Seconds without a sign of life, 0 while there are some. */
  get staleSeconds(): number {
    return now - heard > HEARTBEAT_MS ? Math.round((now - heard) / 1_000) : 0;
  },
};

/** Says that everything may have changed: after an act of our own, or where there is no stream. */
export function refresh(): void {
  for (const topic of Object.keys(revisions) as Topic[]) revisions[topic] += 1;
}

/** Listens until `stop`. */
export function start(): void {
  stop();
  const mine = new AbortController();
  running = mine;
  heard = Date.now();
  void listen(mine.signal);
}

export function stop(): void {
  running?.abort();
  running = undefined;
}

function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}

async function listen(signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      const response = await fetch("/api/v1/live", { headers: { accept: "text/event-stream" }, signal });
      if (response.status === 404) {
        await poll(signal);
        return;
      }
      if (response.ok && response.body) await read(response.body, signal);
    } catch {
      // The server is away: what is shown grows stale, visibly, until it is back.
    }
    await pause(RETRY_MS, signal);
  }
}

/** A server without the stream is asked whether it lives, and everything is asked for again. */
async function poll(signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await pause(POLL_MS, signal);
    try {
      const response = await fetch("/livez", { signal });
      if (response.ok) {
        heard = Date.now();
        refresh();
      }
    } catch {
      // As above.
    }
  }
}

async function read(body: ReadableStream<Uint8Array>, signal: AbortSignal): Promise<void> {
  const reader = body.pipeThrough(new TextDecoderStream() as unknown as ReadableWritablePair<string, Uint8Array>).getReader();
  let text = "";
  while (!signal.aborted) {
    const { done, value } = await reader.read();
    if (done) return;
    heard = Date.now();
    text += value.replaceAll("\r\n", "\n");
    let end: number;
    while ((end = text.indexOf("\n\n")) >= 0) {
      take(text.slice(0, end));
      text = text.slice(end + 2);
    }
  }
}

function take(event: string): void {
  const lines = event.split("\n");
  if (!lines.includes("event: state")) return;
  const data = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5)).join("\n");
  const numbers = JSON.parse(data) as Partial<Record<Topic, number>>;
  for (const topic of Object.keys(revisions) as Topic[]) {
    const number = numbers[topic];
    if (number !== undefined && number !== revisions[topic]) revisions[topic] = number;
  }
}
