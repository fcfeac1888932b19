// Where the console shows what a ledger record is about.
import { imageHref } from "./route.svelte";

/** The page of an object such as `repositories/prod/web@sha256:…`, where there is one. */
export function href(object: string): string | undefined {
  const cut = object.indexOf("/");
  const [kind, rest] = [object.slice(0, cut), object.slice(cut + 1)];
  switch (kind) {
    case "repositories":
      return /@sha\d+:[0-9a-f]+$|:[^/]+$/.test(rest) ? imageHref(rest) : `/images?repository=${encodeURIComponent(rest)}`;
    case "policies":
      return `/policies/${encodeURIComponent(rest)}`;
    case "principals":
      return `/access/${encodeURIComponent(rest.split("/")[0] ?? "")}`;
    case "exceptions":
      return "/exceptions";
    case "hosts":
      return `/containers?host=${encodeURIComponent(rest)}`;
    default:
      return undefined;
  }
}
