// The pages of the menu, and the key after `g` that leads there.

export const PLACES = [
  { href: "/", text: "overview", key: "o" },
  { href: "/images", text: "images", key: "i" },
  { href: "/repositories", text: "repositories", key: "r" },
  { href: "/containers", text: "containers", key: "c" },
  { href: "/vulnerabilities", text: "vulnerabilities", key: "v" },
  { href: "/policies", text: "policies", key: "p" },
  { href: "/exceptions", text: "exceptions", key: "e" },
  { href: "/advisories", text: "advisories", key: "a" },
  { href: "/ledger", text: "ledger", key: "l" },
  { href: "/access", text: "access", key: "u" },
  { href: "/hosts", text: "hosts", key: "h" },
] as const;

export function leap(key: string): string | undefined {
  return PLACES.find((place) => place.key === key)?.href;
}
