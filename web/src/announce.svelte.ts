// What a screen reader is told about a change that the eye sees.

let said = $state("");

export const announced = {
  get text(): string {
    return said;
  },
};

export function announce(text: string): void {
  // The same words twice are a change only when something was between them.
  said = "";
  setTimeout(() => (said = text), 50);
}
