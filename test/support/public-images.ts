/** Public registries on the loopback address: what the usage examples of virt-bootstrap's library name. */
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { capture } from "../../src/base/process.ts";
import { FakeRegistry } from "./fake-registry.ts";
import { type Given, scratch, tarOf, writeLayout } from "./image-support.ts";
import { type Registry, startRegistry } from "./registry.ts";

type Suite = Parameters<typeof scratch>[0];

/** Two layers: the upper one takes a file away, as an image of a distribution might. */
export const ubuntuLayers: readonly (readonly Given[])[] = [
  [
    { path: "etc", kind: "directory" },
    { path: "etc/shadow", content: "root:*:19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\n", mode: 0o640, gid: 42 },
    { path: "etc/gone", content: "not for long" },
    { path: "usr/bin/tool", content: "#!/bin/sh\n", mode: 0o4755 },
    { path: "home/user/file", content: "mine", uid: 5, gid: 9 },
    { path: "home/far", content: "far", uid: 1000, gid: 1000 },
  ],
  [
    { path: "etc/.wh.gone", content: "" },
    { path: "etc/os-release", content: "ID=ubuntu\n" },
  ],
];

export interface PublicImages {
  /** The environment of a program that sees them, with places of its own in `directory`. */
  readonly env: Readonly<Record<string, string>>;
  readonly directory: string;
  readonly registry: Registry;
  /** The one that wants TLS and a login, as localhost:5000/opensuse. */
  readonly secret: FakeRegistry;
}

/** Starts them; they end with the suite. */
export async function publicImages(
  t: Suite & Pick<Parameters<FakeRegistry["start"]>[0], "after">,
): Promise<PublicImages> {
  const directory = scratch(t);
  chmodSync(directory, 0o755);
  const file = (name: string) => join(directory, name);
  const registry = await startRegistry();
  t.after(() => registry.stop());
  writeLayout(
    file("layout"),
    ubuntuLayers.map((layer) => tarOf(layer)),
  );
  for (const name of ["library/ubuntu", "library/fedora", "fedora:25"])
    await registry.push(file("layout:latest"), name);
  await capture("openssl", [
    ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"],
    ...["-subj", "/CN=elsewhere", "-keyout", file("key"), "-out", file("crt")],
  ]);
  const tls = { cert: readFileSync(file("crt")), key: readFileSync(file("key")) };
  const secret = await new FakeRegistry({ auth: "basic", tls }).start(t);
  const table = (prefix: string, location: string) => `[[registry]]\nprefix = "${prefix}"\nlocation = "${location}"\n`;
  writeFileSync(
    file("registries.conf"),
    table("docker.io", registry.address) +
      table("registry.fedoraproject.org", registry.address) +
      table("localhost:5000/opensuse", `${secret.host}/team/app`),
  );
  const env = {
    PATH: process.env.PATH ?? "",
    HOME: directory,
    CONTAINERS_REGISTRIES_CONF: file("registries.conf"),
    ROOTLING_DATA_PATH: file("data"),
    ROOTLING_CACHE_PATH: file("cache"),
    ROOTLING_RUNTIME_PATH: file("runtime"),
    ROOTLING_RETRY_WAIT: "0.02",
  };
  return { env, directory, registry, secret };
}
