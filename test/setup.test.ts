/** What setup says to those who cannot install, and that it does nothing where nothing is missing. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { command } from "./support/command.ts";

const setup = join(import.meta.dirname, "../scripts/setup.sh");
const amRoot = process.getuid?.() === 0;

test("nothing is said where nothing is missing", async () => {
  const outcome = await command(["sh", setup, "test"]);
  assert.deepEqual([outcome.status, outcome.stdout, outcome.stderr], [0, "", ""]);
});

test("an unknown level is refused", async () => {
  assert.equal((await command(["sh", setup, "everything"])).status, 2);
});

test("an ordinary user is told the missing packages and the command", { skip: !amRoot && "needs root" }, async () => {
  // In mount namespaces of their own two programs are hidden, and nobody asks.
  const hide = `mount --bind /dev/null "$(command -v umoci)" && mount --bind /dev/null "$(command -v musl-gcc)" &&
    exec setpriv --reuid=65534 --regid=65534 --clear-groups sh "$@"`;
  // Not bench: the peers are not there on a machine that only runs the tests.
  for (const level of ["start", "test"]) {
    const outcome = await command(["unshare", "--mount", "sh", "-c", hide, "sh", setup, level]);
    assert.equal(outcome.status, 125);
    assert.match(outcome.stderr, /musl-tools: .*\n.*umoci: .*\n/);
    assert.match(outcome.stderr, /sudo apt-get install --no-install-recommends musl-tools umoci\n$/);
  }
});
