/** Lines about the whole, made of the tasks of an import: which there are, in which order, and that none goes back. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type ProgressStatus, Status, shownSize, type Written } from "../../src/commands/progress-status.ts";
import { digestOf } from "../../src/image/digest.ts";
import { downloadId, unpackId } from "../../src/image/task-ids.ts";
import type { LayerRef } from "../../src/image/types.ts";

const layer = (size: number | undefined, index: number): LayerRef => ({
  digest: digestOf(Buffer.from(String(index))),
  ...(size === undefined ? {} : { size }),
  label: `layer ${index}`,
  open: () => Promise.reject(new Error("nobody reads it")),
});

/** What is told while `work` is done. */
function told(source: string, written: Written, work: (status: Status) => void): ProgressStatus[] {
  const seen: ProgressStatus[] = [];
  const status = new Status(source, written, (step) => seen.push(step));
  work(status);
  status.finished();
  const values = seen.map(({ value }) => value);
  assert.deepEqual(
    values,
    values.toSorted((one, other) => one - other),
  );
  assert.equal(values.at(-1), 100);
  return seen;
}

const lines = (seen: readonly ProgressStatus[]) => seen.map(({ status, value }) => `${value.toFixed(0)} ${status}`);

const [lower, upper] = [layer(3000, 0), layer(1000, 1)];
const download = ({ digest = digestOf(Buffer.alloc(0)) }: LayerRef) => downloadId(digest);

test("what is in the cache is not downloaded", () => {
  const cached = told("docker://x", "dir", (status) => {
    const { progress } = status;
    status.opened([lower, upper]);
    progress.expect(4000, [unpackId(lower), unpackId(upper)]);
    const first = progress.task(unpackId(upper), "");
    progress.expect(4000, [download(lower), download(upper)]);
    for (const one of [lower, upper]) progress.task(download(one), "", one.size).done("in cache");
    first.advance(1000);
    first.done();
    const second = progress.task(unpackId(lower), "");
    second.advance(3000);
    second.done();
  });
  assert.deepEqual(lines(cached), [
    "0 Checking cached layers",
    "50 Extracting container layers",
    "50 Extracting layer (1/2) with size: 0.98 KiB",
    "63 Extracting layer (2/2) with size: 2.93 KiB",
    "100 Download and extract completed!",
  ]);
});

test("layers count in bytes, and an attempt that begins anew takes nothing back", () => {
  const seen = told("docker://x", "qcow2", (status) => {
    const { progress } = status;
    status.opened([lower, upper]);
    for (const attempt of [1, 2]) {
      const unpack = progress.task(unpackId(lower), "");
      if (attempt === 1) progress.expect(4000, [download(lower), download(upper)]);
      const [one, other] = [lower, upper].map((each) => progress.task(download(each), "", each.size));
      one?.advance(3000);
      one?.done();
      if (attempt === 1) other?.advance(500);
      other?.advance(500);
      other?.done();
      unpack.advance(3000);
    }
  });
  assert.deepEqual(lines(seen), [
    "0 Checking cached layers",
    "0 Downloading container image",
    "0 Downloading layer (1/2)",
    "38 Downloading layer (2/2)",
    "50 Extracting container layers into qcow2 images",
    "50 Creating base layer",
    "50 Formating disk image",
    "50 Extracting layer (1/2) with size: 2.93 KiB",
    "100 Download and extract completed!",
  ]);
});

test("a tarball without a size; a template, whose making is half of it", () => {
  const tar = layer(undefined, 0);
  const work = (status: Status) => {
    status.opened([tar]);
    const task = status.progress.task(unpackId(tar), "");
    task.advance(12345);
    task.done();
  };
  assert.deepEqual(lines(told("./root.tar", "dir", work)), [
    "0 Extracting files into destination directory",
    "0 Extracting layer (1/1)",
    "100 Extraction completed successfully!",
  ]);
  assert.deepEqual(lines(told("virt-builder://fedora-25", "dir", work)), [
    "0 Building image",
    "50 Extracting rootfs",
    "100 Extraction completed successfully!",
  ]);
});

test("sizes as virt-bootstrap writes them", () => {
  for (const [bytes, shown] of [
    [0, "0"],
    [999, "999"],
    [1000, "0.98 KiB"],
    [2048, "2 KiB"],
    [5 << 20, "5 MiB"],
    [5_500_000_000, "5.12 GiB"],
    [2 ** 50, "1048576 GiB"],
  ] as const) {
    assert.equal(shownSize(bytes), shown);
  }
});
