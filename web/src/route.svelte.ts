// The address bar is the whole state: a path, and filters behind `?`. Nothing else remembers what a
// page shows, so every view can be sent to somebody as a link.

interface Place {
  path: string;
  query: URLSearchParams;
}

function here(): Place {
  return { path: location.pathname, query: new URLSearchParams(location.search) };
}

let place = $state.raw(here());

addEventListener("popstate", () => (place = here()));

/** The path and filters that are shown. */
export const route = {
  get path(): string {
    return place.path;
  },
  get query(): URLSearchParams {
    return place.query;
  },
  /** A filter's value, empty when it is not set. */
  get(name: string): string {
    return place.query.get(name) ?? "";
  },
};

/** Goes to a page, as a step that `Back` undoes. */
export function go(href: string): void {
  if (href === location.pathname + location.search) return;
  history.pushState(null, "", href);
  place = here();
  scrollTo(0, 0);
}

/** Stays at the same step of the history, with another address. */
export function replace(href: string): void {
  history.replaceState(null, "", href);
  place = here();
}

/** This page with some filters changed; an empty value removes one. A changed filter starts its list anew. */
export function withQuery(changes: Record<string, string>): string {
  const query = new URLSearchParams(place.query);
  if (!("after" in changes)) query.delete("after");
  for (const [name, value] of Object.entries(changes)) {
    if (value === "") query.delete(name);
    else query.set(name, value);
  }
  const text = query.toString();
  return place.path + (text === "" ? "" : `?${text}`);
}

/** A path with filters. */
export function to(path: string, query: Record<string, string> = {}): string {
  const text = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== "")).toString();
  return path + (text === "" ? "" : `?${text}`);
}

/** The page of one image; `reference` is `REPOSITORY:TAG` or `REPOSITORY@DIGEST`. */
export function imageHref(reference: string, query: Record<string, string> = {}): string {
  return to(`/images/${reference.split("/").map(encodeURIComponent).join("/").replaceAll("%3A", ":").replaceAll("%40", "@")}`, query);
}

/** The page of one repository. */
export function repositoryHref(name: string, query: Record<string, string> = {}): string {
  return to(`/repositories/${name.split("/").map(encodeURIComponent).join("/")}`, query);
}

/** Follows links of this site without loading the page again. */
export function follow(event: MouseEvent): void {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = event.target instanceof Element ? event.target.closest("a") : null;
  if (!link || link.origin !== location.origin || link.target !== "" || link.hasAttribute("download")) return;
  if (link.pathname === location.pathname && link.search === location.search && link.hash !== "") return;
  if (link.pathname.startsWith("/api/")) return;
  event.preventDefault();
  go(link.pathname + link.search);
}
