// Keys that work on whatever page is shown.

/** True where keys are text, or move a choice. */
export function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));
}

export function focusFilter(): void {
  const filter = document.querySelector<HTMLInputElement>("main [data-filter]");
  filter?.focus();
  filter?.select();
}

/** To the next row's link, or the one before. Rows are marked with `data-row`. */
export function moveRow(by: 1 | -1): void {
  const rows = [...document.querySelectorAll<HTMLElement>("main [data-row]")];
  const at = rows.findIndex((row) => row.contains(document.activeElement));
  const next = rows[at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(Math.max(at + by, 0), rows.length - 1)];
  const link = next?.querySelector<HTMLElement>("a, button") ?? next;
  link?.focus();
  next?.scrollIntoView({ block: "nearest" });
}
