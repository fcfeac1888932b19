// The reader's language: the browser's, until one is chosen, which is kept.

import { en, type Catalogue } from "./en";
import { ja } from "./ja";

export type Word = "en" | "ja";

const KEPT = "seaworthy.language";
const CATALOGUES: Record<Word, Catalogue> = { en, ja };

function kept(): Word | undefined {
  try {
    const word = localStorage.getItem(KEPT);
    return word === "en" || word === "ja" ? word : undefined;
  } catch {
    return undefined;
  }
}

function preferred(): Word {
  const name = navigator.languages.find((it) => /^(en|ja)\b/i.test(it));
  return name?.toLowerCase().startsWith("ja") ? "ja" : "en";
}

const first = kept() ?? preferred();
let word = $state<Word>(first);
document.documentElement.lang = first;

export const language = {
  get word(): Word {
    return word;
  },
};

export function speak(wanted: Word): void {
  word = wanted;
  document.documentElement.lang = wanted;
  try {
    localStorage.setItem(KEPT, wanted);
  } catch {
    // Without storage the choice lasts as long as the page.
  }
}

/** The texts in the reader's language. */
export function t(): Catalogue {
  return CATALOGUES[word];
}
