/** The boot file system: small, and the same bytes each time. */
import assert from "node:assert/strict";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { rootling } from "../support/cli.ts";
import { testUser } from "../support/users.ts";

/** Bytes that it may take, as a squashfs file and as an initial RAM file system. */
const LARGEST = 4 << 20;

test("the boot file system is the same bytes at any time, with the time that SOURCE_DATE_EPOCH says", async (t) => {
  const user = await testUser(t, "plain");
  const build = async (name: string, format: string, epoch: string): Promise<Buffer> => {
    const words = ["bootfs", "build", "-o", join(user.home, name), "--format", format];
    const { status, stderr } = await rootling(user, words, { env: { ...user.env, SOURCE_DATE_EPOCH: epoch } });
    assert.equal(status, 0, stderr);
    return readFileSync(join(user.home, name));
  };
  for (const format of ["squashfs", "initramfs", "oci-archive"]) {
    const first = await build(`first.${format}`, format, "1700000000");
    await new Promise((go) => setTimeout(go, 1100));
    assert.ok(first.equals(await build(`second.${format}`, format, "1700000000")), format);
    assert.ok(!first.equals(await build(`third.${format}`, format, "1600000000")), format);
    assert.ok(statSync(join(user.home, `first.${format}`)).size <= LARGEST, format);
  }
});
