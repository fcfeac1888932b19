// Debian's Chromium, and what every page is held to: nothing on the console, nothing against the
// content security policy, nothing that axe finds.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
/** How long anything may take to show, in ms: generous, because machines are shared. */
const DEADLINE = 60_000;

/** Texts of refusals that the story causes on purpose: the browser itself writes them down. */
const EXPECTED = [/status of 40[01349] /, /ERR_INTERNET_DISCONNECTED/, /ERR_CONNECTION_REFUSED/, /ERR_INCOMPLETE_CHUNKED_ENCODING/];

export async function launch() {
  return chromium.launch({
    executablePath: process.env.SEAWORTHY_CHROMIUM,
    // The tests' user may be root, whom the browser's own sandbox refuses.
    args: ["--no-sandbox", "--disable-dev-shm-usage", "--force-color-profile=srgb"],
  });
}

/** A person at a browser of their own; `wrong` gathers what must not happen. */
export async function person(browser, options = {}) {
  const wrong = [];
  const context = await browser.newContext({
    baseURL: process.env.SEAWORTHY_URL, locale: "en-GB", timezoneId: "UTC", viewport: { width: 1440, height: 900 }, ...options,
  });
  context.setDefaultTimeout(DEADLINE);
  // Runs before the page's own scripts, beside the policy and not against it.
  await context.addInitScript(AXE);
  await context.addInitScript(() => {
    globalThis.violations = [];
    addEventListener("securitypolicyviolation", (event) => globalThis.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
  });
  const page = await context.newPage();
  page.on("pageerror", (error) => wrong.push(`error: ${error.stack ?? error}`));
  page.on("dialog", (dialog) => { wrong.push(`dialog: ${dialog.message()}`); void dialog.dismiss(); });
  page.on("console", (message) => {
    const text = message.text();
    if (["error", "warning"].includes(message.type()) && !EXPECTED.some((it) => it.test(text))) wrong.push(`console: ${text}`);
  });
  return { context, page, wrong };
}

/** What WCAG 2.2 AA, as far as a program can tell, finds in the page. */
export async function axe(page) {
  return page.evaluate(async () => {
    const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
    const { violations } = await globalThis.axe.run(document, { runOnly: { type: "tag", values: tags } });
    return violations.map((it) => `${it.id}: ${it.nodes.slice(0, 3).map((node) => `${node.html.slice(0, 200)} ${node.failureSummary ?? ""}`).join(" | ")}`);
  });
}

export async function violations(page) {
  return page.evaluate(() => globalThis.violations);
}

/** Waits until nothing on the page waits for the server. */
export async function settled(page) {
  await page.locator("h1").first().waitFor();
  await page.waitForFunction(() => document.querySelectorAll("main .waiting").length === 0);
}
