/** How rootling behaves beside other programs: pipes that close, signals, a place that is gone, a bare environment. */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { type Box, emptyBox } from "./support/boxes.ts";
import { rootlingWords } from "./support/cli.ts";
import { must, shellWord } from "./support/command.ts";
import { busyboxImage, ImageLayout } from "./support/images.ts";
import { userKinds } from "./support/users.ts";

const shell = (...words: string[]): string =>
  rootlingWords(...words)
    .map(shellWord)
    .join(" ");

describe("manners", () => {
  let box: Box;
  let source: string;
  const sh = (script: string, options = {}) => box.user.run(["sh", "-c", script], { cwd: box.user.home, ...options });

  before(async () => {
    // An ordinary user where there is one: the paths of root depend on no environment.
    box = await emptyBox(userKinds.find((kind) => kind !== "root") ?? "root");
    const layout = await ImageLayout.create(join(box.scratch, "layout"));
    await busyboxImage(layout, "latest", box.scratch);
    source = `oci:${layout.reference("latest")}`;
    // umoci makes it for its own user only.
    await must(["chmod", "-R", "a+rX", layout.directory]);
  });
  after(() => box.remove());

  test("nobody reads of the progress any more: the work goes on", async () => {
    const { stdout } = await sh(
      `{ ${shell("import", source, "-o", "a.sqsh")}; echo $? >status; } 2>&1 | true; cat status; ls`,
    );
    assert.equal(stdout, "0\na.sqsh\nstatus\n");
    await sh("rm a.sqsh status");
  });

  test("a result that cannot be written is a failure, unless its reader went away", async () => {
    const lost = await sh(`${shell("version")} >/dev/full`);
    assert.equal(lost.status, 125);
    assert.match(lost.stderr, /E_SPACE.*\n.*standard output/);
    const closed = await sh(`{ sleep 1; ${shell("--help")}; echo $? >&2; } | true`);
    assert.equal(closed.stderr, "0\n");
  });

  for (const [signal, status] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const) {
    test(`${signal} while importing, sent twice as timeout(1) does: nothing is left`, async () => {
      const outcome = await box.run(["import", source, "-o", "b.sqsh"], {
        cwd: box.user.home,
        onStart: (child) =>
          child.stderr?.once("data", () => {
            child.kill(signal);
            child.kill(signal);
          }),
      });
      assert.equal(outcome.status, status, outcome.stderr);
      assert.match(outcome.stderr, /E_INTERRUPTED/);
      assert.deepEqual(
        readdirSync(box.user.home).filter((name) => name.startsWith("b.")),
        [],
      );
    });
  }

  test("standard input that comes in drops, also one that somebody has made non-blocking", async () => {
    await sh("mkdir -p drops && echo it >drops/file && tar -C drops -czf drops.tar.gz .");
    const drops = "{ head -c 1 drops.tar.gz; sleep 1; tail -c +2 drops.tar.gz; }";
    const stored = await sh(`${drops} | ${shell("import", "-", "--name", "drops")}`);
    assert.equal(stored.status, 0, stored.stderr);
    const unblock =
      "import fcntl, os, sys; fcntl.fcntl(0, fcntl.F_SETFL, os.O_NONBLOCK); os.execv(sys.argv[1], sys.argv[1:])";
    const written = await sh(`${drops} | python3 -c ${shellWord(unblock)} ${shell("import", "-", "-o", "drops.sqsh")}`);
    assert.equal(written.status, 0, written.stderr);
  });

  test("a signal ends it while standard input is silent", async () => {
    for (const where of ["--name=silent", "--output=silent.sqsh"]) {
      const { stdout } = await sh(
        `{ head -c 300 /dev/zero; sleep 30 & echo $! >sleeper; wait; } | { timeout -k 10 -s TERM 2 ${shell("import", "-", where)}; echo "status $?"; kill "$(cat sleeper)"; }`,
      );
      assert.equal(stdout.trim(), "status 124");
      assert.ok(!readdirSync(box.user.home).some((name) => name.startsWith("silent.sqsh")));
    }
  });

  test("without HOME what needs no store works; the rest says what is missing", async () => {
    const bare = `env -i PATH="$PATH"`;
    for (const words of [["version"], ["run", "--help"], ["help", "run"]]) {
      const outcome = await sh(`${bare} ${shell(...words)}`);
      assert.equal(outcome.status, 0, outcome.stderr);
    }
    if (box.user.kind === "root") return;
    assert.match((await sh(`${bare} ${shell("list")}`)).stderr, /E_SETTING.*\n {2}mend: set HOME/);
  });

  test("help COMMAND is COMMAND --help, with the words that people type", async () => {
    const { stdout } = await box.run(["help", "start"]);
    assert.match(stdout, /^Usage: rootling start \[options\]/);
    assert.equal((await box.run(["start", "--help"])).stdout, stdout);
  });

  test("an empty word names nothing", async () => {
    for (const words of [
      ["start", ""],
      ["run", "", "sh"],
      ["copy", "", "box:/"],
      ["stop", "a", ""],
      ["wait", ""],
    ]) {
      const { status, stderr } = await box.run(words);
      assert.deepEqual([status, /is empty \[E_USAGE\]/.test(stderr)], [2, true], `${words}: ${stderr}`);
    }
    const { stderr } = await box.run(["exec", "none", "sh", "-c", ""]);
    assert.match(stderr, /E_NOT_FOUND/, "the words of a payload may be empty");
  });

  test("a directory that was removed is no defect", async () => {
    const { status, stdout, stderr } = await sh(
      `mkdir gone && cd gone && rmdir ../gone && ${shell("run", "host:", "pwd")}`,
    );
    assert.equal(status, 0, stderr);
    assert.equal(stdout, "/\n");
  });
});
