/** A small Debian from the packages of this machine, made in a second: enough for apt, dpkg and maintainer scripts. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { must } from "./command.ts";

const WANTED =
  "apt dpkg dash bash coreutils sed grep tar gzip findutils diffutils base-passwd mawk libc-bin perl-base".split(" ");

/** The packages, and all that they depend on, of those that are installed here. */
async function closure(): Promise<string[]> {
  const options = ["--recurse", "--installed", "--no-recommends", "--no-suggests", "--no-enhances", "--no-conflicts"];
  const text = await must(["apt-cache", "depends", ...options, "--no-breaks", "--no-replaces", ...WANTED]);
  const named = [...new Set(text.split("\n").filter((line) => /^[a-z0-9]/.test(line)))];
  const shown = await must(["dpkg-query", "-W", "-f", "${binary:Package}\\n"]);
  const installed = new Set(shown.trim().split("\n"));
  return named.filter(
    (name) => installed.has(name) || installed.has(`${name}:amd64`) || installed.has(`${name}:arm64`),
  );
}

/** Writes the root as a tarball. */
export async function smallDebian(file: string, scratch: string): Promise<void> {
  const packages = await closure();
  const list = join(scratch, "files");
  const files = (await must(["dpkg-query", "-L", ...packages]))
    .split("\n")
    .filter((path) => /^\/[^ ]/.test(path) && !/^\/usr\/share\/(doc|man|locale|info)(\/|$)/.test(path));
  // Where /lib and the like are symlinks, what they lead to comes first.
  const first = ["/usr", "/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib64", "/bin", "/sbin", "/lib", "/lib64"];
  writeFileSync(list, [...new Set([...first, ...files])].map((path) => `.${path}`).join("\n"));
  const root = join(scratch, "small");
  mkdirSync(join(root, "var/lib/dpkg/updates"), { recursive: true });
  for (const name of ["info", "triggers"]) mkdirSync(join(root, "var/lib/dpkg", name));
  mkdirSync(join(root, "etc"));
  const status = readFileSync("/var/lib/dpkg/status", "utf8").split("\n\n");
  const wanted = new Set(packages.map((name) => name.replace(/:.*/, "")));
  const kept = status.filter((stanza) => wanted.has(/^Package: (.*)$/m.exec(stanza)?.[1] ?? ""));
  writeFileSync(join(root, "var/lib/dpkg/status"), `${kept.join("\n\n")}\n`);
  writeFileSync(join(root, "etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n_apt:x:42:65534::/nonexistent:/bin/false\n");
  writeFileSync(join(root, "etc/group"), "root:x:0:\nadm:x:4:\nmail:x:8:\nnogroup:x:65534:\n");
  await must([
    "sh",
    "-c",
    `tar -C / --no-recursion --ignore-failed-read --owner=0 --group=0 -cf ${file} -T ${list} 2>/dev/null; tar -C ${root} --owner=0 --group=0 -rf ${file} .`,
  ]);
}
