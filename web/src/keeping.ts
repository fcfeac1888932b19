// Rules of repositories as command lines, and quotas as people write them.

import type { RepositoryRules, RetentionRules } from "./api";
import { cli } from "./calls";

/** True of a repository that the prefix is, or that lies below it; `*` is all. */
export function covers(prefix: string, repository: string): boolean {
  return prefix === "*" || repository === prefix || repository.startsWith(`${prefix}/`);
}

/** Words between spaces or commas. */
export function listed(text: string): string[] {
  return text.split(/[\s,、]+/).filter((it) => it !== "");
}

const UNITS: Record<string, number> = {
  "": 1, B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40, kB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12,
};

/** `200GiB`, `500MB` or `1048576`, as the command line reads it; undefined is no number of bytes. */
export function bytesOf(text: string): number | undefined {
  const [, digits = "", unit = ""] = /^(\d+)\s*([A-Za-z]*)$/.exec(text.trim()) ?? [];
  const number = Number(digits) * (UNITS[unit] ?? NaN);
  return digits !== "" && Number.isSafeInteger(number) ? number : undefined;
}

/** The shortest way to write a number of bytes exactly. */
export function bytesAsText(bytes: number): string {
  for (const unit of ["TiB", "TB", "GiB", "GB", "MiB", "MB", "KiB", "kB"]) {
    const size = UNITS[unit] ?? 1;
    if (bytes >= size && bytes % size === 0) return `${bytes / size}${unit}`;
  }
  return String(bytes);
}

type Flag = [name: string, value: string | number | undefined];

function flags(all: Flag[]): string[] {
  return all.flatMap(([name, value]) => (value === undefined ? [] : [`--${name}`, String(value)]));
}

/** Sets the rules of the prefix as they stand in `it`; what the prefix has `before` and not then is taken away by name. */
export function rulesCommand(it: RepositoryRules, before: RepositoryRules = it): string {
  const tick = (name: string, now = false, then = false): string[] => (now ? [`--${name}`] : then ? [`--${name}=false`] : []);
  const quota = it.quota ?? {};
  const had = before.quota ?? {};
  const most = (now: string | number | undefined, then: number | undefined): string | number | undefined => now ?? (then === undefined ? undefined : "none");
  const patterns = it.immutable ?? [];
  const kept = patterns.length === 0 && (before.immutable ?? []).length > 0 ? [""] : patterns;
  return cli(
    "registry", "rules", "set", it.prefix,
    ...tick("promotion-only", it.promotion_only, before.promotion_only), ...tick("quarantine", it.quarantine, before.quarantine),
    ...flags(kept.map((pattern): Flag => ["immutable", pattern])),
    ...flags([
      ["quota-bytes", most(quota.bytes === undefined ? undefined : bytesAsText(quota.bytes), had.bytes)],
      ["quota-tags", most(quota.tags, had.tags)], ["quota-repositories", most(quota.repositories, had.repositories)],
    ]),
  );
}

/** Sets what a prefix keeps, or shows what a repository would. */
export function retentionCommand(verb: "set" | "preview", name: string, it: RetentionRules): string {
  return cli(
    "registry", "retention", verb, name,
    ...flags([["keep-last", it.keep_last], ["keep-pulled", it.keep_pulled_days]]),
    ...flags((it.keep_tags ?? []).map((pattern): Flag => ["keep-tag", pattern])),
    ...flags([["remove-older-than", it.remove_older_than_days], ["untagged", it.untagged_days]]),
    ...(it.keep_untagged === true ? ["--keep-untagged"] : []),
  );
}
