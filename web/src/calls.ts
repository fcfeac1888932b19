// The same fact or act, as a command line and as a call of the API.

const PLAIN = /^[A-Za-z0-9_@%+=:,./-]+$/;

/** One word of a POSIX shell's command line; control characters need bash's or zsh's `$'…'`. */
export function word(text: string): string {
  if (PLAIN.test(text)) return text;
  if (!/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069]/.test(text)) return `'${text.replaceAll("'", `'\\''`)}'`;
  const escaped = text.replace(/[\\'\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069]/g, (it) => {
    if (it === "\\" || it === "'") return `\\${it}`;
    return `\\u${(it.codePointAt(0) ?? 0).toString(16).padStart(4, "0")}`;
  });
  return `$'${escaped}'`;
}

/** `seaworthy` with these words. */
export function cli(...words: string[]): string {
  return ["seaworthy", ...words.map(word)].join(" ");
}

type Query = Record<string, string>;

/** A call with curl; the credential's two parts are the reader's to fill in. */
export function api(method: "GET" | "POST" | "DELETE", path: string, query: Query = {}, body?: unknown): string {
  const text = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== "")).toString();
  const url = `${location.origin}/api/v1${path}${text === "" ? "" : `?${text}`}`;
  const parts = ["curl", "-u", "CLIENT_ID:CLIENT_SECRET"];
  if (method !== "GET") parts.push("-X", method);
  if (body !== undefined) parts.push("-H", word("content-type: application/json"), "-d", word(JSON.stringify(body)));
  parts.push(word(url));
  return parts.join(" ");
}
