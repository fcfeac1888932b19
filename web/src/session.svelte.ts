import { get, post, Refused, remove, type Actor } from "./api";
import { start, stop } from "./live.svelte";
import { go, replace, route, to } from "./route.svelte";

let actor = $state.raw<Actor | null | undefined>(undefined);
let away = $state(false);

export const session = {
  /** Who is signed in; `null` nobody, `undefined` not known yet. */
  get actor(): Actor | null | undefined {
    return actor;
  },
  /** The server did not answer when it was asked who is signed in. */
  get away(): boolean {
    return away;
  },
};

function became(who: Actor): void {
  actor = who.kind === "anonymous" ? null : who;
  if (actor) start();
}

/** Asks who is signed in, and leads to the sign-in when nobody is. */
export async function begin(): Promise<void> {
  if (location.pathname === "/sign-in" && location.hash.length > 1) {
    const link = location.hash.slice(1);
    // The link works once; it leaves the address bar and the history before it is used.
    history.replaceState(null, "", "/sign-in");
    try {
      await signIn({ link });
      return;
    } catch (error) {
      refusedLink = error instanceof Refused ? error : undefined;
      // Whoever opens a first link is to choose a password, also while somebody else is signed in.
      if (refusedLink?.code === "PASSWORD_REQUIRED") {
        pending = link;
        actor = null;
        return;
      }
    }
  }
  try {
    became(await get<Actor>("/whoami"));
    away = false;
  } catch (error) {
    if (error instanceof Refused && error.status === 0) {
      away = true;
      return;
    }
    actor = null;
  }
  if (actor === null) toSignIn();
  else if (route.path === "/sign-in") replace(next());
}

let refusedLink = $state.raw<Refused>();
let pending = $state.raw<string>();

/** The link that waits for its owner's new password. */
export function pendingLink(): string | undefined {
  return pending;
}

/** Why the link of the address bar was refused, when it was. */
export function linkProblem(): Refused | undefined {
  return refusedLink;
}

export type Proof = { link: string; password?: string } | { name: string; password: string };

export async function signIn(by: Proof): Promise<void> {
  await post("/session", by);
  became(await get<Actor>("/whoami"));
  pending = undefined;
  refusedLink = undefined;
  replace(next());
}

/** Shows the password again, which some acts ask for; the page stays. */
export async function stepUp(password: string): Promise<void> {
  await post("/session", { name: actor?.name ?? "", password });
  start();
}

export async function signOut(): Promise<void> {
  await remove("/session");
  signedOut();
}

/** The server said that nobody is signed in any more. */
export function signedOut(): void {
  stop();
  actor = null;
  toSignIn();
}

function toSignIn(): void {
  if (route.path === "/sign-in") return;
  go(to("/sign-in", { next: route.path + location.search }));
}

/** Where to go after the sign-in: only ever a page of this site. */
function next(): string {
  const wanted = new URLSearchParams(location.search).get("next") ?? "/";
  return /^\/(?![/\\])/.test(wanted) && !wanted.startsWith("/sign-in") ? wanted : "/";
}
