/** doctor: each check, on a host where just that is broken. Only root can break a host, in a mount namespace. */
import assert from "node:assert/strict";
import { chmodSync, cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { checks, type Entry } from "../src/commands/doctor-checks.ts";
import { type Box, emptyBox } from "./support/boxes.ts";
import { checkout, copyPackage, rootlingWords } from "./support/cli.ts";
import { type CommandOptions, command, type Outcome, shellWord } from "./support/command.ts";
import { everyKind, type UserKind } from "./support/users.ts";

interface Finding {
  id: string;
  state: "ok" | "warning" | "failed" | "skipped";
  reason: string;
  mend?: string;
}

const amRoot = process.getuid?.() === 0;
const ids = Object.keys(checks);

/** What breaks one check, and what is said then. */
interface Break {
  id: string;
  kinds?: readonly UserKind[];
  state: Finding["state"];
  mend: RegExp;
  /** Shell text, by root in a mount namespace of its own. */
  script?: (box: Box) => string;
  env?: (box: Box) => Record<string, string>;
  /** Words before those of rootling, as the user. */
  wrap?: (box: Box) => readonly string[];
  /** The words of rootling. */
  rootling?: (box: Box) => readonly string[];
  /** Runs on a terminal. */
  terminal?: boolean;
}

const DOCTOR = ["doctor", "--json"];

/** A file that is nothing: not executable, no device, empty. */
const NOTHING = (box: Box) => join(box.scratch, "nothing");
const hide = (path: string) => (box: Box) => `mount --bind ${NOTHING(box)} ${path}`;

/** In a user namespace of the user's own, whose limits are theirs to set. */
const nested = (script: string) => () => [
  ...["unshare", "--user", "--map-current-user", "--keep-caps", "--mount"],
  ...["sh", "-c", `${script} && exec "$@"`, "sh"],
];

const NO_NAMESPACES = "echo 0 >/proc/sys/user/max_user_namespaces";
/** The switch of a kernel with AppArmor, beside what we read of that directory. */
const RESTRICTED = [
  "boot=$(cat /proc/sys/kernel/random/boot_id)",
  "mount -t tmpfs tmpfs /proc/sys/kernel",
  "mkdir /proc/sys/kernel/random",
  'echo "$boot" >/proc/sys/kernel/random/boot_id',
  "echo 1 >/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
].join(" && ");

/** A package whose executor refuses plans with this word in them, and does all others. */
function refusing(box: Box, word: string): string[] {
  const root = copyPackage();
  const executor = join(root, `dist/executor-${process.arch}`);
  cpSync(executor, `${executor}.real`);
  rmSync(executor);
  const script = `#!/bin/sh\nif tr '\\0' '\\n' <"$1" | grep -qx ${word}; then\n  rm "$1"; echo "rootling: ${word}: Invalid argument" >&2; exit 125\nfi\nexec "$0.real" "$@"\n`;
  writeFileSync(executor, script, { mode: 0o755 });
  assert.ok(existsSync(box.scratch));
  return [join(root, "bin/rootling"), ...DOCTOR];
}

function withoutExecutor(): string[] {
  const root = copyPackage();
  rmSync(join(root, `dist/executor-${process.arch}`));
  return [join(root, "bin/rootling"), ...DOCTOR];
}

/** Devices as distributions have them: open to all users. */
const devices = (box: Box): string => {
  const place = join(box.scratch, "devices");
  return [
    `mkdir -p ${place} && mount -t tmpfs -o mode=755 tmpfs ${place}`,
    `mknod -m 666 ${place}/fuse c 10 229 && mount --bind ${place}/fuse /dev/fuse`,
    `mknod -m 666 ${place}/tun c 10 200 && mount --bind ${place}/tun /dev/net/tun`,
  ].join(" && ");
};

const small = (box: Box) => join(box.scratch, "small");
/** A user without subordinate ids is told no more of the others. */
const usual: readonly UserKind[] = amRoot ? ["root", "subids"] : ["plain"];
const runtime = (box: Box) => join(small(box), "runtime");
const tmpfs = (box: Box, more = "") => `mount -t tmpfs -o mode=1777${more} tmpfs ${small(box)}`;
const ordinary = usual.filter((kind) => kind !== "root");

const breaks: readonly Break[] = [
  { id: "kernel", state: "failed", mend: /Linux 5\.11/, wrap: () => ["setarch", "--uname-2.6"] },
  { id: "data", state: "failed", mend: /ROOTLING_DATA_PATH/, env: () => ({ ROOTLING_DATA_PATH: "/proc/none" }) },
  { id: "cache", state: "failed", mend: /ROOTLING_CACHE_PATH/, env: () => ({ ROOTLING_CACHE_PATH: "/proc/none" }) },
  {
    id: "runtime",
    state: "warning",
    mend: /^chmod 700 \//,
    script: (box) => `${tmpfs(box)} && mkdir -m 755 ${runtime(box)} && chown ${box.user.uid} ${runtime(box)}`,
    env: (box) => ({ ROOTLING_RUNTIME_PATH: runtime(box) }),
  },
  {
    id: "runtime",
    state: "warning",
    mend: /a directory of a tmpfs/,
    script: (box) => `mount -t ramfs -o mode=777 ramfs ${small(box)} && chmod 777 ${small(box)}`,
    env: (box) => ({ ROOTLING_RUNTIME_PATH: runtime(box) }),
  },
  {
    id: "free-space",
    state: "warning",
    mend: /rootling prune.*ROOTLING_DATA_PATH$/,
    script: (box) => tmpfs(box, ",size=9m"),
    env: (box) => ({ ROOTLING_DATA_PATH: join(small(box), "data") }),
  },
  { id: "tar", state: "failed", mend: /apt-get install tar/, script: hide("/usr/bin/tar") },
  {
    id: "mksquashfs",
    state: "failed",
    mend: /apt-get install squashfs-tools/,
    script: hide("/usr/bin/mksquashfs"),
  },
  { id: "executor", state: "failed", mend: /C compiler/, rootling: withoutExecutor },
  {
    id: "apparmor",
    kinds: ordinary,
    state: "failed",
    mend: /AppArmor profile/,
    wrap: nested(`${NO_NAMESPACES} && ${RESTRICTED}`),
  },
  {
    id: "user-namespace",
    kinds: ordinary,
    state: "failed",
    mend: /user\.max_user_namespaces=/,
    wrap: nested(NO_NAMESPACES),
  },
  { id: "overlay", state: "failed", mend: /modprobe overlay/, rootling: (box) => refusing(box, "overlay") },
  {
    id: "overlay-removal",
    state: "warning",
    mend: /ROOTLING_DATA_PATH/,
    // An overlay cannot be the upper directory of another.
    script: (box) =>
      `${tmpfs(box)} && cd ${small(box)} && mkdir -m 777 l u w m && mount -t overlay -o lowerdir=l,upperdir=u,workdir=w overlay m && chmod 777 m`,
    env: (box) => ({ ROOTLING_DATA_PATH: join(small(box), "m/data") }),
  },
  {
    id: "pid-namespace",
    kinds: ordinary,
    state: "warning",
    mend: /unmount it/,
    script: (box) => `mount --bind ${NOTHING(box)} /proc/version`,
  },
  { id: "terminal", state: "warning", mend: /devpts/, rootling: (box) => refusing(box, "devpts") },
  {
    id: "terminal",
    state: "warning",
    mend: /bind \/dev\/pts/,
    // The terminal is still open, and its path leads nowhere.
    script: () => "mount -t tmpfs -o mode=755 tmpfs /dev/pts",
    terminal: true,
  },
  {
    id: "newuidmap",
    kinds: ["subids"],
    state: "warning",
    mend: /apt-get install uidmap/,
    script: hide("/usr/bin/newuidmap"),
  },
  {
    id: "subordinate-ids",
    kinds: ["subids"],
    state: "warning",
    mend: /\/etc\/subuid: .*:65536$/,
    // Not bound over the file: whoever makes a user meanwhile renames it, which ends such a mount everywhere.
    script: (box) =>
      `${tmpfs(box)} && cd ${small(box)} && mkdir u w && mount -t overlay -o lowerdir=/etc,upperdir=u,workdir=w overlay /etc && : >/etc/subuid`,
  },
  { id: "fuse", kinds: ordinary, state: "warning", mend: /modprobe fuse/, script: hide("/dev/fuse") },
  {
    id: "squashfuse",
    kinds: ordinary,
    state: "warning",
    mend: /apt-get install squashfuse/,
    script: (box) => `${hide("/usr/bin/squashfuse")(box)} && ${hide("/usr/bin/squashfuse_ll")(box)}`,
  },
  { id: "squashfs", kinds: ["root"], state: "warning", mend: /modprobe squashfs/, script: hide("/proc/filesystems") },
  { id: "tun", state: "warning", mend: /modprobe tun/, script: hide("/dev/net/tun") },
  { id: "pasta", state: "warning", mend: /apt-get install passt/, script: hide("/usr/bin/pasta") },
  {
    id: "cgroup",
    kinds: ["root"],
    state: "warning",
    mend: /cgroup2/,
    script: () => "mount -t tmpfs -o ro tmpfs /sys/fs/cgroup",
  },
  { id: "nft", kinds: ["root"], state: "warning", mend: /apt-get install nftables/, script: hide("/usr/sbin/nft") },
];

test("what is documented is what is checked", () => {
  const text = readFileSync(join(checkout, "docs/doctor.md"), "utf8");
  assert.deepEqual(
    [...text.matchAll(/^\| `([a-z-]+)`/gm)].map((match) => match[1]),
    ids,
  );
  for (const [index, { needs = [] }] of Object.values<Entry>(checks).entries())
    for (const need of needs) assert.ok(ids.indexOf(need) < index, `${need} comes before ${ids[index]}`);
  const broken = new Set(breaks.map(({ id }) => id));
  assert.deepEqual(
    ids.filter((id) => !broken.has(id)),
    [],
  );
});

const findings = (outcome: Outcome): Finding[] => {
  const text = outcome.stdout.slice(outcome.stdout.indexOf("["));
  assert.ok(text.endsWith("\n") && text.length > 2, `${outcome.stdout}${outcome.stderr}`);
  return JSON.parse(text);
};

for (const kind of everyKind) {
  describe(`doctor as ${kind}`, () => {
    let box: Box;
    let healthy: Finding[];
    const examine = (broken: Partial<Break>): Promise<Outcome> => {
      const words = broken.rootling?.(box) ?? rootlingWords(...DOCTOR);
      const asUser = box.user.words([...(broken.wrap?.(box) ?? []), ...words]);
      const script = `${devices(box)} && ${broken.script?.(box) ?? ":"} && cd / && exec "$@"`;
      const argv = amRoot
        ? ["unshare", "--mount", "--propagation=private", "sh", "-c", script, "sh", ...asUser]
        : asUser;
      const options: CommandOptions = { env: { ...box.user.env, ...broken.env?.(box) }, cwd: "/", timeout: 30_000 };
      if (!broken.terminal) return command(argv, options);
      const line = argv.map(shellWord).join(" ");
      return command(["script", "--quiet", "--return", "--flush", "--command", line, "/dev/null"], {
        ...options,
        env: { ...options.env, SHELL: "/bin/sh" },
      });
    };

    before(async () => {
      box = await emptyBox(kind);
      writeFileSync(NOTHING(box), "");
      chmodSync(NOTHING(box), 0o644);
      mkdirSync(small(box));
      healthy = findings(await examine({}));
    });
    after(() => box.remove());

    test("what works here is said to work, and all checks are there", async () => {
      assert.deepEqual(
        healthy.map(({ id }) => id),
        ids,
      );
      // What a user, or a bed without delegated cgroups, does not have.
      const allowed = kind === "root" ? [] : ["subordinate-ids", "cgroup"];
      assert.deepEqual(
        healthy.filter(({ id, state }) => state !== "ok" && !allowed.includes(id)),
        [],
      );
      for (const { state, mend } of healthy) assert.equal(mend === undefined, state === "ok");
      assert.equal((await box.run(["doctor"])).status, 0);
    });

    for (const broken of breaks.filter(({ kinds = usual }) => kinds.includes(kind))) {
      if (!amRoot && (broken.script || broken.rootling)) continue;
      test(`sees that just ${broken.id} is broken: ${broken.mend.source}`, async () => {
        const outcome = await examine(broken);
        const changed = findings(outcome).filter(({ id, state }) => {
          const was = healthy.find((one) => one.id === id)?.state;
          return state !== was && state !== "skipped";
        });
        assert.deepEqual(
          changed.map(({ id, state }) => [id, state]),
          [[broken.id, broken.state]],
          JSON.stringify(changed),
        );
        assert.match(changed[0]?.mend ?? "", broken.mend);
        assert.equal(outcome.status, broken.state === "failed" ? 1 : 0);
      });
    }
  });
}
