/** What kernel tests share: a user of a kind with a busybox image in its store. */
import { chmodSync } from "node:fs";
import { join } from "node:path";
import { rootling } from "./cli.ts";
import { type CommandOptions, command, type Outcome } from "./command.ts";
import { busyboxImage, type ImageConfig, ImageLayout } from "./images.ts";
import { makeTemp } from "./temp.ts";
import { makeUser, type TestUser, type UserKind } from "./users.ts";

export interface Box {
  readonly user: TestUser;
  /** A directory that every user may read. */
  readonly scratch: string;
  /** Runs `rootling WORDS` as the user. */
  run(words: readonly string[], options?: CommandOptions): Promise<Outcome>;
  /** The same, and fails the test unless it ends with status 0; gives standard output. */
  must(words: readonly string[], options?: CommandOptions): Promise<string>;
  remove(): Promise<void>;
}

/** Removes a box in which something may still run: what a failed test has left goes on without us. */
export async function removeWith(box: Box, container: string): Promise<void> {
  await box.run(["remove", "--force", container]);
  await box.remove();
}

/** A user without any image. */
export async function emptyBox(kind: UserKind): Promise<Box> {
  const { user, remove } = await makeUser(kind);
  const temp = makeTemp();
  chmodSync(temp.path, 0o755);
  const run = (words: readonly string[], options?: CommandOptions) => rootling(user, words, options);
  return {
    user,
    scratch: temp.path,
    run,
    must: async (words, options) => {
      const { status, stdout, stderr } = await run(words, options);
      if (status !== 0) throw new Error(`rootling ${words.join(" ")} ended with ${status}: ${stderr}`);
      return stdout;
    },
    remove: async () => {
      await remove();
      await temp.remove();
    },
  };
}

/** A user whose store holds the image `busybox`, with a container `box` of it. */
export async function busyboxBox(kind: UserKind, config: ImageConfig = {}): Promise<Box> {
  const box = await emptyBox(kind);
  const layout = await ImageLayout.create(join(box.scratch, "layout"));
  await busyboxImage(layout, "latest", box.scratch, { cmd: ["/bin/sh"], env: ["PATH=/bin", "FROM=image"], ...config });
  // umoci makes it for its own user only.
  await command(["chmod", "-R", "a+rX", layout.directory]);
  await box.must(["import", `oci:${layout.reference("latest")}`, "--name", "busybox"]);
  await box.must(["create", "busybox", "--name", "box"]);
  return box;
}
