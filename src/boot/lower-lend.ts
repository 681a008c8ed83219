/**
 * What the outside lends. Real root that enters a user namespace is nobody there to the host's files: it neither
 * passes through private directories nor owns what it finds. So the outside opens what is mounted, maps its owners where
 * they are the container's, and sends it. Everybody else mounts by path.
 */
import { type Op, op } from "../plan/plan.ts";

export interface Lender {
  /** The ops outside; complete once everything was lowered. */
  readonly ops: readonly Op[];
  /** True where paths of the host cannot be mounted by the inside. */
  readonly lends: boolean;
  /** The source of a bind: the path itself, or the name of what is lent. `words`: rec, idmap, nofail. */
  source(origin: string, path: string, words: readonly string[]): string;
  /** The name of a squashfs file that is mounted outside. */
  squashfs(origin: string, path: string): string;
}

export function lender(lends: boolean): Lender {
  const ops: Op[] = [];
  const next = (verb: "lend" | "lend-squashfs", origin: string, path: string, words: readonly string[]) => {
    const number = ops.length + 1;
    ops.push(op(verb, origin, `${number}`, path, words.join(",")));
    return `lent:${number}`;
  };
  return {
    ops,
    lends,
    source(origin, path, words) {
      return lends ? next("lend", origin, path, words) : path;
    },
    squashfs: (origin, path) => next("lend-squashfs", origin, path, lends ? ["idmap"] : []),
  };
}
