/** The command virt-bootstrap as its users drive it: words, lines, prompts, statuses, and what is left after an end. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, type TestContext, test } from "node:test";
import { type ArgparseOption, readArgparseWords } from "../../src/compat/argparse-words.ts";
import { type Box, emptyBox } from "../support/boxes.ts";
import { packageDirectory } from "../support/cli.ts";
import type { CommandOptions } from "../support/command.ts";
import { FakeRegistry, PASSWORD, secretsIn, USER } from "../support/fake-registry.ts";
import { failsWith } from "../support/image-support.ts";
import { type PublicImages, publicImages } from "../support/public-images.ts";
import { Terminal } from "../support/terminal.ts";
import { ordinaryKinds, userKinds } from "../support/users.ts";

const words = (...rest: string[]) => [join(packageDirectory(), "bin/virt-bootstrap"), ...rest];

/** What an ordinary user is told. */
const OWN =
  "WARNING : all files are yours, also those of 0:42 and others: user.rootlesscontainers says whose they were\n";

describe("virt-bootstrap", () => {
  let box: Box;
  let images: PublicImages;
  const undo: (() => unknown)[] = [];
  const later = { after: (then: () => unknown) => undo.push(then) } as never;
  before(async () => {
    images = await publicImages(later);
    box = await emptyBox(ordinaryKinds[0] ?? "plain");
    undo.push(() => box.remove());
  });
  after(async () => {
    for (const then of undo.reverse()) await then();
  });

  const run = (rest: readonly string[], options: CommandOptions = {}) =>
    box.user.run(words(...rest), {
      ...options,
      env: { CONTAINERS_REGISTRIES_CONF: images.env.CONTAINERS_REGISTRIES_CONF ?? "", ...options.env },
    });
  let made = 0;
  const place = () => join(box.user.home, `place-${++made}`, "root");

  test("says in lines what it does, as virt-bootstrap does", async () => {
    const dest = place();
    const { status, stdout, stderr } = await run(["docker://ubuntu", dest]);
    assert.deepEqual([status, stdout], [0, ""], stderr);
    assert.deepEqual(stderr.replaceAll(/size: [0-9]+\n/g, "size: N\n").split("\n"), [
      "INFO    : Checking cached layers",
      "INFO    : Downloading container image",
      "INFO    : Extracting container layers",
      "INFO    : Extracting layer (1/2) with size: N",
      "INFO    : Extracting layer (2/2) with size: N",
      OWN.trim(),
      "INFO    : Download and extract completed!",
      `INFO    : Files are stored in: ${dest}`,
      "",
    ]);
    assert.equal(readFileSync(join(dest, "etc/os-release"), "utf8"), "ID=ubuntu\n");
    assert.ok(!existsSync(join(dest, "etc/gone")));
    assert.equal((await run(["-q", "docker://ubuntu", place()])).stderr, OWN);
    assert.match((await run(["-dq", "-d", "docker://ubuntu", place()])).stderr, /\nINFO {4}: Files/);
  });

  test("--status-only prints nothing but how far it is, over the line before", async () => {
    const { status, stdout, stderr } = await run(["--status", "docker://fedora", place(), "--no-cache"]);
    assert.deepEqual([status, stderr], [0, ""]);
    const lines = stdout.split(/\r+/).filter(Boolean);
    assert.ok(lines.every((line) => line.length === 79 && /^Status: .+, Progress: [0-9]+\.[0-9]{2}% *$/.test(line)));
    assert.ok(stdout.startsWith("\r") && stdout.endsWith("\r") && !stdout.includes("\n"));
    const shown = lines.map((line) => line.trim());
    assert.equal(shown[0], "Status: Checking cached layers, Progress: 0.00%");
    assert.ok(shown.some((line) => line.startsWith("Status: Downloading layer (1/2), Progress: ")));
    assert.equal(shown.at(-1), "Status: Download and extract completed!, Progress: 100.00%");
  });

  test("a tarball; a password for root; other owners as root", async (t) => {
    const root = userKinds.includes("root") ? await emptyBox("root") : undefined;
    t.after(() => root?.remove());
    const { user } = root ?? box;
    const at = (name: string) => join(user.home, name);
    for (const name of ["tree/etc", "tree/home"]) mkdirSync(at(name), { recursive: true });
    writeFileSync(at("tree/etc/shadow"), "root:!:1:::::\nnobody:!:1:::::\n", { mode: 0o600 });
    writeFileSync(at("password"), "from a file\nand not this\n");
    const env = { PATH: process.env.PATH ?? "" };
    await user.run(["tar", "--create", "--xz", "--owner=7", "--file", "root.tar.xz", "-C", "tree", "."], { env });
    const map = root === undefined ? [] : ["--idmap", "7:1007:1", "--gidmap=0:5:1", "--uidmap", "0:3:1"];
    const secret = `file:${at("password")}`;
    const outcome = await user.run(words("--root-password", secret, at("root.tar.xz"), at("root"), ...map));
    assert.equal(outcome.status, 0, outcome.stderr);
    assert.match(outcome.stderr, /INFO {4}: Extracting files into destination directory\n/);
    assert.match(outcome.stderr, /INFO {4}: Extraction completed successfully!\nINFO {4}: Files are stored in: /);
    const shadow = readFileSync(at("root/etc/shadow"), "utf8");
    assert.match(shadow, /^root:\$6\$[^:]{90,}:1:::::\nnobody:!:1:::::\n$/);
    if (root !== undefined)
      assert.deepEqual(ownersOf(at("root/home")), [1007, statSync(at("tree/home")).gid === 0 ? 5 : 0]);
    const plain = await user.run(words("--root-password", "typed", at("root.tar.xz"), at("other")));
    assert.match(plain.stderr, /WARNING : others can read a root password on the command line/);
    assert.notEqual(readFileSync(at("other/etc/shadow"), "utf8").split(":")[1], shadow.split(":")[1]);
  });

  test("its exit statuses: 2 for words that are not known, 1 for what goes wrong", async () => {
    const full = join(box.user.home, "full");
    await box.user.run(["sh", "-c", "mkdir full; echo canary >full/file"]);
    for (const [rest, status, said] of [
      [[], 2, /required: URI, DEST/],
      [["docker://ubuntu"], 2, /required: DEST/],
      [["docker://ubuntu", full, "third"], 2, /unrecognized arguments: third/],
      [["--no-such", "docker://ubuntu", full], 2, /unrecognized arguments: --no-such/],
      [["-f", "vmdk", "docker://ubuntu", full], 2, /invalid choice/],
      [["--idmap", "1:2", "docker://ubuntu", full], 1, /is no range of ids/],
      [["--idmap=0:5:3", "--uidmap=2:9:1", "docker://ubuntu", place()], 1, /mapped twice.*\n {2}from: --uidmap\n/],
      [["--root-password=file:/dev/null", "docker://ubuntu", place()], 1, /empty.*\n {2}from: --root-password\n/],
      [["docker://ubuntu", full], 1, /exists already/],
      [["docker://ubuntu", "/"], 1, /the place of \//],
      [["docker://ubuntu", "//"], 1, /the place of \//],
      [["docker://missing", place()], 1, /ERROR {3}: /],
      [["nothing://x", place()], 1, /not a source that is known/],
      [["--root-password=file:missing", "docker://ubuntu", place()], 1, /reading the password/],
    ] as const) {
      const outcome = await run(rest);
      assert.deepEqual([outcome.status, outcome.stdout], [status, ""], `${rest.join(" ")}: ${outcome.stderr}`);
      assert.match(outcome.stderr, said);
      assert.doesNotMatch(outcome.stderr, /defect/);
    }
    assert.deepEqual(readdirSync(full), ["file"]);
    assert.ok(!existsSync(join(box.user.home, `place-${made}`)), "nor what was missing above it");
    assert.equal((await run(["--force", "docker://ubuntu", full])).status, 0);
    assert.ok(!existsSync(join(full, "file")));
    assert.match((await run(["--help"])).stdout, /^Usage: virt-bootstrap \[OPTIONS\] URI DEST\n/);
  });

  describe("a registry that wants a login", () => {
    let registry: FakeRegistry;
    const onTerminal = async (t: TestContext, ...rest: string[]) => {
      const terminal = await Terminal.start(box.user, words(...rest));
      t.after(() => terminal.close());
      return terminal;
    };
    before(async () => {
      registry = await new FakeRegistry({ auth: "basic" }).start(later);
    });
    const login = (...rest: string[]) => ["-u", USER, ...rest, `docker://${registry.host}/team/app:1`];

    test("asks for the password on the terminal, without echo", async (t) => {
      const dest = place();
      const terminal = await onTerminal(t, ...login(), dest);
      await terminal.expect(/Password: /);
      assert.equal((await terminal.modes()).echo, false);
      terminal.send(`${PASSWORD}\r`);
      assert.equal(await terminal.end(), 0, terminal.output);
      assert.deepEqual(secretsIn(terminal.output), []);
      assert.equal(readFileSync(join(dest, "file"), "utf8"), "right");
    });

    test("takes it from -p, or where there is no terminal from standard input", async () => {
      assert.equal((await run([...login("-p", PASSWORD), place()])).status, 0);
      const session = ["setsid", "--wait", ...words(...login(), place())];
      assert.equal((await box.user.run(session, { input: `${PASSWORD}\n` })).status, 0);
      const wrong = await run([...login("--password=wrong"), place()]);
      assert.equal(wrong.status, 1);
      assert.match(wrong.stderr, /ERROR {3}: .*E_DENIED/);
    });

    for (const format of ["dir", "qcow2"]) {
      test(`ctrl-c ends it with 130, and nothing is left of ${format}`, async (t) => {
        registry.faults.layer = ({ response, content }) => {
          response.writeHead(200, { "content-length": content.length });
          response.write(content.subarray(0, 1000));
          return true;
        };
        t.after(() => delete registry.faults.layer);
        const dest = place();
        const left = () => box.user.run(["sh", "-c", "ls -A; ls -A /var/tmp | grep rootling-cache"]);
        const earlier = (await left()).stdout;
        const flags = ["--no-cache", "--status", "-f", format];
        const terminal = await onTerminal(t, ...login("-p", PASSWORD), ...flags, dest);
        await terminal.expect(/Downloading layer/);
        assert.notEqual((await left()).stdout, earlier, "there is something to be left");
        terminal.send("\u0003");
        assert.equal(await terminal.end(), 130, terminal.output);
        assert.equal((await left()).stdout, earlier);
      });
    }
  });
});

const ownersOf = (path: string): number[] => [statSync(path).uid, statSync(path).gid];

test("words as argparse takes them", () => {
  const options: ArgparseOption[] = [
    { long: "format", short: "f", value: "FORMAT", about: "" },
    { long: "password", short: "p", value: "PASSWORD", about: "" },
    { long: "pass", value: "X", about: "" },
    { long: "uidmap", value: "MAP", about: "" },
    { long: "debug", short: "d", about: "" },
    { long: "quiet", short: "q", about: "" },
  ];
  const read = (text: string) => {
    const found = readArgparseWords(options, ["URI", "DEST"], text.split(" "));
    const given = options.flatMap(({ long }) => found.values(long).map((value) => `${long}=${value}`));
    return `${given.join(" ")} | ${found.operands.join(" ")} | ${found.last(["debug", "quiet"])}`;
  };
  assert.equal(read("a b"), " | a b | undefined");
  assert.equal(read("-dqf qcow2 a b"), "format=qcow2 debug= quiet= | a b | quiet");
  assert.equal(read("-fdir a -q b -d"), "format=dir debug= quiet= | a b | debug");
  assert.equal(read("a --form=dir --uid 1:2:3 --u=4:5:6 b"), "format=dir uidmap=1:2:3 uidmap=4:5:6 | a b | undefined");
  assert.equal(read("--pass x a b"), "pass=x | a b | undefined", "a whole name is not ambiguous");
  assert.equal(read("-- -a --b"), " | -a --b | undefined");
  assert.equal(read("-p -1 a b"), "password=-1 | a b | undefined");
  for (const [text, said] of [
    ["a", /required: DEST/],
    ["a b c d", /unrecognized arguments: c d/],
    ["a b --pa=1", /ambiguous option: --pa could match --password, --pass/],
    ["a b --format", /argument -f\/--format: expected one argument/],
    ["a b -f -d", /argument -f\/--format: expected one argument/],
    ["a b --debug=1", /argument -d\/--debug: takes no value/],
    ["a b -x", /unrecognized arguments: -x/],
  ] as const) {
    assert.throws(() => read(text), failsWith("E_USAGE", said), text);
  }
});
