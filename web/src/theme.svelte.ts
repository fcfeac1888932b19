// Light, dark, or what the system says. The choice is kept.

export type Theme = "system" | "light" | "dark";

const KEPT = "seaworthy.theme";
const THEMES: readonly Theme[] = ["system", "light", "dark"];

function kept(): Theme {
  try {
    return THEMES.find((theme) => theme === localStorage.getItem(KEPT)) ?? "system";
  } catch {
    return "system";
  }
}

const first = kept();
let chosen = $state<Theme>(first);
document.documentElement.dataset.theme = first;

export const theme = {
  all: THEMES,
  get chosen(): Theme {
    return chosen;
  },
};

export function wear(wanted: Theme): void {
  chosen = wanted;
  document.documentElement.dataset.theme = wanted;
  try {
    localStorage.setItem(KEPT, wanted);
  } catch {
    // Without storage the choice lasts as long as the page.
  }
}
