/** A repository of packages for apt, with packages of the test's own. */
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { must } from "./command.ts";

/** Of the one suite and component; the line of sources.list that names it. */
export async function aptRepository(directory: string, packages: Record<string, Record<string, string>>) {
  const architecture = (await must(["dpkg", "--print-architecture"])).trim();
  const index = `main/binary-${architecture}/Packages`;
  const dist = join(directory, "dists/own");
  mkdirSync(join(dist, index, ".."), { recursive: true });
  mkdirSync(join(directory, "pool"));
  const sum = (file: string) => createHash("sha256").update(readFileSync(file)).digest("hex");
  let text = "";
  for (const [name, files] of Object.entries(packages)) {
    const control = `Package: ${name}\nVersion: 1\nArchitecture: all\nMaintainer: T <t@t.example>\nDescription: own\n`;
    const root = join(directory, "made", name);
    for (const [path, content] of Object.entries({ ...files, "DEBIAN/control": control })) {
      mkdirSync(join(root, path, ".."), { recursive: true });
      writeFileSync(join(root, path), content);
    }
    const file = join(directory, "pool", `${name}.deb`);
    await must(["dpkg-deb", "--build", "--root-owner-group", "-Znone", root, file]);
    text += `${control}Filename: pool/${name}.deb\nSize: ${statSync(file).size}\nSHA256: ${sum(file)}\n\n`;
  }
  writeFileSync(join(dist, index), text);
  const release = [
    ...["Suite: own", "Codename: own", "Components: main", `Architectures: ${architecture}`],
    ...[`Date: ${new Date().toUTCString()}`, "SHA256:", ` ${sum(join(dist, index))} ${text.length} ${index}`],
  ];
  writeFileSync(join(dist, "Release"), `${release.join("\n")}\n`);
  return `deb [trusted=yes] file:${directory} own main`;
}
