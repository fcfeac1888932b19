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

/** Its annotation is text, whatever is in it; a dialog or a refused script would fail the page (`browser.mjs`). */
async function annotation_html(tree) {
  await tree.getByText("made by <b>hand</b><img src=x onerror=alert(2)></dd><script>alert(3)</script>", { exact: true }).waitFor();
  assert.equal(await tree.locator("dd :is(b, img, script)").count(), 0, "nothing of it is markup");
}

await step("what refers to an image opens level by level, by keyboard, and the address says it", async () => {
  await at(op, "/images/prod/web:1");
  const tree = op.locator("section[aria-labelledby=referrers]");
  const sbom = tree.locator("summary", { hasText: "SBOM CycloneDX" });
  await sbom.waitFor();
  assert.equal(await tree.getByText("Signature", { exact: true }).count(), 0, "nothing is open yet");
  await sbom.focus();
  await op.keyboard.press("Enter");
  const signature = tree.locator("summary", { hasText: "Signature cosign" });
  await signature.waitFor();
  await annotation_html(tree);
  await op.keyboard.press("Tab");
  while (!(await signature.evaluate((it) => it === document.activeElement))) await op.keyboard.press("Tab");
  await op.keyboard.press("Space");
  await tree.getByText("application/vnd.dev.cosign.artifact.sig.v1+json").waitFor();
  assert.equal(await tree.getByRole("button", { name: "Copy Digest" }).count(), 2);
  await op.reload();
  await tree.getByText("application/vnd.dev.cosign.artifact.sig.v1+json").waitFor();
  await shoot(op, "referrers.en");
  await speak(op, "ja");
  await tree.locator("summary", { hasText: "署名 cosign" }).waitFor();
  await speak(op, "en");
});

const numbers = (page, text) => page.locator(".quota-bar > span", { hasText: text });
await step("quotas in numbers, and repositories by what their names begin with", async () => {
  await op.locator("body").press("g");
  await op.locator("body").press("r");
  await op.waitForURL(/\/repositories$/);
  const bar = op.getByRole("meter", { name: "team: Tags" });
  await bar.waitFor();
  assert.equal(await bar.evaluate((it) => it.value), 0.75);
  await numbers(op, "3 of 4 (75%)").waitFor();
  await op.keyboard.press("/");
  await op.keyboard.type("team");
  await op.waitForURL(/prefix=team/);
  await settled(op);
  const rows = op.locator("main tr[data-row]");
  assert.equal(await rows.count(), 1);
  assert.match(await rows.innerText(), /team\/app\s+3\s.*Quota team.*Retention team/s);
  await op.keyboard.press("Escape");
  await rows.locator("a").focus();
  await op.keyboard.press("Enter");
  await op.waitForURL(/\/repositories\/team\/app$/);
  await op.getByText(`docker push ${new URL(url).host}/team/app:TAG`).waitFor();
  await op.getByText("seaworthy registry rules set team --quota-tags 4").waitFor();
  await settled(op);
  assert.deepEqual(await op.locator("main tr[data-row] td:first-child").allInnerTexts(), ["1", "2", "v1"]);
});

await step("retention is tried without being set, and each tag has its rule", async () => {
  await linkTo(op, "Retention preview").click();
  await op.waitForURL(/view=retention/);
  await op.getByText("On this page 3 kept, 0 removed.").waitFor();
  await op.getByLabel("Keep tags").fill("v*");
  await op.getByLabel("Keep the last").fill("1");
  await op.getByLabel("Remove others older than (days)").fill("0");
  await op.keyboard.press("Enter");
  await op.waitForURL(/last=1.*older=0/);
  await op.getByText("On this page 2 kept, 1 removed.").waitFor();
  const row = (tag) => op.locator("main tr[data-row]").filter({ has: op.getByRole("link", { name: tag, exact: true }) });
  assert.match(await row("v1").innerText(), /kept\s+its name fits v\*/);
  assert.match(await row("2").innerText(), /kept\s+among the last 1 that were set/);
  assert.match(await row("1").innerText(), /removed\s+set more than 0 days ago/);
  await op.reload();
  await op.getByText("On this page 2 kept, 1 removed.").waitFor();
  await shoot(op, "preview.en");
  await linkTo(op, "Back to the rules that hold").click();
  await op.getByText("On this page 3 kept, 0 removed.").waitFor();
});

await step("a deleted tag comes back by mouse, and the quota is full", async () => {
  const watcher = await somebody();
  await watcher.goto("/");
  await watcher.getByLabel("Name").fill("ann");
  await watcher.getByLabel("Password").fill(PASSWORD);
  await button(watcher, "Sign in").click();
  await watcher.getByRole("navigation", { name: "Pages" }).waitFor();
  await at(watcher, "/repositories?prefix=team");
  await numbers(watcher, "3 of 4 (75%)").waitFor();
  await linkTo(op, "Deleted").click();
  await op.getByText("asked for").waitFor();
  await op.getByText("seaworthy image restore team/app:gone").waitFor();
  await shoot(op, "deleted.en");
  await button(op, "Restore gone").click();
  await op.getByText("Nothing that was deleted here can be restored.").waitFor();
  // Another person sees it without asking again.
  await numbers(watcher, "4 of 4 (100%)").waitFor();
  await watcher.getByText("full", { exact: true }).waitFor();
  await linkTo(op, "Tags").click();
  await linkTo(op, "gone").waitFor();
  await watcher.context().close();
  people.splice(people.findIndex((it) => it.page === watcher), 1);
});

await step("a tag that was deleted twice comes back as it was either time", async () => {
  await at(op, "/repositories/twice/app?view=deleted");
  const digests = async () => op.locator("main tr[data-row] code[title^='sha256:']").evaluateAll((all) => all.map((it) => it.title.split(" ")[0]));
  const both = await digests();
  assert.equal(new Set(both).size, 2, both.join(" "));
  await button(op, "Restore 1").nth(1).click();
  await op.waitForFunction(() => document.querySelectorAll("main tr[data-row]").length === 1);
  assert.deepEqual(await digests(), both.slice(0, 1));
  await linkTo(op, "Tags").click();
  await linkTo(op, "1").waitFor();
  assert.deepEqual(await digests(), both.slice(1));
});

await step("what is in quarantine says so, and how each repository is pushed to", async () => {
  await at(op, "/repositories/unseen/app");
  const held = op.locator("main tr[data-row]");
  await held.getByText("in quarantine", { exact: true }).waitFor();
  assert.equal(await held.getByRole("button", { name: "Copy the pull command" }).count(), 0, "nobody can pull it");
  await at(op, "/repositories/vetted/app");
  await op.getByText("seaworthy image promote SOURCE:TAG vetted/app:TAG").first().waitFor();
  assert.equal(await op.getByText(/docker push/).count(), 0, "a push is refused");
  assert.equal(await op.locator("main tr[data-row]").getByRole("button", { name: "Copy the pull command" }).count(), 1);
});

await step("quotas that cannot be read are not shown as none", async () => {
  const refusal = { status: 404, contentType: "application/json", body: JSON.stringify({ error: { code: "NOT_FOUND", message: "usage is away" } }) };
  await op.route("**/api/v1/registry/usage*", (route) => route.fulfill(refusal));
  await at(op, "/repositories");
  await op.getByRole("alert").getByText("usage is away").waitFor();
  await op.unroute("**/api/v1/registry/usage*");
});

await step("rules are set by a form and removed by name", async () => {
  await at(op, "/repositories?view=rules");
  await button(op, "Set rules").click();
  let dialog = op.getByRole("dialog");
  await dialog.getByLabel(/^Prefix/).fill("stage");
  await dialog.getByLabel(/^Nobody pushes here/).check();
  await dialog.getByLabel(/^Immutable tags/).fill("v* *-release");
  await dialog.getByLabel(/^Most bytes/).fill("1.5GiB");
  await button(dialog, "Set rules").click();
  assert.equal(await dialog.getByLabel(/^Most bytes/).evaluate((it) => it.validity.customError), true, "no number of bytes");
  await dialog.getByLabel(/^Most bytes/).fill("200GiB");
  await dialog.getByText("As CLI or API call").click();
  await dialog.getByText("seaworthy registry rules set stage --promotion-only --immutable 'v*' --immutable '*-release' --quota-bytes 200GiB").waitFor();
  await button(dialog, "Set rules").click();
  await dialog.waitFor({ state: "detached" });
  const row = op.locator("main tr[data-row]", { hasText: "stage" });
  await row.getByText("Promotion only").waitFor();
  await row.getByText("v* *-release").waitFor();
  await row.getByText(/0 bytes of 215 GB/).waitFor();
  await button(op, "Set retention").click();
  dialog = op.getByRole("dialog");
  await dialog.getByLabel(/^Prefix/).fill("stage");
  await dialog.getByLabel("Keep the last").fill("7");
  await button(dialog, "Set retention").click();
  await dialog.waitFor({ state: "detached" });
  await op.getByText("keeps the last 7").waitFor();
  await button(row.filter({ hasText: "Promotion only" }), "Remove the rules").click();
  dialog = op.getByRole("dialog");
  assert.equal(await button(dialog, "Remove the rules").isDisabled(), true, "the name is not typed");
  await dialog.getByLabel("Type stage to confirm").fill("stage");
  await button(dialog, "Remove the rules").click();
  await dialog.waitFor({ state: "detached" });
  await row.getByText("Promotion only").waitFor({ state: "detached" });
});

await step("more rules than a page shows are on the next one, and each list has its own pages", async () => {
  const names = Array.from({ length: 51 }, (_, number) => `many/p${String(number).padStart(2, "0")}`);
  const ask = async (method, name) => op.evaluate(async ([method, name]) => {
    const rules = { prefix: name, immutable: ["v*"] };
    const sent = method === "POST" ? ["", { method, headers: { "content-type": "application/json" }, body: JSON.stringify(rules) }] : [`?prefix=${encodeURIComponent(name)}`, { method }];
    return (await fetch(`/api/v1/registry/rules${sent[0]}`, sent[1])).status;
  }, [method, name]);
  for (const name of names) assert.ok(await ask("POST", name) < 300, name);
  await at(op, "/repositories?view=rules");
  const section = op.locator("section[aria-labelledby=writing]");
  const shown = async () => (await section.locator("tr[data-row] td:first-child").allInnerTexts()).map((text) => text.trim());
  // By the order of bytes: the quota of `team` is behind them.
  assert.deepEqual(await shown(), names.slice(0, 50));
  const retained = await op.locator("section[aria-labelledby=retention] tr[data-row]").count();
  await section.getByRole("link", { name: "Next page" }).click();
  await op.waitForURL(/rules-after=many%2Fp49/);
  await settled(op);
  assert.deepEqual((await shown()).slice(0, 2), [names[50], "team"]);
  assert.equal(await section.getByRole("link", { name: "Next page" }).count(), 0);
  assert.equal(await op.locator("section[aria-labelledby=retention] tr[data-row]").count(), retained);
  await op.reload();
  await settled(op);
  assert.equal((await shown())[0], names[50]);
  await section.getByRole("link", { name: "First page" }).click();
  await op.waitForURL((it) => !it.search.includes("rules-after="));
  await settled(op);
  assert.equal((await shown())[0], names[0]);
  for (const name of names) assert.ok(await ask("DELETE", name) < 300, name);
});

await step("who may only pull sees the rules and no form", async () => {
  const puller = await somebody();
  await puller.goto(process.env.SEAWORTHY_PULLER_LINK);
  await puller.getByLabel("New password", { exact: true }).fill(PASSWORD);
  await puller.getByLabel("New password, again").fill(PASSWORD);
  await button(puller, "Set the password and sign in").click();
  await puller.getByRole("navigation", { name: "Pages" }).waitFor();
  await at(puller, "/repositories");
  assert.deepEqual(await puller.locator("main tr[data-row] td:first-child").allInnerTexts(), ["team/app"], "others are not there");
  await at(puller, "/repositories?view=rules");
  assert.equal(await button(puller, "Set rules").count() + (await button(puller, "Set retention").count()), 0);
  await puller.getByText("seaworthy registry rules set prod --promotion-only").waitFor();
  await at(puller, "/repositories/prod/web");
  await puller.getByText("repository prod/web is not known").waitFor();
  await at(puller, "/repositories/team/app");
  await puller.getByText("You may not push here.").first().waitFor();
  assert.equal(await puller.getByText(/docker push/).count(), 0);
  await at(puller, "/repositories/team/app?view=deleted");
  assert.equal(await puller.getByRole("button", { name: /^Restore/ }).count(), 0);
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
  ["access", "/access"], ["principal", "/access/ann"], ["hosts", "/hosts"],
  ["repositories", "/repositories"], ["rules", "/repositories?view=rules"], ["repository", "/repositories/team/app"],
  ["retention", "/repositories/team/app?view=retention&last=1&older=0"], ["deleted", "/repositories/prod/web?view=deleted"], ["not-found", "/images/none/such:1"],
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
    for (const [page, path] of PAGES.filter(([page]) => ["overview", "image", "container", "ledger", "repositories", "rules", "repository", "retention"].includes(page))) {
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
