/** Roots that are made when they are asked for: what names them, and mmdebstrap with a repository of the test's own. */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { readSubordinateIds } from "../../src/base/subids.ts";
import { parseLines, parseStanzas } from "../../src/image/sources/apt-sources.ts";
import { parseSource, pinnedSource } from "../../src/image/sources/reference.ts";
import type { Digest } from "../../src/image/types.ts";
import { aptRepository } from "../support/apt-repository.ts";
import { rootling } from "../support/cli.ts";
import { must } from "../support/command.ts";
import { failsWith } from "../support/image-support.ts";
import { makeTemp } from "../support/temp.ts";
import { everyKind, testUser } from "../support/users.ts";

test("texts of sources that are made", () => {
  const none = { kind: "debootstrap", variant: undefined, include: [], mirrors: [], components: [] };
  assert.deepEqual(parseSource("debootstrap:bookworm"), { ...none, suite: "bookworm" });
  assert.deepEqual(
    parseSource(
      "debootstrap:sid?variant=minbase&include=g++,libc6:arm64&include=apt/sid,x=1:2~3&components=main,contrib" +
        "&mirror=http://m.example/debian&mirror=deb%20[trusted=yes]%20file:/m%20sid%20main",
    ),
    {
      ...{ ...none, suite: "sid", variant: "minbase" },
      include: ["g++", "libc6:arm64", "apt/sid", "x=1:2~3"],
      mirrors: ["http://m.example/debian", "deb [trusted=yes] file:/m sid main"],
      components: ["main", "contrib"],
    },
  );
  assert.deepEqual(parseSource("virt-builder://debian-12"), { kind: "virt-builder", template: "debian-12" });
  const digest = `sha256:${"a".repeat(64)}` as Digest;
  for (const text of ["debootstrap:sid?variant=minbase", "virt-builder://debian-12"]) {
    assert.equal(pinnedSource(text, digest, "/somewhere"), text);
  }
  for (const wrong of [
    ...["", "--mode=root", "a b", "a/b", "?variant=minbase", "sid?", "sid?mode=root", "sid?variant=none"].filter(
      (text) => text !== "sid?",
    ),
    ...["sid?variant=apt&variant=apt", "sid?include=", "sid?include=--simulate", "sid?include=a,,b", "sid?include=A"],
    ...["sid?include=./x.deb", "sid?include=a%20b", "sid?mirror=x", "sid?mirror=/etc/passwd", "sid?mirror=-"],
    ...["sid?mirror=deb%20a%0Adeb%20b", "sid?mirror=http://a%20b", "sid?components=-a", "sid?include=%"],
  ]) {
    assert.throws(() => parseSource(`debootstrap:${wrong}`), failsWith("E_SOURCE"), wrong);
  }
  for (const wrong of ["", "-x", "a/b", "../a", "a b", "a:b", "a,b", "x".repeat(256)]) {
    assert.throws(() => parseSource(`virt-builder://${wrong}`), failsWith("E_SOURCE"), wrong);
  }
});

test("sources of apt, in both forms", () => {
  const lines = [
    ...["# deb http://no.example/ no main", "deb-src http://no.example/ no main", ""],
    ...["deb [arch=amd64 signed-by=/k.gpg] http://a.example/debian sid main contrib # why", " deb file:/m own main"],
  ];
  assert.deepEqual(parseLines(lines.join("\n")), [
    {
      ...{ uri: "http://a.example/debian", suite: "sid", components: ["main", "contrib"] },
      options: ["arch=amd64", "signed-by=/k.gpg"],
    },
    { uri: "file:/m", suite: "own", components: ["main"], options: [] },
  ]);
  const stanzas = [
    ...["Types: deb deb-src", "# a note", "URIs: http://a.example/", "Suites: sid sid-updates", "Components: main"],
    ...["Signed-By: /k.gpg", "", "Types: deb-src", "URIs: http://no.example/", "Suites: no", "", "Enabled: no"],
    ...["Types: deb", "URIs: http://no.example/", "Suites: no", "", "types: deb", "uris: http://b.example/"],
    ...["suites: own", "components: x", " y", "signed-by:", " -----BEGIN PGP PUBLIC KEY BLOCK-----", " .", ""],
  ];
  const one = { uri: "http://a.example/", components: ["main"], options: ["signed-by=/k.gpg"] };
  assert.deepEqual(parseStanzas(stanzas.join("\n"), "/f.sources"), [
    { ...one, suite: "sid" },
    { ...one, suite: "sid-updates" },
    { uri: "http://b.example/", suite: "own", components: ["x", "y"], options: [], inlineKey: "/f.sources" },
  ]);
});

describe("mmdebstrap", () => {
  const temp = makeTemp();
  let mirror = "";
  before(async () => {
    mirror = await aptRepository(temp.path, { "own-words": { "srv/words": "own words\n" } });
  });
  after(() => temp.remove());

  const source = (include: string, from = mirror) =>
    `debootstrap:own?variant=extract&include=${include}&mirror=${encodeURIComponent(from)}`;

  for (const kind of everyKind) {
    test(`a root of packages, as ${kind}`, async (t) => {
      const user = await testUser(t, kind);
      const words = ["import", source("own-words"), "-o", "own.tar", "--format", "tar"];
      const made = await rootling(user, words);
      const ids = process.getuid?.() === 0 ? kind !== "plain" : readSubordinateIds(user.uid).uids.length > 0;
      if (!ids) {
        assert.match(made.stderr, /subordinate ids.*E_SUBUID.*usermod/s);
        return;
      }
      assert.equal(made.status, 0, made.stderr);
      const tar = join(user.home, "own.tar");
      assert.equal(await must(["tar", "-xOf", tar, "srv/words"]), "own words\n");
      const listed = await must(["tar", "--numeric-owner", "-tvf", tar]);
      assert.match(listed, /^drwxr-xr-x 0\/0 .* \.\/$/m);
      assert.match(listed, /^crw-rw-rw- 0\/0 +1,3 .* dev\/null$/m);
      // The root's entry is found among the first, so that a squashfs file needs no second run; and the store keeps it.
      const kept = await rootling(user, ["import", source("own-words"), "--name", "own"]);
      assert.equal(kept.status, 0, kept.stderr);
      const squashfs = await rootling(user, ["import", source("own-words"), "-o", "own.sqfs"]);
      assert.equal(squashfs.status, 0, squashfs.stderr);
      const none = await rootling(user, ["import", source("own-none"), "-o", "none.tar", "--format", "tar"]);
      assert.match(none.stderr, /Unable to locate package own-none \[E_PROGRAM\]/);
      assert.deepEqual(leftBy(user.env.TMPDIR ?? ""), []);
    });
  }

  test("interrupted while it waits for a mirror: status 130, and nothing is left", async (t) => {
    const user = await testUser(t, process.getuid?.() === 0 ? "root" : "plain");
    if (process.getuid?.() !== 0 && readSubordinateIds(user.uid).uids.length === 0) return;
    let asked = () => {};
    const waiting = new Promise<void>((resolve) => {
      asked = resolve;
    });
    const server = createServer(() => asked()).listen(0, "127.0.0.1");
    t.after(() => {
      server.closeAllConnections();
      server.close();
    });
    await new Promise((ready) => server.once("listening", ready));
    const from = `deb [trusted=yes] http://127.0.0.1:${(server.address() as AddressInfo).port} own main`;
    const words = ["import", source("own-words", from), "-o", "own.tar", "--format", "tar"];
    const { status } = await rootling(user, words, {
      onStart: (child) => void waiting.then(() => child.kill("SIGINT")),
    });
    assert.equal(status, 130);
    assert.deepEqual(leftBy(user.env.TMPDIR ?? ""), []);
    assert.deepEqual(
      readdirSync(user.home).filter((name) => name.startsWith("own")),
      [],
    );
  });
});

/** Temporary files, of rootling and of mmdebstrap. */
const leftBy = (directory: string): string[] =>
  readdirSync(directory).filter((name) => /^(?:rootling|mmdebstrap)\b/.test(name));
