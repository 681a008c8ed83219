/** Blobs over connections that break: what is missing is asked for by Range (RFC 9110, 14) until all is there. */
import { Failure } from "../../base/errors.ts";
import type { BlobInfo } from "../types.ts";
import { type Answer, type Connections, discard } from "./http.ts";
import { Passing } from "./network-failures.ts";
import type { Retries } from "./retry.ts";

export interface ResumeOptions {
  connections: Connections;
  retries: Retries;
  signal: AbortSignal;
  /** Asks for the blob from `offset` on: of a server that knows no ranges, from the beginning. */
  ask(offset: number): Promise<Answer>;
}

/** Bytes between two cuts that count as progress: then the tries are counted anew. */
const PROGRESS_BYTES = 64 << 10;

/** The blob's bytes from `offset` on, over as many connections as it takes. They are not verified here. */
export async function resumable(
  blob: BlobInfo,
  offset: number,
  options: ResumeOptions,
): Promise<AsyncIterable<Buffer>> {
  const first = await open(blob, offset, true, options);
  return follow(blob, offset, first, options);
}

interface Opened {
  answer: Answer;
  /** Where the answer begins: the offset that was asked for, or 0. */
  start: number;
  /** Whether the server gave the range that it was asked for. */
  ranges: boolean;
}

async function* follow(blob: BlobInfo, offset: number, first: Opened, options: ResumeOptions): AsyncGenerator<Buffer> {
  let opened: Opened | undefined = first;
  let at = offset;
  let ranges = first.ranges;
  for (let tried = 0; ; tried++) {
    const before = at;
    try {
      opened ??= await open(blob, at, ranges, options);
      ranges = opened.ranges;
      let position = opened.start;
      for await (const chunk of options.connections.body(opened.answer, options.signal)) {
        // A server without ranges begins again: what is here already is left out. The digest proves the whole.
        const known = Math.min(chunk.length, Math.max(0, at - position));
        position += chunk.length;
        if (known === chunk.length) continue;
        at = position;
        yield known === 0 ? chunk : chunk.subarray(known);
      }
      if (at >= blob.size || isComplete(opened.answer)) return;
      throw new Passing("E_NETWORK", "the registry stopped in the middle of a layer", {
        where: opened.answer.url.host,
        mend: "try again: what has arrived is kept",
      });
    } catch (error) {
      opened = undefined;
      if (at - before >= PROGRESS_BYTES) tried = 0;
      await options.retries.pause(error, tried, options.signal);
    }
  }
}

/** Whether an answer that ended was as long as it said: one that says nothing may have been cut. */
const isComplete = ({ headers }: Answer): boolean =>
  headers["content-length"] !== undefined || headers["transfer-encoding"] !== undefined;

async function open(blob: BlobInfo, at: number, ranges: boolean, options: ResumeOptions): Promise<Opened> {
  const asked = ranges ? at : 0;
  const answer = await options.ask(asked);
  if (answer.status === 200) {
    checkLength(blob, answer, blob.size);
    return { answer, start: 0, ranges: asked === 0 && ranges };
  }
  const [, start, total] = /^bytes ([0-9]+)-[0-9]+\/([0-9]+|\*)$/.exec(answer.headers["content-range"] ?? "") ?? [];
  if (asked > 0 && Number(start) === asked && (total === "*" || Number(total) === blob.size)) {
    checkLength(blob, answer, blob.size - asked);
    return { answer, start: asked, ranges };
  }
  // Another part than the one that was asked for: the whole, then.
  discard(answer);
  if (asked > 0) return open(blob, at, false, options);
  throw new Failure("E_REGISTRY", "the registry sends a part of a layer where the whole was asked for", {
    where: answer.url.host,
    mend: "check the name of the registry, and whether a proxy changes what it sends",
  });
}

function checkLength(blob: BlobInfo, answer: Answer, expected: number): void {
  const length = answer.headers["content-length"];
  if (length === undefined || Number(length) === expected) return;
  discard(answer);
  throw new Failure("E_DIGEST", `the registry offers ${Number(length)} bytes instead of the promised ${expected}`, {
    where: `blob ${blob.digest}`,
    mend: "try again; if it stays, the image is damaged in the registry",
  });
}
