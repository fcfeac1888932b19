// Numbers, sizes and times as the reader writes them.

import { language } from "./text/language.svelte";

export function number(value: number): string {
  return new Intl.NumberFormat(language.word).format(value);
}

export function percent(value: number): string {
  return new Intl.NumberFormat(language.word, { style: "percent", maximumFractionDigits: 1 }).format(value);
}

/** Thousandths of one processor, or of a time, as a share; four busy processors are 400 %. */
export function processors(millis: number): string {
  return percent(millis / 1_000);
}

const UNITS = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"] as const;

/** Powers of 1,000, as registries and disks count. */
export function bytes(value: number): string {
  let rest = value;
  let at = 0;
  while (rest >= 999.5 && at < UNITS.length - 1) {
    rest /= 1_000;
    at += 1;
  }
  const digits = rest < 10 && at > 0 ? 1 : 0;
  const form = { style: "unit", unit: UNITS[at] ?? "byte", unitDisplay: at === 0 ? "long" : "short", maximumFractionDigits: digits } as const;
  return new Intl.NumberFormat(language.word, form).format(rest);
}

/** `2026-11-24 10:00:00 UTC`: the same for every reader. */
export function exact(at: string): string {
  const time = new Date(at);
  return Number.isNaN(time.getTime()) ? at : `${time.toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

const STEPS = [
  ["second", 60],
  ["minute", 60],
  ["hour", 24],
  ["day", 30],
  ["month", 12],
  ["year", Infinity],
] as const;

/** `3 minutes ago`, seen from `now`, in milliseconds since the epoch. */
export function relative(at: string, now: number): string {
  let rest = (new Date(at).getTime() - now) / 1_000;
  if (Number.isNaN(rest)) return at;
  const form = new Intl.RelativeTimeFormat(language.word, { numeric: "auto" });
  for (const [unit, next] of STEPS) {
    if (Math.abs(rest) < next) return form.format(Math.trunc(rest), unit);
    rest /= next;
  }
  return at;
}

const SHOWN = 200;
const TITLED = 1_000;

// What has no shape, or turns the direction of its neighbours.
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb]/gu;

function seen(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  return `\u27e8U+${code.toString(16).toUpperCase().padStart(4, "0")}\u27e9`;
}

function cut(text: string, most: number): string {
  if (text.length <= most) return text;
  // Never through the middle of a character.
  const end = /[\ud800-\udbff]/.test(text.charAt(most - 1)) ? most - 1 : most;
  return `${text.slice(0, end)}…`;
}

/** A foreign text with what cannot be seen made visible, and no longer than a page bears. */
export function visible(text: string, most: number = SHOWN): string {
  return cut(text, most).replace(UNSEEN, seen);
}

/** The same of a text whose lines stay lines. */
export function visibleLines(text: string, most: number): string {
  return cut(text, most).split("\n").map((line) => visible(line, most)).join("\n");
}

export function titled(text: string): string {
  return visible(text, TITLED);
}

/** `sha256:9c1e0f2a4b6d`: enough to tell one digest from another on a page. */
export function short(digest: string): string {
  const [algorithm, hash] = digest.includes(":") ? digest.split(":", 2) : ["", digest];
  const head = (hash ?? "").slice(0, 12);
  return algorithm === "" ? head : `${algorithm}:${head}`;
}
