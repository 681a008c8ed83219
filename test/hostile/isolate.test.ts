/**
 * `--isolate` fact by fact: all hold, and each stops to hold when what it rests on is taken out of the plan. A fact that
 * nothing could make fail would prove nothing.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { type Op, op } from "../../src/plan/plan.ts";
import { Bed, type Report } from "../support/probe.ts";
import { userKinds } from "../support/users.ts";

type Change = (ops: readonly Op[]) => readonly Op[];

const without =
  (...verbs: string[]): Change =>
  (ops) =>
    ops.filter(({ verb }) => !verbs.includes(verb));

const withoutMounts =
  (matches: (op: Op, target: string) => boolean): Change =>
  (ops) =>
    ops.filter((one) => {
      const target = one.verb === "mount" ? one.fields[2] : one.verb === "attributes" ? one.fields[0] : one.fields[1];
      return !matches(one, target ?? "");
    });

/** Without the new namespace of a kind. */
const shared =
  (kind: string): Change =>
  (ops) =>
    ops.map((one) =>
      one.verb === "namespaces"
        ? {
            ...one,
            fields: [
              (one.fields[0] ?? "")
                .split(",")
                .filter((word) => word !== kind)
                .join(","),
              ...one.fields.slice(1),
            ],
          }
        : one,
    );

const all =
  (...changes: Change[]): Change =>
  (ops) =>
    changes.reduce((changed, change) => change(changed), ops);

/** The host's directory in the place of what was made there. */
const hosts =
  (path: string): Change =>
  (ops) => {
    const at = ops.findIndex(({ verb, fields }) => verb === "mount" && fields[2] === path);
    const inside = (one: Op) => {
      const target =
        one.verb === "symlink" || one.verb === "device" || one.verb === "bind"
          ? one.fields[1]
          : one.verb === "mount"
            ? one.fields[2]
            : one.fields[0];
      return (
        ["symlink", "device", "bind", "mount", "attributes"].includes(one.verb) &&
        (target === path || target?.startsWith(`${path}/`))
      );
    };
    // Before it, paths are the host's.
    return ops.flatMap((one, index) =>
      index < at
        ? [one]
        : index === at
          ? [op("bind", "test", path, path, "", "", "rec", "own", "755")]
          : inside(one)
            ? []
            : [one],
    );
  };

const noFilter = without("seccomp");
const isMask = ({ verb, fields }: Op): boolean =>
  (verb === "bind" && fields[0] === "/dev/null") || (verb === "mount" && fields[5] === "skip");
const isGuard = ({ verb, fields }: Op): boolean =>
  verb === "bind" && fields[2] === "ro" && (fields[1] ?? "").startsWith("/proc/");

/** What is taken out, and the facts that must not hold any more; `root`: only with root's map of many ids. */
const protections: readonly {
  readonly name: string;
  readonly change: Change;
  readonly facts: readonly (string | RegExp)[];
  readonly root?: readonly string[];
}[] = [
  {
    name: "the filter",
    change: noFilter,
    facts: [
      "self.seccomp",
      "pid1.seccomp",
      /^unshare\./,
      /^clone\./,
      /^terminal\.(?!session)/,
      /^socket\./,
      "call.i386",
      ...["keyctl", "add_key", "request_key", "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise"].map(
        (name) => `call.${name}`,
      ),
      ...["kcmp", "pidfd_getfd", "vmsplice", "io_uring_setup", "io_uring_enter", "io_uring_register", "clone3"].map(
        (name) => `call.${name}`,
      ),
      ...["personality", "fsconfig", "settimeofday", "clock_settime", "adjtimex", "mbind", "set_mempolicy"].map(
        (name) => `call.${name}`,
      ),
    ],
  },
  {
    name: "the filter and the capability sets",
    change: without("seccomp", "capabilities", "no-new-privileges", "landlock"),
    facts: [
      "self.bounding",
      "pid1.bounding",
      "pid1.permitted",
      "pid1.effective",
      "self.no-new-privileges",
      "pid1.no-new-privileges",
    ],
    root: [
      "self.permitted",
      "self.effective",
      "call.pivot_root",
      "call.fsopen",
      "call.fsmount",
      "call.fspick",
      "call.sethostname",
      "call.setdomainname",
      "call.reboot",
    ],
  },
  {
    name: "no new privileges, and nosuid",
    change: all(
      without("seccomp", "no-new-privileges", "landlock"),
      withoutMounts(({ verb, fields }) => verb === "attributes" && fields[1] === "nosuid,nodev"),
    ),
    facts: ["self.no-new-privileges", "mount.root-nosuid"],
    root: ["ids.set-id"],
  },
  { name: "the filter and the keyring", change: without("seccomp", "keyring"), facts: ["keyring.session"] },
  { name: "the session", change: without("session"), facts: ["terminal.session"] },
  {
    name: "the network, and Landlock",
    change: all(shared("net"), without("landlock", "loopback")),
    facts: ["namespace.net", "host.abstract-socket", "host.loopback", "host.interfaces"],
  },
  { name: "clocks", change: shared("time"), facts: ["namespace.time"] },
  { name: "IPC", change: shared("ipc"), facts: ["namespace.ipc"] },
  { name: "the host name", change: all(shared("uts"), without("hostname")), facts: ["namespace.uts", "host.name"] },
  { name: "cgroups", change: shared("cgroup"), facts: ["namespace.cgroup", "proc.cgroup"] },
  {
    name: "processes",
    change: all(shared("pid"), without("landlock", "expect"), hosts("/proc")),
    facts: [
      "namespace.pid",
      "host.process",
      "proc.processes",
      "mount.proc",
      /^masked\.\/proc\//,
      /^read-only\.\/proc\//,
    ],
  },
  { name: "masks", change: withoutMounts(isMask), facts: [/^masked\.\/proc\//] },
  {
    name: "read-only files of the kernel",
    change: withoutMounts(isGuard),
    facts: [/^read-only\.\/proc\//],
  },
  { name: "a /sys of its own", change: hosts("/sys"), facts: [/^masked\.\/sys\//, "read-only./sys"] },
  { name: "a /dev of its own", change: hosts("/dev"), facts: [/^device\.(?!mknod)/, "host.dev-shm"] },
];

/** What holds for an ordinary user without any sandbox: the kernel refuses it anyway. */
const KERNELS_OWN = [
  // Only root can make a set-id program of another user.
  ...(process.getuid?.() === 0 ? [] : ["ids.set-id"]),
  "self.inheritable",
  "self.ambient",
  "self.permitted",
  "self.effective",
  "device.mknod",
  ...["core_pattern", "hostname"].map((name) => `setting./proc/sys/kernel/${name}`),
  "setting./proc/sys/net/ipv4/ip_default_ttl",
  "setting./proc/sys/vm/overcommit_memory",
  ...[
    "swapon",
    "swapoff",
    "fanotify_init",
    "acct",
    "syslog",
    "vhangup",
    "pivot_root",
    "move_mount",
    "fsopen",
    "fsmount",
    "fspick",
  ].map((name) => `call.${name}`),
  ...["sethostname", "setdomainname", "reboot"].map((name) => `call.${name}`),
];

// Subordinate ids change nothing of it: the map is that of one id.
for (const kind of userKinds.filter((one) => one !== "subids")) {
  describe(`isolation as ${kind}`, () => {
    let bed: Bed;
    const failed = new Set<string>();
    let facts: readonly string[] = [];
    before(async () => {
      bed = await Bed.create(kind);
    });
    after(() => bed.remove());

    test("every fact holds, and programs can still do what they need", async () => {
      const { ok, bad, unable } = await bed.run("--isolate");
      assert.deepEqual([...bad], []);
      assert.deepEqual(unable, []);
      facts = [...ok.keys()];
      assert.ok(facts.length >= 100, `${facts.length} facts`);
    });

    for (const { name, change, facts: expected, root } of protections) {
      test(`without protection: ${name}`, async () => {
        const plan = await bed.plan("--isolate");
        assert.notDeepEqual(change(plan.ops), plan.ops);
        const { bad } = await bed.changed(plan, change);
        for (const fact of bad.keys()) failed.add(fact);
        for (const fact of [...expected, ...(kind === "root" ? (root ?? []) : [])]) {
          const meant = typeof fact === "string" ? [fact] : facts.filter((one) => fact.test(one));
          assert.ok(meant.length > 0, `no fact is like ${fact}`);
          for (const one of meant) assert.ok(bad.has(one), `${one} still holds without ${name}`);
        }
      });
    }

    test("Landlock is a second line: with the host's network its abstract sockets stay out of reach", async (t) => {
      const { ok } = await bed.changed(await bed.plan("--isolate"), all(shared("net"), without("loopback")));
      t.diagnostic(`host.abstract-socket: ${ok.get("host.abstract-socket")}`);
      assert.ok(ok.has("host.abstract-socket"));
    });

    test("every fact is one that can fail", async () => {
      const { ok, bad }: Report = await bed.bare();
      for (const fact of bad.keys()) failed.add(fact);
      const never = facts.filter((fact) => !failed.has(fact));
      if (kind === "root") assert.deepEqual(never, []);
      else
        assert.deepEqual(
          never.filter((fact) => !KERNELS_OWN.includes(fact)),
          [],
        );
      // What the kernel refuses anyway is refused without a sandbox.
      for (const fact of never) assert.ok(ok.has(fact), fact);
    });
  });
}
