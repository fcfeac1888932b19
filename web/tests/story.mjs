// The story of the console, as two people live it: by mouse, by keyboard, in English and in
// Japanese. The server, its images and its containers are made by crates/cli/tests/console.rs.
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { axe, launch, person, settled, violations } from "./browser.mjs";

const { SEAWORTHY_URL: url, SEAWORTHY_LINK: link, SEAWORTHY_OTHER_LINK: otherLink, SEAWORTHY_SCREENSHOTS: shots } = process.env;
const CONTAINER = process.env.SEAWORTHY_CONTAINER;
const PASSWORD = "a long enough passphrase";

if (shots) mkdirSync(shots, { recursive: true });
const browser = await launch();
const people = [];

async function somebody(options) {
  const one = await person(browser, options);
  people.push(one);
  return one.page;
}

async function step(name, act) {
  const began = Date.now();
  try {
    await act();
  } catch (error) {
    console.log(`failed: ${name}`);
    for (const [at, { page, wrong }] of people.entries()) {
      console.log(`--- person ${at} at ${page.url()}: ${wrong.join("; ")}\n${await page.locator("body").innerText().catch(String)}`);
      if (shots) await page.screenshot({ path: join(shots, `failed-${at}.png`), fullPage: true }).catch(() => {});
    }
    throw error;
  }
  console.log(`${name}: ${Date.now() - began} ms`);
}

/** A picture for people, when they asked for some. */
async function shoot(page, name) {
  if (shots) await page.screenshot({ path: join(shots, `${name}.png`) });
}

async function speak(page, word) {
  await page.locator("footer select").first().selectOption(word);
  assert.equal(await page.evaluate(() => document.documentElement.lang), word);
  await settled(page);
}

const linkTo = (page, name) => page.getByRole("link", { name, exact: true });
const button = (page, name) => page.getByRole("button", { name, exact: true });

async function at(page, path) {
  await page.goto(path);
  await settled(page);
}

const op = await somebody();

await step("the printed link signs in, once, and leaves the address", async () => {
  await op.goto(link);
  await op.getByRole("navigation", { name: "Pages" }).waitFor();
  assert.ok(!op.url().includes("swl_"), op.url());
  const again = await somebody();
  await again.goto(link);
  await again.getByRole("alert").waitFor();
  assert.equal(await again.getByRole("navigation", { name: "Pages" }).count(), 0);
});

await step("the overview answers in a sentence", async () => {
  await at(op, "/");
  await op.getByText("1 image is blocked").first().waitFor();
  await op.getByText(/\d+ containers? runs? what is blocked|\d+ containers? run what is blocked/).first().waitFor();
});

let digest;
await step("what is blocked, why, and the command that fixes it", async () => {
  await linkTo(op, "Images").first().click();
  await op.getByLabel("Clearance").selectOption("blocked");
  await op.waitForURL(/verdict=blocked/);
  await settled(op);
  await op.locator("main [data-row] a", { hasText: /^1$|prod\/web/ }).first().click();
  await op.getByText("This image may not be pulled.").waitFor();
  await op.getByText("prod/vulns").first().waitFor();
  await op.getByText(/removes \d+/).first().waitFor();
  await op.getByText(/apt-get install|apt-get upgrade|apt install/).first().waitFor();
  await shoot(op, "blocked.en");
  digest = await op.evaluate(() => document.querySelector("main .facts code[title^='sha256:']")?.getAttribute("title"));
  assert.match(digest ?? "", /^sha256:[0-9a-f]{64}$/);
});

await step("every number leads to its rows, and the address says all", async () => {
  await linkTo(op, "Rows").click();
  await op.waitForURL(/view=rows/);
  await op.getByLabel("Text", { exact: true }).first().fill("openssl");
  await op.waitForURL(/text=openssl/);
  await settled(op);
  const shown = await op.locator("main tr[data-row]").count();
  await op.reload();
  await settled(op);
  await op.locator("main tr[data-row]").first().waitFor();
  assert.equal(await op.locator("main tr[data-row]").count(), shown, "the same address shows the same rows");
});

await step("from the image to the container that runs it", async () => {
  await at(op, "/images/prod/web:1");
  await op.getByRole("heading", { name: "Where it runs" }).waitFor();
  await op.locator("section[aria-labelledby=runs] a", { hasText: CONTAINER }).click();
  await op.getByText("This container runs what it may not.").waitFor();
  await op.getByText(/it does not stop the container/).waitFor();
  await op.getByText(/runs as root/).first().waitFor();
  await op.getByText("<img src=x onerror=alert(1)>").first().waitFor({ state: "attached" });
  await speak(op, "ja");
  await op.getByText("root で実行").first().waitFor();
  await shoot(op, "violation.ja");
  await speak(op, "en");
});

await step("what runs vulnerable", async () => {
  await linkTo(op, "Vulnerabilities").first().click();
  await linkTo(op, "By CVE").click();
  await settled(op);
  await op.locator("main tr[data-row] a").first().click();
  await op.getByRole("heading", { name: "Containers that run it" }).waitFor();
  await op.locator("main a", { hasText: CONTAINER }).first().waitFor();
});

const ann = await somebody();
await step("another person sets a password and asks for an exception", async () => {
  await ann.goto(otherLink);
  await ann.getByLabel("New password", { exact: true }).fill(PASSWORD);
  await ann.getByLabel("New password, again").fill("something else is typed");
  await button(ann, "Set the password and sign in").click();
  await ann.getByText("The two passwords differ.").waitFor();
  await ann.getByLabel("New password", { exact: true }).fill(PASSWORD);
  await ann.getByLabel("New password, again").fill(PASSWORD);
  await button(ann, "Set the password and sign in").click();
  await ann.getByRole("navigation", { name: "Pages" }).waitFor();
  await at(ann, "/images/prod/web:1");
  await button(ann, "Request an exception").first().click();
  const dialog = ann.getByRole("dialog");
  assert.equal(await dialog.getByLabel("Rule").inputValue(), "prod/vulns");
  assert.equal(await dialog.getByLabel("Repository").inputValue(), "prod/web");
  await dialog.getByLabel(/^Reason/).fill("a base with the fixes is built tonight");
  await button(dialog, "Request").click();
  await ann.waitForURL(/\/exceptions/);
  await ann.getByText(/somebody else has to approve it/).waitFor();
  assert.equal(await button(ann, "Approve").count(), 0, "nobody approves their own");
});

await step("a second person approves it, and the image is allowed without a reload", async () => {
  await at(op, "/images/prod/web:1");
  const watcher = await somebody();
  await watcher.goto("/");
  await watcher.getByLabel("Name").fill("ann");
  await watcher.getByLabel("Password").fill(PASSWORD);
  await button(watcher, "Sign in").click();
  await watcher.getByRole("navigation", { name: "Pages" }).waitFor();
  await at(watcher, "/images/prod/web:1");
  await watcher.getByText("This image may not be pulled.").waitFor();
  await at(op, "/exceptions?state=requested");
  await button(op, "Approve").click();
  const dialog = op.getByRole("dialog");
  await dialog.getByText(/From now on prod\/vulns does not block prod\/web/).waitFor();
  await button(dialog, "Approve").click();
  await dialog.waitFor({ state: "detached" });
  await watcher.getByText("This image may be pulled.").waitFor();
});

await step("who pushed it, and the proof of it", async () => {
  await at(op, `/ledger?object=${encodeURIComponent(`repositories/prod/web@${digest}`)}`);
  await op.locator("main tr[data-row]", { hasText: "manifest.push" }).locator("a").first().click();
  const drawer = op.getByRole("dialog");
  await drawer.getByText(/operator-\d+/).first().waitFor();
  await drawer.getByText(/signed checkpoint over \d+/).waitFor();
  await op.keyboard.press("Escape");
  await drawer.waitFor({ state: "detached" });
  await button(op, "Verify the ledger").click();
  await op.getByText(/records are as written/).first().waitFor();
});

await step("by keyboard alone", async () => {
  await at(op, "/");
  await op.locator("body").press("g");
  await op.locator("body").press("i");
  await op.waitForURL(/\/images$/);
  await settled(op);
  await op.locator("main tr[data-row]").first().waitFor();
  await op.keyboard.press("j");
  await op.keyboard.press("Enter");
  await op.waitForURL(/\/images\/.+/);
  await op.keyboard.press("Control+k");
  await op.getByRole("dialog").waitFor();
  await op.keyboard.type(CONTAINER);
  await op.getByRole("dialog").getByText(CONTAINER).first().waitFor();
  await op.keyboard.press("Enter");
  await op.waitForURL(/\/containers\//);
  await op.keyboard.press("Control+k");
  await op.getByRole("dialog").waitFor();
  await op.keyboard.press("Escape");
  await op.getByRole("dialog").waitFor({ state: "detached" });
  await op.keyboard.press("?");
  await op.getByRole("dialog", { name: "Keys" }).waitFor();
  await op.keyboard.press("Escape");
});

const containerPath = new URL(op.url()).pathname;
const PAGES = [
  ["overview", "/"], ["images", "/images"], ["image", "/images/prod/web:1"], ["findings", "/images/prod/web:1?view=rows"], ["containers", "/containers"],
  ["container", containerPath], ["vulnerabilities", "/vulnerabilities"], ["by-cve", "/vulnerabilities?by=vulnerability"], ["policies", "/policies"],
  ["policy", "/policies/prod"], ["exceptions", "/exceptions"], ["advisories", "/advisories"], ["ledger", "/ledger"], ["record", "/ledger?record=1"],
  ["access", "/access"], ["principal", "/access/ann"], ["hosts", "/hosts"], ["not-found", "/images/none/such:1"],
];

await step("every page in both languages: sound to axe, quiet, translated", async () => {
  const found = [];
  for (const word of ["en", "ja"]) {
    await at(op, "/");
    await speak(op, word);
    for (const [name, path] of PAGES) {
      await at(op, path);
      found.push(...(await axe(op)).map((it) => `${word} ${path}: ${it}`));
      assert.deepEqual(await violations(op), [], `${word} ${path}`);
      const wide = await op.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (wide > 0) found.push(`${word} ${path} is ${wide} pixels too wide`);
      const heading = await op.locator("h1").first().innerText();
      assert.notEqual(heading.trim(), "", path);
      await shoot(op, `${name}.${word}`);
    }
  }
  assert.deepEqual(found, []);
  await at(op, "/");
  await speak(op, "en");
});

await step("dark, narrow and high contrast", async () => {
  const found = [];
  for (const [name, media, size] of [
    ["dark", { colorScheme: "dark" }, [1440, 900]],
    ["narrow", { colorScheme: "light" }, [390, 844]],
    ["contrast", { colorScheme: "dark", contrast: "more" }, [1440, 900]],
    ["forced", { colorScheme: "light", contrast: "no-preference", forcedColors: "active" }, [720, 450]],
  ]) {
    await op.emulateMedia(media);
    await op.setViewportSize({ width: size[0], height: size[1] });
    for (const [page, path] of PAGES.filter(([page]) => ["overview", "image", "container", "ledger"].includes(page))) {
      await at(op, path);
      found.push(...(await axe(op)).map((it) => `${name} ${path}: ${it}`));
      const wide = await op.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (wide > 0) found.push(`${name} ${path} is ${wide} pixels too wide`);
      await shoot(op, `${page}.${name}`);
    }
  }
  assert.deepEqual(found, []);
  await op.emulateMedia({ colorScheme: "light", contrast: "no-preference", forcedColors: "none" });
  await op.setViewportSize({ width: 1440, height: 900 });
});

await step("a server that hangs is said to, until it goes on", async () => {
  await at(op, "/");
  process.kill(Number(process.env.SEAWORTHY_PID), "SIGSTOP");
  try {
    await op.getByText(/No word from the server for/).waitFor();
  } finally {
    process.kill(Number(process.env.SEAWORTHY_PID), "SIGCONT");
  }
  await op.getByText(/No word from the server for/).waitFor({ state: "detached" });
});

await step("signing out ends it", async () => {
  await button(ann, "Sign out").click();
  await ann.getByLabel("Password").waitFor();
  await ann.goto("/ledger");
  await ann.getByLabel("Password").waitFor();
});

for (const [index, { wrong, page }] of people.entries()) {
  assert.deepEqual(wrong, [], `person ${index}`);
  assert.deepEqual(await violations(page), [], `person ${index}`);
}
await browser.close();
console.log(`the story holds at ${url}`);
