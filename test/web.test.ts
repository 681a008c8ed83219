/** rootling web in a real browser: who may see it, that nothing of others becomes markup, what it shows and does. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, statSync } from "node:fs";
import { type IncomingHttpHeaders, request } from "node:http";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type Browser, chromium, type Page } from "playwright-core";
import { type Box, busyboxBox, removeWith } from "./support/boxes.ts";
import { rootlingWords } from "./support/cli.ts";
import { type Background, background } from "./support/command.ts";
import { userKinds } from "./support/users.ts";

const MARKUP = "<img src=x onerror=document.title='owned'>";

interface Answered {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

interface Served extends Background {
  readonly url: URL;
}

/** Starts `rootling web WORDS`; the address that it prints. */
async function serve(box: Box, ...words: string[]): Promise<Served> {
  let said = "";
  const running = background(box.user.words(rootlingWords("web", ...words)), {
    env: box.user.env,
    cwd: box.user.home,
    onStart: (child) => child.stdout?.on("data", (chunk: Buffer) => (said += chunk)),
  });
  for (let tries = 0; !said.includes("\n"); tries++) {
    if (tries > 600 || !running.alive()) throw new Error(`it does not serve: ${(await running.end("SIGKILL")).stderr}`);
    await sleep(50);
  }
  return { ...running, url: new URL(said.trim()) };
}

/** Asks without a browser, which keeps to its own rules about headers. */
const ask = (
  where: { host: string; port: string } | { socketPath: string },
  path: string,
  headers: Record<string, string> = {},
  method = "GET",
): Promise<Answered> =>
  new Promise((resolve, reject) => {
    const asked = request({ ...where, path, method, headers, agent: false }, (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (chunk: string) => (body += chunk));
      response.on("end", () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }));
    });
    asked.on("error", reject).end();
  });

describe("rootling web", () => {
  let box: Box;
  let browser: Browser;
  const served: Served[] = [];

  before(async () => {
    box = await busyboxBox(userKinds[0] ?? "plain");
    browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
  });
  after(async () => {
    await browser?.close();
    for (const one of served) await one.end("SIGKILL");
    await removeWith(box, "box");
  });

  afterEach(() => box.run(["stop", "--timeout", "1", "box"]));

  const begin = async (...words: string[]): Promise<Served> => {
    const one = await serve(box, ...words);
    served.push(one);
    return one;
  };

  /** A page of a new session of the browser; what its console complains of. */
  const open = async ({ url }: Served): Promise<{ page: Page; complaints: string[] }> => {
    const page = await (await browser.newContext()).newPage();
    page.setDefaultTimeout(15_000);
    const complaints: string[] = [];
    page.on("console", (message) => void (message.type() === "error" && complaints.push(message.text())));
    page.on("pageerror", (error) => void complaints.push(String(error)));
    await page.goto(url.href);
    await page.waitForURL(`${url.origin}/`);
    return { page, complaints };
  };

  test("refuses who has no token, another host, another origin and another site", async () => {
    const { url, end } = await begin();
    const to = { host: url.hostname, port: url.port };
    assert.match(url.hostname, /^127\./);
    const right = `${url.pathname}${url.search}`;
    const refused = async (path: string, headers: Record<string, string>, method?: string): Promise<void> => {
      const { status, body, headers: given } = await ask(to, path, headers, method);
      assert.equal(status, 403, `${method ?? "GET"} ${path} ${JSON.stringify(headers)}`);
      assert.doesNotMatch(body, /box|busybox/);
      assert.equal(given["set-cookie"], undefined);
    };
    for (const path of ["/", "/page.js", "/events", "/c/box", "/cables.svg", "/?token=", "/?token=wrong"])
      await refused(path, {});
    await refused(right, { host: "rebound.example" });
    await refused(right, { host: `localhost:${url.port}` });
    await refused(right, { origin: "http://elsewhere.example" });
    await refused(right, { "sec-fetch-site": "cross-site" });

    const entered = await ask(to, right);
    assert.equal(entered.status, 200);
    const [cookie = ""] = entered.headers["set-cookie"] ?? [];
    assert.match(cookie, /^rootling-[0-9a-f]{8}=[\w-]{43}; HttpOnly; SameSite=Strict; Path=\/$/);
    await refused(right, {});
    const session = { cookie: cookie.split(";")[0] ?? "" };
    const shown = await ask(to, "/", session);
    assert.equal(shown.status, 200);
    assert.match(shown.body, /href="\/c\/box"/);
    assert.match(String(shown.headers["content-security-policy"]), /default-src 'none'.*trusted-types 'none'/);
    await refused("/", { cookie: `${session.cookie}x` });
    await refused("/", { ...session, host: "rebound.example" });
    await refused("/", { ...session, origin: "http://elsewhere.example" });
    await refused("/", { ...session, "sec-fetch-site": "same-site" });
    await refused("/c/box/start", session, "POST");
    await refused("/c/box/start", { ...session, origin: url.origin }, "POST");
    assert.match(await box.must(["list"]), /^box +stopped/m);
    for (const path of ["/c/none", "/c/%ff", "/c/..%2f..", "/none", "/c/box/timeline.svg", "/__proto__"])
      assert.equal((await ask(to, path, session)).status, 404, path);

    const { status, stderr } = await end("SIGINT");
    assert.deepEqual([status, stderr], [0, ""]);
  });

  test("shows names, commands and logs that hold markup as the text that they are, and follows", async () => {
    const { page, complaints } = await open(await begin());
    const root = join(box.scratch, `root ${MARKUP}`);
    mkdirSync(root);
    await box.must(["export", "box", "--format", "dir", "-o", join(root, "tree")]);
    const sandbox = background(box.user.words(rootlingWords("run", `dir:${root}/tree`, "sleep", "60")), {
      env: box.user.env,
      cwd: box.user.home,
    });
    const script = `echo "$0"; printf 'colour \\033[31mred\\033[0m\\n'; sleep 3; echo "later $0"; sleep 60`;
    await box.must(["start", "--detach", "--pid", "box", "sh", "-c", script, MARKUP]);
    // The table redraws itself.
    await page.waitForSelector("tr.running:has-text('box')");
    await page.waitForSelector("tr.running:has-text('sandbox')");
    assert.ok((await page.textContent("tbody"))?.includes(MARKUP));
    const cells = await page.locator("tr.running:has-text('box') [data-cell]").allTextContents();
    assert.match(cells.join(" | "), /running \| [0-9.]+ [kM]?B \| .*s \| [12]/);
    await page.click("a:text-is('box')");
    const log = page.locator("pre.log");
    assert.ok((await log.textContent())?.startsWith(`${MARKUP}\ncolour red\n`));
    await page.locator("pre.log", { hasText: "later <img" }).waitFor();
    assert.equal(await page.locator("main img").count(), 0);
    assert.equal(await page.locator("button").count(), 0, "it only shows");
    assert.notEqual(await page.title(), "owned");
    await page.click("a:text-is('Cables')");
    await page.waitForSelector("img[src='/cables.svg']");
    const picture = page.locator("img");
    assert.ok((await picture.evaluate((image) => (image as unknown as { naturalWidth: number }).naturalWidth)) > 0);
    assert.deepEqual(complaints, []);
    await sandbox.end("SIGKILL");
  });

  test("starts, draws the timeline, runs lines in a shell, and stops; nothing is left at the end", async () => {
    const one = await begin("--allow-actions");
    const { page, complaints } = await open(one);
    const row = page.locator("tr:has-text('box')");
    await row.getByRole("button", { name: "Start" }).click();
    // The image's shell has no input, and ends at once.
    await page.waitForSelector("img[src='/c/box/timeline.svg']");
    await box.must(["start", "--detach", "--pid", "box", "sleep", "60"]);
    await page.goto(`${one.url.origin}/`);
    await row.getByRole("button", { name: "Shell" }).click();
    await page.fill("#line", `echo '${MARKUP}' $((6 * 7)); sleep 1000 & echo child $!`);
    await page.keyboard.press("Enter");
    await page.locator("pre.log", { hasText: /onerror.* 42\s+child/ }).waitFor();
    assert.equal(await page.locator("main img").count(), 0);
    await page.goto(`${one.url.origin}/`);
    await row.getByRole("button", { name: "Stop" }).click();
    await page.waitForSelector("tr:has-text('box'):has-text('exited')");
    assert.deepEqual(complaints, []);
    assert.match(await box.must(["list"]), /^box +exited/m);
    assert.equal((await one.end("SIGTERM")).status, 0);
    assert.doesNotMatch(await box.must(["list"]), /running/);
  });

  test("works without JavaScript", async () => {
    const { url } = await begin("--allow-actions");
    const page = await (await browser.newContext({ javaScriptEnabled: false })).newPage();
    page.setDefaultTimeout(15_000);
    await page.goto(url.href);
    await page.waitForURL(`${url.origin}/`);
    await box.must(["start", "--detach", "--pid", "box", "sh", "-c", "echo said; sleep 60"]);
    await page.goto(`${url.origin}/c/box`);
    assert.match((await page.textContent("pre.log")) ?? "", /^said/);
    await page.getByRole("button", { name: "Shell" }).click();
    await page.fill("#line", "echo $((6 * 7))");
    await page.getByRole("button", { name: "Run" }).click();
    await page.getByRole("link", { name: "Look again" }).click();
    assert.match((await page.textContent("pre.log")) ?? "", /\n42\n$/);
    await page.getByRole("button", { name: "End the shell" }).click();
    await page.waitForSelector("text=It has ended");
  });

  test("a socket is its owner's, and goes with the command", async () => {
    const path = join(box.user.home, "page.sock");
    const { url, end } = await begin("--socket", path);
    assert.equal(statSync(path).mode & 0o777, 0o600);
    const entrance = `/${url.search}`;
    assert.equal((await ask({ socketPath: path }, entrance, { host: "rebound.example" })).status, 403);
    assert.equal((await ask({ socketPath: path }, entrance, { host: "localhost:8080" })).status, 200);
    const second = await box.run(["web", "--socket", path]);
    assert.match(second.stderr, /E_EXISTS/);
    assert.equal((await end("SIGINT")).status, 0);
    assert.ok(!existsSync(path));
  });
});
