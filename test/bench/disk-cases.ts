/** Disks: a chain of qcow2 files beside a directory of the same image, and beside virt-bootstrap's method. */
import { join } from "node:path";
import { rootlingWords } from "../support/cli.ts";
import { shellWord } from "../support/command.ts";
import { type Bed, type Case, OURS, ratioBar } from "./case.ts";

const GUESTFISH = "skopeo + guestfish";
const DIRECTORY = "dir (rootling)";

/** The blobs of an image layout, lowest first. */
const LAYERS = `
import json, sys
blobs = sys.argv[1] + "/blobs/sha256/"
read = lambda name: json.load(open(name))
manifest = read(blobs + read(sys.argv[1] + "/index.json")["manifests"][0]["digest"][7:])
print(*[blobs + layer["digest"][7:] for layer in manifest["layers"]])
`;

export const diskCase = (bed: Bed): Case => {
  const source = `docker://${bed.registry}/work:1`;
  const inWork = (name: string) => shellWord(join(bed.work, name));
  const sync = bed.onDisk ? `sync -f ${shellWord(bed.work)}` : "true";
  const clear = `rm -rf ${shellWord(bed.work)} && mkdir ${shellWord(bed.work)}`;
  const rootling = (format: string) =>
    `${rootlingWords("import", source, "-o", join(bed.work, "out"), "--format", format).map(shellWord).join(" ")} && ${sync}`;
  // Where the appliance does not start with KVM, it is given a processor in software.
  const probe = `
export LIBGUESTFS_BACKEND=direct
timeout 60 guestfish -a /dev/null run >/dev/null 2>&1 || echo force_tcg >${inWork("settings")}
LIBGUESTFS_BACKEND_SETTINGS=$(cat ${inWork("settings")} 2>/dev/null) timeout 300 guestfish -a /dev/null run`;
  const guestfish = `
set -e
export LIBGUESTFS_BACKEND=direct LIBGUESTFS_BACKEND_SETTINGS=$(cat ${inWork("settings")} 2>/dev/null)
skopeo copy --quiet --insecure-policy --src-tls-verify=false ${source} oci:${inWork("layout")}:x
cd ${shellWord(bed.work)}
layer=0
for blob in $(python3 -c ${shellWord(LAYERS)} ${inWork("layout")}); do
  if [ $layer = 0 ]; then
    qemu-img create -q -f qcow2 layer-0.qcow2 5G
    make='mkfs ext3 /dev/sda'
  else
    qemu-img create -q -f qcow2 -b layer-$((layer - 1)).qcow2 -F qcow2 layer-$layer.qcow2
    make=
  fi
  printf 'run\\n%s\\nmount /dev/sda /\\ntar-in %s / compress:gzip xattrs:true\\n' "$make" "$blob" | sed '/^$/d' |
    guestfish --format=qcow2 -a layer-$layer.qcow2
  layer=$((layer + 1))
done
${sync}`;
  return {
    name: "qcow2",
    about: "four layers, 800 MB: from a registry to a chain of disks, nothing in the cache",
    // One run of guestfish takes minutes where there is no KVM.
    repetitions: 1,
    warmups: 0,
    subjects: [
      { name: OURS, before: clear, run: rootling("qcow2") },
      { name: DIRECTORY, before: clear, run: rootling("dir") },
      { name: GUESTFISH, before: `${clear} && ${probe}`, run: guestfish },
    ],
    bars: [
      ratioBar("wall", GUESTFISH, 0.25),
      ratioBar("cpu", DIRECTORY, 4),
      {
        text: "MB of memory at most 256",
        limit: 256,
        value: (medians) => (medians.get(OURS)?.memory ?? Number.NaN) / 1e6,
      },
    ],
  };
};
