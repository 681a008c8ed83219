/** The tools of guests on this kernel: tolerant, overlay, mount-idmapped, initctl, each in a mount namespace of its own. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { command, shellWord } from "../support/command.ts";
import { guestProgram } from "../support/guest.ts";
import { tempDirectory } from "../support/temp.ts";
import { needsRoot } from "../support/users.ts";

type Context = Parameters<typeof tempDirectory>[0];

/** Runs a shell's text on an empty tmpfs; the tools are programs there. `namespaces`: words of unshare(1). */
async function inside(t: Context, namespaces: readonly string[], script: string) {
  const at = shellWord(tempDirectory(t));
  const program = shellWord(guestProgram());
  const setUp = `mount -t tmpfs test ${at}; cd ${at}; mkdir bin root cache from to
    for name in tolerant overlay mount-idmapped initctl; do ln -s ${program} bin/$name; done; PATH=$PWD/bin:$PATH`;
  const words = ["timeout", "-k1", "8", "unshare", "--mount", "--propagation", "private", ...namespaces];
  return await command([...words, "sh", "-c", `${setUp}\n${script}`]);
}

const manyLayers = `
  for i in $(seq 0 99); do mkdir -p layers/$i; echo $i >layers/$i/who; echo $i >layers/$i/only$i; done
  echo base >root/who
  overlay --path "$PWD/root" --cache "$PWD/cache" $(for i in $(seq 0 99); do echo "$PWD/layers/$i"; done) || exit
  cat root/who; ls root | wc -l; rm root/who; mkdir root/made; ls cache/upper; ls -A cache/temp`;

for (const [who, namespaces] of [
  ["root", []],
  ["a user namespace", ["--user", "--map-root-user"]],
] as const) {
  test(`overlay: a hundred layers, the last one uppermost, in ${who}`, needsRoot("overlays"), async (t) => {
    const { stdout, stderr, status } = await inside(t, namespaces, manyLayers);
    assert.deepEqual([status, stderr, stdout], [0, "", "99\n101\nmade\nwho\nw\n"]);
  });
}

test("overlay: what cannot be is refused, with what mends it", needsRoot("overlays"), async (t) => {
  const cases: readonly [string, RegExp][] = [
    ["overlay --path root --cache cache none", /realpath none: No such file.*\n {2}mend: see whether that is there/],
    ["overlay --path root --cache cache from from/", /one contains the other.*\n {2}mend: give layers that lie beside/],
    ["overlay --path root --cache root/cache from", /cache .*root\/cache: .*\n {2}mend: give a cache that is in none/],
    ["touch file; overlay --path root --cache cache file", /open file: Not a directory\n {2}mend: give a directory/],
    [
      "mount -t tmpfs -o ro x cache; overlay --path root --cache cache/x from",
      /mkdir cache\/x: Read-only.*\n {2}mend: give/,
    ],
    [
      "mount -t tmpfs -o nr_inodes=2 x cache; overlay --path root --cache cache/x from",
      /No space left.*\n {2}mend: the file/,
    ],
  ];
  for (const [script, expected] of cases) {
    const { stderr, status } = await inside(t, [], script);
    assert.match(stderr, expected);
    assert.equal(status, 125, script);
  }
});

/** tmpfs takes other owners only from Linux 6.3 on. */
const disk = "truncate -s 8M disk; mke2fs -q -t ext4 disk; mount -o loop disk from";

test("mount-idmapped: maps of users, of groups, of both, several of each", needsRoot("mounts"), async (t) => {
  const cases: readonly [string, string][] = [
    ["b:0:1000000:65536", "1000005:1000007"],
    ["u:5:1000:1 --map-mount=u:0:0:1 --map-mount=g:0:100:10", "1000:107"],
    ["u:5:1000:1", "1000:7"],
    ["b:0:10:6 --map-mount=b:7:100:5", "15:100"],
  ];
  for (const [maps, owners] of cases) {
    const script = `${disk}; touch from/file; chown 5:7 from/file; mount-idmapped --map-mount=${maps} from to; stat -c %u:%g to/file`;
    const { stdout, stderr } = await inside(t, [], script);
    assert.equal(stdout.trim(), owners, maps + stderr);
  }
});

test("mount-idmapped: ext4, and an overlay of mapped layers", needsRoot("mounts"), async (t) => {
  const mapped = "mount-idmapped --map-mount=b:0:1000000:65536 from to || exit";
  const show =
    "stat -c %u to/file; overlay --path to --cache cache && echo more >>to/file && stat -c %u to/file cache/upper/file";
  const { stdout, stderr, status } = await inside(
    t,
    [],
    `${disk}; touch from/file; ${mapped}; ${show}; s=$?; umount to to from; exit $s`,
  );
  assert.deepEqual([status, stdout], [0, "1000000\n1000000\n1000000\n"], stderr);
});

test("mount-idmapped: what this kernel cannot do is said, with what mends it", needsRoot("mounts"), async (t) => {
  const map = "mount-idmapped --map-mount=b:0:1000000:65536";
  const overlay = "mkdir up work; mount -t overlay x -o lowerdir=from,upperdir=up,workdir=work root";
  const cases: readonly [string, RegExp][] = [
    [
      `${overlay}; ${map} root to`,
      /mount_setattr root: Invalid argument\n {2}mend: this file system cannot .*its layers/,
    ],
    [
      `${disk}; ${map} from to; ${map} to to`,
      /mount_setattr to: Operation not permitted\n {2}mend: .*not mapped already/,
    ],
    [
      "mount-idmapped --map-mount=b:0:10:5 --map-mount=b:3:100:5 from to",
      /uid_map: .*\n {2}mend: see that no two maps/,
    ],
    [`${map} none to`, /open_tree none: No such file.*\n {2}mend: /],
  ];
  for (const [script, expected] of cases) {
    const { stderr, status } = await inside(t, [], script);
    assert.match(stderr, expected);
    assert.equal(status, 125, script);
  }
  const { stderr, status } = await inside(t, [], "mount-idmapped --map-mount=x:0:1:2 from to");
  assert.match(stderr, /a map is b\|u\|g:FROM:TO:COUNT\n {2}mend:/);
  assert.equal(status, 2);
});

test("tolerant: a directory in the order of names until one fails, and files without permission", async (t) => {
  const script = `
    mkdir d; printf '#!/bin/sh\necho one "$@"\n' >d/1; printf '#!/bin/sh -e\necho two; false; echo never\n' >d/2
    printf '#!/bin/sh\necho never\n' >d/3; chmod 755 d/3; echo none >d/.hidden
    tolerant ./d a b; echo $?; rm d/2 d/3; tolerant ./d; echo $?
    PATH=$PWD/d:$PATH; tolerant 1 by name; echo plain >none; tolerant ./none; echo $?; tolerant nowhere; echo $?`;
  const { stdout, stderr } = await inside(t, ["--user", "--map-root-user"], script);
  assert.equal(stdout, "one a b\ntwo\n125\none\n0\none by name\n126\n127\n");
  assert.match(stderr, /d\/2: status 1[\s\S]*mend: .*said[\s\S]*none: Permission denied\n {2}mend: give it execute/);
  assert.match(stderr, /nowhere: No such file/);
});

test("initctl: run levels 0 and 6 end a process, and nothing else does", needsRoot("/dev/initctl"), async (t) => {
  const request = (command: number, level: string, magic = "\\151\\031\\011\\003") =>
    `printf '${magic}\\00${command}\\000\\000\\000${level}\\000\\000\\000' | dd of=/dev/initctl bs=384 conv=sync 2>/dev/null`;
  for (const level of ["0", "6"]) {
    const script = `
      mount -t tmpfs dev /dev; mknod -m 666 /dev/null c 1 3; mkdir /dev/fd 2>/dev/null
      sh -c 'trap "echo ended; exit 3" TERM; while :; do sleep 0.05; done' & pid=$!
      ./bin/initctl $pid & until [ -p /dev/initctl ]; do sleep 0.02; done
      stat -c %a /dev/initctl; printf x >/dev/initctl
      ${request(1, "0", "abcd")}; ${request(1, "2")}; ${request(3, "0")}; sleep 0.2; kill -0 $pid && echo lives
      ${request(1, level)}; wait $pid; echo $?; wait; test -e /dev/initctl || echo gone`;
    const { stdout, stderr } = await inside(t, [], script);
    assert.equal(stdout, "600\nlives\nended\n3\ngone\n", stderr);
  }
});
