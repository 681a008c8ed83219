/** The examples of each command's page and help, typed: each page begins with the names that its examples take for granted. */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { test } from "node:test";
import { emptyBox } from "./support/boxes.ts";
import { checkout } from "./support/cli.ts";
import { must } from "./support/command.ts";
import { blocksOf, type Step, stepsOf } from "./support/documents.ts";
import { publicRegistry, typeSteps } from "./support/typing.ts";
import { userKinds } from "./support/users.ts";

/** Which examples are not typed here, and why. docs.test.ts understands the words of these, too. */
const notHere: readonly (readonly [RegExp, string])[] = [
  [/\/srv\/data:|\/data:/, "a directory of the host"],
  [/>\/etc\/|\/usr\/local\/bin|system\/|systemd\//, "changes the machine"],
  [/--tty|attach/, "needs a terminal"],
  [/^ssh |podman:|cuda:|--device|\.run/, "needs another machine, a daemon or devices"],
  [/4711/, "a pid of the moment"],
  [/…/, "a digest of the moment"],
  [/--root-password/, "the images of the test have no /etc/shadow"],
  [/subids|debootstrap:/, "needs subordinate ids"],
  [/guest\/|^rootling (guest|initctl|mount-idmapped|overlay|tolerant) /, "of guests and their boot file systems"],
  [/^rootling bootfs .*--module|--vm/, "needs modules of a kernel, or a virtual machine"],
  [/^rootling (boot|diskfile|share) |--subhosts|--cable/, "of subhosts, as root"],
  [/\| dot /, "needs Graphviz"],
  [/^rootling web/, "serves until it is ended"],
  [/^rootling push /, "needs a registry that takes it"],
  [/apt-get/, "needs a whole Debian: npm start boots one"],
  [/aarch64/, "the registry of the test has this machine's images only"],
  [/completion (zsh|fish)/, "for another shell"],
  [/doctor/, "says what this machine lacks"],
];

const WEB = "rootling create debian:12 --name web && rootling create debian:12 --name test";
const SERVE = "rootling start --detach web sh -c 'trap exit INT TERM; echo begin; sleep 1 & wait'";
/** Nothing else runs in it then. */
const RUNS = `rootling stop web 2>/dev/null; ${SERVE}`;

/** What a page begins with, beside the image debian:12, some files, and what the pages before it have left. */
const before: Readonly<Record<string, string>> = {
  commit: `${WEB} && mkdir -p files site && rootling start --root --rw web mkdir /srv && rootling import docker://busybox:1.36 --name app:1`,
  create: "rootling remove web test",
  exec: RUNS,
  import: "rm app.sqsh",
  logs: RUNS,
  restore: "rootling snapshot web before-upgrade",
  snapshot: "rootling snapshot --remove web before-upgrade",
  stop: RUNS,
  wait: RUNS,
};

/** What makes the state of an example anew where the one above has used it up. */
const between: readonly (readonly [RegExp, string])[] = [
  [/^rootling remove web test/, "rootling create debian:12 --name web"],
  [/^rootling export web -o web.sqsh/, "rm web.sqsh"],
  [/^tar -c/, "cd site"],
  [/^rootling create oci:/, "cd ~"],
  [/^rootling remove --force web/, `rootling create debian:12 --name web && ${SERVE}`],
  [/^rootling stop --signal/, SERVE],
];

const FILES = [
  "rootling import docker://debian:12",
  "rootling import docker://debian:12 -o app.sqsh",
  "rootling import docker://debian:12 -o rootfs.tar.gz --format tar --comp gzip",
  "mkdir -p ~/bin && echo 'environ() { echo A=1; }' >job.conf",
].join(" && ");

test("what examples say to type works", async (t) => {
  const box = await emptyBox(userKinds.includes("plain") ? "plain" : "root");
  t.after(() => box.remove());
  const prepared = await publicRegistry(t, box, ["debian:12", "busybox:1.36"]);
  // What publicRegistry has pushed.
  await must(["cp", "-r", join(box.scratch, "layout"), join(box.user.home, "layout")]);
  await must(
    ["skopeo", "copy", "--insecure-policy", "--quiet", `oci:${join(box.user.home, "layout")}:latest`].concat(
      `docker-archive:${join(box.user.home, "saved.tar")}:team/app:1`,
    ),
  );
  await must(["chown", "-R", `${box.user.uid}:${box.user.gid}`, box.user.home]);

  const own = (shown: string): Step => ({ shown, line: 0, expected: undefined });
  const pages = globSync("docs/reference/commands/*.md", { cwd: checkout }).sort();
  // The image goes with what `remove` shows.
  pages.push(...pages.splice(pages.indexOf("docs/reference/commands/remove.md"), 1));
  const steps = pages.flatMap((page) => {
    const shown = blocksOf(readFileSync(join(checkout, page), "utf8"))
      .flatMap(stepsOf)
      .filter(({ shown }) => !notHere.some(([pattern]) => pattern.test(shown)))
      .flatMap((step) => {
        const fresh = between.find(([pattern]) => pattern.test(step.shown))?.[1];
        return [...(fresh === undefined ? [] : [own(fresh)]), step];
      });
    const first = before[basename(page, ".md")];
    return first === undefined ? shown : [own(first), ...shown];
  });
  assert.ok(steps.length > 50, `${steps.length} examples`);
  const done = await typeSteps(box, [own(FILES), ...steps], prepared);
  const failed = done.filter(({ status }) => status !== 0);
  assert.deepEqual(
    failed.map(({ shown, status, said }) => `${shown}: ${status}\n${said}`),
    [],
  );
});
