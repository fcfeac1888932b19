import { Refused } from "./api";
import { live, type Topic } from "./live.svelte";
import { signedOut } from "./session.svelte";
import { language } from "./text/language.svelte";

interface Said<T> { key: string; value: T | undefined; problem: Refused | undefined }

/** What a page asked for: nothing yet, an answer, or the last answer and why there is no newer one. */
export class Loaded<T> {
  #said = $state.raw<Said<T>>();
  readonly #key: () => string;

  constructor(key: () => string) {
    this.#key = key;
  }

  // An answer to another key is never shown, not even until the next one is asked for.
  get #here(): Said<T> | undefined {
    return this.#said?.key === this.#key() ? this.#said : undefined;
  }

  get value(): T | undefined {
    return this.#here?.value;
  }

  get problem(): Refused | undefined {
    return this.#here?.problem;
  }

  answer(key: string, value: T): void {
    this.#said = { key, value, problem: undefined };
  }

  refuse(key: string, problem: Refused): void {
    this.#said = { key, value: this.#said?.key === key ? this.#said.value : undefined, problem };
  }
}

/**
 * Asks whenever `key` changes or one of the topics grew. An answer stays visible while it is asked
 * for again; another key starts empty. Call it while a component is set up.
 */
export function load<T>(key: () => string, ask: (signal: AbortSignal) => Promise<T>, topics: Topic[]): Loaded<T> {
  const it = new Loaded<T>(key);
  $effect(() => {
    const wanted = key();
    for (const topic of topics) live.revision(topic);
    // The server says reasons and remedies in the reader's language.
    void language.word;
    const abort = new AbortController();
    ask(abort.signal).then(
      (value) => {
        if (!abort.signal.aborted) it.answer(wanted, value);
      },
      (error: unknown) => {
        if (abort.signal.aborted) return;
        const problem = error instanceof Refused ? error : new Refused(0, "PAGE", String(error), undefined);
        it.refuse(wanted, problem);
        if (problem.status === 401) signedOut();
      },
    );
    return () => abort.abort();
  });
  return it;
}
