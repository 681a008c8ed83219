/** The password of `--username`: asked for on a real terminal, without echo, and never left behind. */
import assert from "node:assert/strict";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, beforeEach, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type Box, emptyBox } from "./support/boxes.ts";
import { rootlingWords } from "./support/cli.ts";
import { FakeRegistry, PASSWORD, USER } from "./support/fake-registry.ts";
import { Terminal } from "./support/terminal.ts";
import { userKinds } from "./support/users.ts";

interface Seen {
  /** All that was on the screen. */
  shown: string;
  status: number;
}

const INTERRUPT = "\u0003";
const SUSPEND = "\u001a";
const CLEAR = "\u0015";
const BACKSPACE = "\u007f";

describe("--username", () => {
  let box: Box;
  let registry: FakeRegistry;
  const clear: (() => void)[] = [];
  before(async () => {
    box = await emptyBox(userKinds.find((kind) => kind !== "root") ?? "root");
    registry = await new FakeRegistry({ auth: "basic" }).start({ after: (fn) => clear.push(fn as () => void) });
  });
  after(async () => {
    for (const undo of clear) undo();
    await box.remove();
  });
  beforeEach(() => box.user.run(["sh", "-c", 'chmod -R u+rwX "$ROOTLING_DATA_PATH"; rm -rf "$ROOTLING_DATA_PATH"']));

  /**
   * Types `keys` at the question of an import; `through` starts it by another program. They are separated by blanks: each
   * is a text, the name of a signal that the import gets, or `~SECONDS` to wait.
   */
  async function type(keys: string, { through = [] as string[], progress = "plain" } = {}): Promise<Seen> {
    const source = `docker://${registry.host}/team/app:1`;
    const words = rootlingWords("import", "--username", USER, "--progress", progress, source);
    const terminal = await Terminal.start(box.user, [...through, ...words]);
    try {
      await terminal.expect(/Password of/);
      const echo = [(await terminal.modes()).echo];
      for (const key of keys.split(" ")) {
        if (key.startsWith("SIG")) process.kill(terminal.pid, key as NodeJS.Signals);
        else if (!key.startsWith("~")) terminal.send(key);
        else {
          await sleep(Number(key.slice(1)) * 1000);
          echo.push((await terminal.modes()).echo);
        }
      }
      const status = await terminal.end();
      const shown = terminal.output;
      assert.ok(!shown.includes(PASSWORD) && !shown.includes(PASSWORD.slice(0, 3)), shown);
      assert.ok(echo.every((is) => !is));
      await terminal.modes();
      assert.equal(terminal.attributes.last, terminal.attributes.before, "the terminal is as it was");
      return { shown, status };
    } finally {
      terminal.close();
    }
  }
  const stored = (): string[] => {
    const images = join(box.user.env.ROOTLING_DATA_PATH ?? "", "images");
    return existsSync(images) ? readdirSync(images) : [];
  };

  test("it is asked for without echo, edited as ever, and nothing is drawn over it", async () => {
    const wrong = PASSWORD.replace(/.$/, "x");
    const keys = `typo${CLEAR}${wrong}${BACKSPACE}${PASSWORD.at(-1)}\r`;
    const seen = await type(keys, { progress: "tty" });
    assert.equal(seen.status, 0, seen.shown);
    // What was drawn before, where the machine is slow, is erased; nothing is drawn over it.
    const before = seen.shown.slice(0, seen.shown.search(/Password of alice at 127\.0\.0\.1:[0-9]+: \r\n/));
    assert.ok(before === "" || before.endsWith("\u001b[J"), seen.shown);
    assert.match(seen.shown, /team\/app:1/);
    assert.equal(stored().length, 1);
  });

  test("Ctrl-C and SIGTERM end it, with their status and without leavings", async () => {
    assert.equal((await type(`${PASSWORD.slice(0, 4)}${INTERRUPT}`)).status, 130);
    assert.equal((await type("SIGTERM")).status, 143);
    assert.deepEqual(stored(), []);
  });

  test("none is no password, a wrong one is told as such", async () => {
    const none = await type("\r");
    assert.equal(none.status, 2);
    assert.match(none.shown, /no password was given/);
    const wrong = await type("wrong\r");
    assert.equal(wrong.status, 125);
    assert.match(wrong.shown, /the credentials of --username/);
  });

  test("Ctrl-Z stops it with the terminal as it was; continued, it asks again", async () => {
    const shell = 'set -m; "$@"; echo "stopped $?"; stty -a | grep -o -- "-\\?echo "; sleep 1; fg; echo "ended $?"';
    const [start, end] = [PASSWORD.slice(0, 4), PASSWORD.slice(4)];
    const { shown } = await type(`${start}${SUSPEND} ~3 ${end}\r`, {
      through: ["sh", "-c", shell, "sh"],
      progress: "none",
    });
    assert.match(shown, /Password of .*: stopped 148\r\necho \r\n[\s\S]*Password of .*: \r\n[\s\S]*ended 0/);
  });

  test("without a terminal it says what to do; --password-stdin needs none", async () => {
    const source = `docker://${registry.host}/team/app:1`;
    const words = ["import", "--username", USER, source];
    const alone = await box.user.run(["setsid", "-w", ...rootlingWords(...words)]);
    assert.equal(alone.status, 2);
    assert.match(alone.stderr, /a password is needed[\s\S]*mend: give it with --password-stdin/);
    const piped = await box.run([...words, "--password-stdin"], { input: `${PASSWORD}\r\n` });
    assert.equal(piped.status, 0, piped.stderr);
    const empty = await box.run([...words, "--password-stdin"], { input: "\n" });
    assert.equal(empty.status, 2);
    assert.match(empty.stderr, /standard input holds no password/);
  });
});
