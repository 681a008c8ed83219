/** The contract of pyxis's importers: one file an image, however many want it at once, and loans that outlive no one. */
import assert from "node:assert/strict";
import { copyFileSync, existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type Box, busyboxBox } from "../support/boxes.ts";
import { rootlingWords } from "../support/cli.ts";
import { background, command, must, shellWord } from "../support/command.ts";
import { type Registry, startRegistry } from "../support/registry.ts";
import { ordinaryKinds } from "../support/users.ts";

describe("importer", () => {
  let box: Box;
  let uri: string;
  let directory: string;
  let registry: Registry;
  const step = (id: string) => ({ env: { SLURM_JOB_ID: "7", SLURM_STEP_ID: id } });
  const files = () => readdirSync(directory).filter((name) => name !== "loans");
  const loans = () => readdirSync(join(directory, "loans"));
  before(async () => {
    box = await busyboxBox(ordinaryKinds[0] ?? "plain");
    directory = join(box.user.env.ROOTLING_DATA_PATH ?? "", "squashfs");
    registry = await startRegistry();
    uri = await registry.push(`${box.scratch}/layout:latest`, "busybox:1");
  });
  after(async () => {
    await registry.stop();
    await box.remove();
  });

  test("many at once: one download and one file, whose path is all that is printed", async () => {
    const steps = Array.from({ length: 8 }, (_, i) => String(i));
    const said = await Promise.all(steps.map((id) => box.must(["importer", "get", uri], step(id))));
    const [path = ""] = said;
    assert.ok(
      said.every((one) => one === path),
      "the same path for all",
    );
    assert.match(path, /^\/\S+\/squashfs\/[0-9a-f]{64}\.sqsh\n$/);
    assert.equal(files().length, 1);
    const downloads = readdirSync(join(box.user.env.ROOTLING_CACHE_PATH ?? "", "blobs/sha256"));
    assert.ok(downloads.every((name) => /^[0-9a-f]{64}$/.test(name)));
    const listed = await must(["unsquashfs", "-l", path.trim()]);
    for (const name of ["etc/rc", "etc/environment", ".rootling/config.json"]) assert.ok(listed.includes(name), name);
    assert.equal(await box.must(["run", path.trim(), "sh", "-c", "echo $FROM"]), "image\n");
    const digest = (await box.must(["digest", uri])).trim();
    assert.ok(path.includes(digest.slice("sha256:".length)));
  });

  test("release ends the loans of its step, again and again; prune takes what nobody has borrowed", async () => {
    // The loans live with whoever asked: here this test, in Slurm the step's slurmstepd.
    const before = loans().length;
    assert.equal(before, 8);
    const kept = await box.must(["prune", "--json"]);
    assert.deepEqual(JSON.parse(kept).squashfs, []);
    for (const id of ["0", "0", "9"]) assert.equal(await box.must(["importer", "release"], step(id)), "");
    assert.equal(loans().length, before - 1);
    for (let id = 0; id < 8; id++) await box.must(["importer", "release"], step(String(id)));
    assert.deepEqual(loans(), []);
    assert.equal(files().length, 1, "it stays, for the next job");
    assert.match(await box.must(["prune", "--dry-run", "--older-than", "1h"]), /^0 B/m);
    assert.match(await box.must(["prune"]), /squashfs file of sha256:/);
    assert.deepEqual(files(), []);
  });

  test("whoever is killed leaves no loan, and no half of a file", async () => {
    const get = rootlingWords("importer", "get", uri).map(shellWord).join(" ");
    // As in Slurm, where a site's script stands between the two.
    const slurmstepd = join(box.scratch, "slurmstepd");
    copyFileSync("/bin/dash", slurmstepd);
    const script = `sh -c ${shellWord(`${get}; true`)}; echo got; read -r _`;
    const parent = background(box.user.words([slurmstepd, "-c", script]), {
      env: { ...box.user.env, ...step("3").env },
      keepInput: true,
    });
    for (let waited = 0; waited < 200 && !(existsSync(directory) && files().length > 0 && loans().length > 0); waited++)
      await sleep(50);
    assert.equal(loans().length, 1);
    assert.deepEqual(JSON.parse(await box.must(["prune", "--json"])).squashfs, []);
    await parent.end("SIGKILL");
    assert.equal(JSON.parse(await box.must(["prune", "--json"])).squashfs.length, 1);
    const killed = background(box.user.words(rootlingWords("importer", "get", uri)), { env: box.user.env });
    for (let waited = 0; waited < 400 && files().length === 0 && killed.alive(); waited++) await sleep(5);
    await killed.end("SIGKILL");
    const path = (await box.must(["importer", "get", uri], step("4"))).trim();
    assert.ok(statSync(path).size > 0);
    assert.deepEqual(files().length, 1, files().join(" "));
    assert.equal((await command(["unsquashfs", "-s", path])).status, 0);
  });

  test("words that mean nothing, and images that are not there", async () => {
    for (const words of [["get"], ["put", uri], ["release", uri]]) {
      assert.equal((await box.run(["importer", ...words])).status, 2, words.join(" "));
    }
    const missing = await box.run(["importer", "get", `${uri}none`]);
    assert.deepEqual([missing.status, missing.stdout], [125, ""]);
    assert.match(missing.stderr, /E_NOT_FOUND/);
  });
});
