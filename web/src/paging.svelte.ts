import { get } from "./api";
import { load, type Loaded } from "./load.svelte";
import { route } from "./route.svelte";

const ROWS = 50;

/** One page of a list whose rows have a name, and after what the next one begins. */
export interface Part<T> { rows: T[]; next: string | null }

/** Asks for the page that the address names under `of`; one more row than is shown tells whether there is another. */
export function loadPart<T>(path: string, of: string, name: (row: T) => string): Loaded<Part<T>> {
  const after = (): string => route.get(of);
  const ask = async (signal: AbortSignal): Promise<Part<T>> => {
    const rows = await get<T[]>(path, { after: after(), n: ROWS + 1 }, signal);
    const shown = rows.slice(0, ROWS);
    const last = shown.at(-1);
    return { rows: shown, next: rows.length > ROWS && last !== undefined ? name(last) : null };
  };
  return load(after, ask, ["images"]);
}
