/** What the documents show: every command of ours is one that there is, and what they say to type is typed. */
import assert from "node:assert/strict";
import { globSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { enrootWords, rootlingWords } from "../scripts/reference/words.ts";
import { bindOptionalValues, type Cli } from "../src/commands/cli.ts";
import { commands as ownCommands } from "../src/commands/table.ts";
import { commands as enrootCommands } from "../src/compat/enroot.ts";
import { readWords } from "../src/compat/enroot-words.ts";
import { type Box, emptyBox } from "./support/boxes.ts";
import { checkout } from "./support/cli.ts";
import { must } from "./support/command.ts";
import { type Block, blocksOf, saidAs, sentencesOf, stepsOf } from "./support/documents.ts";
import { FakeRegistry, PASSWORD, USER } from "./support/fake-registry.ts";
import { startRegistry } from "./support/registry.ts";
import { busyboxLayout, type Prepared, publicRegistry, typeSteps } from "./support/typing.ts";
import { userKinds } from "./support/users.ts";

/** The second word behind ``` says why a block is not run; this is the one place where the reasons are. */
const reasons: Readonly<Record<string, string>> = {
  "of-npm": "it installs, builds and tests the package itself, as these tests do",
  "of-demo": "it needs the image that `npm start` makes, and shows what that does",
  "each-apart": "examples of one command, each by itself, with names of no one document",
  "of-devices": "it needs devices, and programs of their vendor",
  "of-host":
    "it boots systems of the host's own, as root: test/compat/overlay.test.ts and test/kernel/subhost.test.ts do",
  "of-network": "it changes the machine's network",
  "two-machines": "it needs another machine",
  "of-cluster": "it changes the machines of a cluster",
};

const files = ["README.md", ...globSync("docs/**/*.md", { cwd: checkout }).sort()];
const documents = files.map((file) => ({ file, text: readFileSync(join(checkout, file), "utf8") }));

/** Those whose blocks are run, each in a home of its own, with what it takes for granted. */
const typed: Readonly<Record<string, (t: TestContext, box: Box) => Promise<Prepared>>> = {
  "README.md": async (_, box) => {
    await must(["cp", "-r", await busyboxLayout(box), join(box.scratch, "public")]);
    await must(["chmod", "-R", "a+rX", join(box.scratch, "public")]);
    await box.must(["import", `oci:${join(box.scratch, "public")}:latest`, "--name", "debian"]);
    return {};
  },
  "docs/tutorials/first-sandbox.md": (t, box) => publicRegistry(t, box),
  "docs/how-to/from-enroot.md": (t, box) => publicRegistry(t, box),
  "docs/how-to/own-images.md": async (t, box) => {
    const registry = await startRegistry();
    t.after(registry.stop);
    const layout = await busyboxLayout(box);
    await must(["chmod", "-R", "a+rX", layout]);
    await box.must(["import", `oci:${layout}:latest`, "--name", "busybox"]);
    return { stands: { "registry.example.com": registry.address } };
  },
  "docs/how-to/private-registries.md": async (t, box) => {
    const { host } = await new FakeRegistry({ auth: "basic" }).start(t);
    for (const [name, text] of Object.entries({ "password.txt": `${PASSWORD}\n`, "ca.crt": "" })) {
      writeFileSync(join(box.user.home, name), text.trim());
    }
    return { stands: { "registry.example.com": host, alice: USER }, names: ["rootling", "enroot"] };
  },
};

test("a block that is not run says why, with a reason that is known", () => {
  const bad = documents.flatMap(({ file, text }) =>
    blocksOf(text)
      .filter(({ reason }) => (reason === undefined ? typed[file] === undefined : !Object.hasOwn(reasons, reason)))
      .map(({ line, reason }) => `${file}:${line} ${reason}`),
  );
  assert.deepEqual(bad, []);
});

/** Throws unless the words are those of a command. */
async function understand(words: readonly string[]): Promise<void> {
  const [program, name = "", ...rest] = words;
  if (name === "help" || name.startsWith("-") || name === "") return;
  if (program === "enroot") {
    const entry = Object.hasOwn(enrootCommands, name) ? enrootCommands[name] : undefined;
    assert.ok(entry, `there is no command ${name}`);
    readWords(name, entry.options, entry.least, rest);
    return;
  }
  const entry = Object.hasOwn(ownCommands, name) ? ownCommands[name] : undefined;
  assert.ok(entry, `there is no command ${name}`);
  const described = (await entry.load()).define({} as Cli).action(() => {});
  await described.parseAsync(bindOptionalValues(described, rest), { from: "user" });
}

test("every command of ours in a block is one that there is, with options that it has", async () => {
  const bad: string[] = [];
  let seen = 0;
  for (const { file, text } of documents) {
    for (const block of blocksOf(text)) {
      for (const { shown, line } of stepsOf(block)) {
        for (const words of sentencesOf(shown)) {
          seen++;
          await understand(words).catch((error) => bad.push(`${file}:${line} ${words.join(" ")}: ${error.message}`));
        }
      }
    }
  }
  assert.deepEqual(bad, []);
  assert.ok(seen > 100, `${seen} commands`);
});

test("every command of ours that a sentence names is one that there is", () => {
  const bad = documents.flatMap(({ file, text }) =>
    [...text.matchAll(/`(rootling|enroot) ([a-z]+)\b[^`]*`/g)]
      .filter(([, program, name = ""]) => !Object.hasOwn(program === "enroot" ? enrootCommands : ownCommands, name))
      .filter(([, , name]) => name !== "help")
      .map(([shown]) => `${file}: ${shown}`),
  );
  assert.deepEqual(bad, []);
});

test("every option that such a sentence names is one of its command", async () => {
  const programs = [await rootlingWords(), enrootWords()];
  const bad = documents.flatMap(({ file, text }) =>
    [...text.matchAll(/`(rootling|enroot) (?:plan )?([a-z]+)\b([^`]*)`/g)].flatMap(
      ([shown, program, name, rest = ""]) => {
        const { options } = programs
          .find((each) => each.name === program)
          ?.commands.find((each) => each.name === name) ?? { options: [] };
        const known = options.flatMap(({ short, long }) => [short, long]);
        const given = [...rest.matchAll(/(?<= )--?[a-z][a-z-]*/g)].map(([flag]) => flag);
        return given.filter((flag) => !known.includes(flag)).map((flag) => `${file}: ${flag} in ${shown}`);
      },
    ),
  );
  assert.deepEqual(bad, []);
});

test("every link leads to a file that there is", () => {
  const bad = documents.flatMap(({ file, text }) =>
    [...text.matchAll(/\]\(([^)#:]+)(#[^)]*)?\)/g)]
      .filter(([, target = ""]) => globSync(join(dirname(file), target), { cwd: checkout }).length === 0)
      .map(([link]) => `${file}: ${link}`),
  );
  assert.deepEqual(bad, []);
});

test("what is understood can be misunderstood", async () => {
  await assert.rejects(understand(["rootling", "strat", "web"]));
  await assert.rejects(understand(["rootling", "start", "--no-such", "web"]));
  await assert.rejects(understand(["rootling", "start"]));
  await assert.rejects(understand(["enroot", "start", "--detach", "web"]));
  assert.deepEqual(sentencesOf(`A=1 rootling run x | tar -t; true && enroot list # rootling no`), [
    ["rootling", "run", "x"],
    ["enroot", "list"],
  ]);
  assert.ok(saidAs("a … c\n…\nz", "a b c\n1\n2\nz"));
  assert.ok(!saidAs("a … c", "a b d"));
  assert.ok(!saidAs("a", "a\nb"));
});

describe("what it says to type does what it says", { concurrency: true }, () => {
  for (const [file, prepare] of Object.entries(typed)) {
    test(file, async (t) => {
      const text = readFileSync(join(checkout, file), "utf8");
      const box = await emptyBox(userKinds.includes("plain") ? "plain" : "root");
      t.after(() => box.remove());
      const steps = blocksOf(text)
        .filter(({ reason }: Block) => reason === undefined)
        .flatMap(stepsOf);
      assert.ok(steps.length > 0, "there is something to type");
      const prepared = await prepare(t, box);
      for (const { shown, line, expected, said, status } of await typeSteps(box, steps, prepared)) {
        const told = `${file}:${line} ${shown}\nended with ${status} and said\n${said}`;
        // A step whose failure is shown has to fail.
        const fails = /^(rootling: |rm: |\[ERROR\] )/m.test(expected ?? "");
        assert.equal(status !== 0, fails, told);
        if (expected !== undefined) assert.ok(saidAs(expected, said), `${told}\ninstead of\n${expected}`);
      }
    });
  }
});
