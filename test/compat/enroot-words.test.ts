/** How enroot's words are split, what its help says, and what it names images. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Failure } from "../../src/base/errors.ts";
import { nameOfUri } from "../../src/compat/enroot-names.ts";
import { HELP, type Option, readWords, type Words } from "../../src/compat/enroot-words.ts";
import { enroot } from "../support/enroot.ts";
import { testUser, userKinds } from "../support/users.ts";

const OPTIONS: readonly Option[] = [
  { long: "output", short: "o", value: "FILE", about: "" },
  { long: "force", short: "f", about: "" },
];
const read = (...words: string[]) => readWords("export", OPTIONS, 1, words);
const refused = (what: RegExp) => (error: unknown) =>
  error instanceof Failure && error.code === "E_USAGE" && what.test(error.what);

test("options end at the first operand, or at --", () => {
  const shown = (words: ReturnType<typeof read>) => {
    assert.notEqual(words, HELP);
    const { has, value, operands } = words as Words;
    return [value("output"), has("force"), ...operands];
  };
  assert.deepEqual(shown(read("-o", "x", "-f", "name")), ["x", true, "name"]);
  assert.deepEqual(shown(read("--output=x=y", "--force", "name", "-o", "z")), ["x=y", true, "name", "-o", "z"]);
  assert.deepEqual(shown(read("--output", "x", "--output", "y", "--", "-f")), ["y", false, "-f"]);
  assert.deepEqual(shown(read("-")), [undefined, false, "-"]);
  assert.equal(read("-f", "-h"), HELP);
});

test("unknown options, missing values and missing operands are refused", () => {
  assert.throws(() => read("-x", "name"), refused(/"-x"/));
  assert.throws(() => read("-fo", "name"), refused(/"-fo"/));
  assert.throws(() => read("--force=y", "name"), refused(/"--force=y"/));
  assert.throws(() => read("-o"), refused(/-o lacks its value/));
  assert.throws(() => read("--output=", "name"), refused(/lacks its value/));
  assert.throws(() => read("-f"), refused(/words are missing/));
});

test("images get enroot's names", () => {
  const digest = `sha256:${"0".repeat(64)}`;
  for (const [uri, name] of [
    ["docker://ubuntu", "ubuntu"],
    ["docker://ubuntu:22.04", "ubuntu+22.04"],
    ["docker://library/ubuntu:22.04", "ubuntu+22.04"],
    ["docker://$oauthtoken@nvcr.io#nvidia/cuda:12.0-base", "nvidia+cuda+12.0-base"],
    ["docker://nvcr.io/nvidia/cuda:12.0", "nvidia+cuda+12.0"],
    ["docker://127.0.0.1:5000/team/app:1", "team+app+1"],
    ["docker://localhost:5000#team/app", "team+app"],
    [`docker://team/app:1@${digest}`, "team+app+1"],
    ["dockerd://team/app:1", "team+app+1"],
    ["podman://localhost/app:1", "localhost+app+1"],
  ] as const) {
    assert.equal(nameOfUri(uri), name, uri);
  }
});

test("help goes to standard output, what is wrong to standard error", async (t) => {
  const user = await testUser(t, userKinds.includes("plain") ? "plain" : "root");
  const say = async (...words: string[]) => {
    const { status, stdout, stderr } = await enroot(user, words);
    return { status, stdout, stderr };
  };
  const overview = await say("help");
  assert.equal(overview.status, 0);
  for (const name of overview.stdout.split("\n").flatMap((line) => /^ {3}([a-z]+)/.exec(line)?.[1] ?? [])) {
    const { status, stdout, stderr } = await say(name, "-h");
    assert.deepEqual([status, stderr], [0, ""], name);
    assert.match(stdout, new RegExp(`^Usage: enroot ${name}\\b`));
  }
  assert.deepEqual(await say(), { status: 1, stdout: overview.stdout, stderr: "" });
  assert.deepEqual(await say("version"), { status: 0, stdout: "4.1.2\n", stderr: "" });
  for (const words of [["nothing"], ["start"], ["list", "--bogus"]]) {
    const { status, stdout, stderr } = await say(...words);
    assert.deepEqual([status, stdout], [1, ""]);
    assert.match(stderr, /^\[ERROR\] .*\n {2}mend: see `enroot /);
  }
  const { stdout } = await enroot(user, ["info"], { env: { ENROOT_MAX_CONNECTIONS: "3" } });
  assert.match(stdout, /^ENROOT_MAX_CONNECTIONS +3 /m);
  assert.match(stdout, new RegExp(`^ENROOT_DATA_PATH +${user.home}/.local/share/enroot `, "m"));
});
