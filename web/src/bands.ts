import type { Severity } from "./api";

/** Worst first. */
export const BANDS: readonly Severity[] = ["critical", "high", "medium", "low", "negligible", "unknown"];
