// Which page an address shows.

import type { Component } from "svelte";
import AccessPage from "./pages/Access.svelte";
import Advisories from "./pages/Advisories.svelte";
import Container from "./pages/Container.svelte";
import Containers from "./pages/Containers.svelte";
import Exceptions from "./pages/Exceptions.svelte";
import Hosts from "./pages/Hosts.svelte";
import Image from "./pages/Image.svelte";
import Images from "./pages/Images.svelte";
import Ledger from "./pages/Ledger.svelte";
import NotFound from "./pages/NotFound.svelte";
import Overview from "./pages/Overview.svelte";
import Policies from "./pages/Policies.svelte";
import Policy from "./pages/Policy.svelte";
import Principal from "./pages/Principal.svelte";
import Repositories from "./pages/Repositories.svelte";
import Repository from "./pages/Repository.svelte";
import Vulnerabilities from "./pages/Vulnerabilities.svelte";
import Vulnerability from "./pages/Vulnerability.svelte";

type Given = Record<string, string>;
// Every page takes strings alone, so that an address can say them.
type Shown = Component<Given>;

export interface PageShown { name: string; component: Shown; given: Given }

const PAGES: readonly [pattern: RegExp, component: Shown, names: readonly string[]][] = [
  [/^\/(?:sign-in)?$/, Overview as Shown, []],
  [/^\/images$/, Images as Shown, []],
  [/^\/images\/(.+)$/, Image as unknown as Shown, ["reference"]],
  [/^\/repositories$/, Repositories as Shown, []],
  [/^\/repositories\/(.+)$/, Repository as unknown as Shown, ["name"]],
  [/^\/containers$/, Containers as Shown, []],
  [/^\/containers\/([^/]+)\/([^/]+)$/, Container as unknown as Shown, ["host", "id"]],
  [/^\/vulnerabilities$/, Vulnerabilities as Shown, []],
  [/^\/vulnerabilities\/([^/]+)$/, Vulnerability as unknown as Shown, ["id"]],
  [/^\/policies$/, Policies as Shown, []],
  [/^\/policies\/([^/]+)$/, Policy as unknown as Shown, ["name"]],
  [/^\/exceptions$/, Exceptions as Shown, []],
  [/^\/advisories$/, Advisories as Shown, []],
  [/^\/ledger$/, Ledger as Shown, []],
  [/^\/access$/, AccessPage as Shown, []],
  [/^\/access\/([^/]+)$/, Principal as unknown as Shown, ["name"]],
  [/^\/hosts$/, Hosts as Shown, []],
];

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export function pageOf(path: string): PageShown {
  for (const [pattern, component, names] of PAGES) {
    const match = pattern.exec(path);
    if (match) return { name: pattern.source, component, given: Object.fromEntries(names.map((name, at) => [name, decoded(match[at + 1] ?? "")])) };
  }
  return { name: "", component: NotFound as Shown, given: {} };
}
