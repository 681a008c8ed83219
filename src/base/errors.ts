/**
 * Everything that can go wrong is a `Failure`: what happened, where it was asked for, and how to mend it.
 * It is thrown where it is known, carried up unchanged or as the cause of a wider one, and printed once, by main.
 */

/** Exit status of rootling's own failures, as of env, nice, docker and podman. */
export const EXIT_FAILURE = 125;
/** Exit status for words that cannot be understood. */
export const EXIT_USAGE = 2;

export interface FailureDetails {
  /** The place that asked for it: a flag such as `--mount`, `init.yml:12`, a file. */
  where?: string;
  /** What the user can do, as a sentence without full stop. */
  mend?: string;
  cause?: unknown;
  /** Exit status when it reaches main; if not given EXIT_USAGE for E_USAGE, else EXIT_FAILURE. */
  exitStatus?: number;
}

/** An error with a stable, documented code. `what` is lower case and has no full stop. */
export class Failure extends Error {
  readonly code: FailureCode;
  readonly what: string;
  readonly where: string | undefined;
  readonly mend: string | undefined;
  readonly exitStatus: number;

  constructor(code: FailureCode, what: string, details: FailureDetails = {}) {
    super(what, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = "Failure";
    this.code = code;
    this.what = what;
    this.where = details.where;
    this.mend = details.mend;
    this.exitStatus = details.exitStatus ?? (code === "E_USAGE" ? EXIT_USAGE : EXIT_FAILURE);
  }
}

/** Every code, with its meaning: the one list that checks, docs and `rootling explain` share. */
export const failureCodes = {
  E_USAGE: "the words of the command cannot be understood",
  E_INTERRUPTED: "the user or the system asked rootling to stop",
  E_SOURCE: "the source of an image cannot be understood",
  E_NOT_FOUND: "an image, a container or a file that was named does not exist",
  E_EXISTS: "the name or the output exists already",
  E_BUSY: "another process is using it",
  E_NETWORK: "the registry cannot be reached or stopped answering",
  E_DENIED: "the registry refuses access",
  E_BLOCKED: "registries.conf forbids this image",
  E_POLICY: "policy.json does not accept this image, or it lacks the signature that is asked for",
  E_CERTIFICATE: "the certificate of a registry is not trusted",
  E_REGISTRY: "the registry answered something that the specification does not allow",
  E_DIGEST: "bytes do not have the digest or size that was promised for them",
  E_MANIFEST: "a manifest or an image configuration is not valid or uses what is not supported",
  E_PLATFORM: "the image has no variant for the platform that was asked for",
  E_LAYER: "a layer is not a valid archive",
  E_LIMIT: "an image is larger or deeper than the limits allow",
  E_SHADOW: "root's password cannot be set in this image",
  E_CDI: "a spec of the Container Device Interface cannot be understood",
  E_SUBHOST: "the configuration of a subhost has a mistake",
  E_INIT: "init.yml cannot be understood",
  E_HOOK: "a hook or a configuration script failed",
  E_SPACE: "a file system is full",
  E_READ_ONLY: "a file system or directory cannot be written to",
  E_IO: "reading or writing a file failed",
  E_PROGRAM: "a system program is missing or failed",
  E_SUBUID: "the ids that a map names are not this user's",
  E_USERNS: "user namespaces are not available to this user",
  E_NAMESPACE: "a namespace cannot be made ready for use",
  E_CGROUP: "limits cannot be set here",
  E_OVERLAY: "overlayfs cannot be mounted here",
  E_MOUNT: "a mount failed",
  E_CABLE: "a virtual cable cannot be made",
  E_NAME: "a name is not allowed",
  E_CONFLICT: "two settings contradict each other",
  E_PLAN: "a plan is not valid",
  E_EXECUTOR: "the executor is missing, does not fit, or failed",
  E_EXEC: "the command cannot be executed in the container",
  E_RECORD: "a record in the store cannot be read",
  E_SETTING: "a setting has a value that is not allowed",
  E_INTERNAL: "a defect in rootling",
} as const;

export type FailureCode = keyof typeof failureCodes;

/** The errno name of a Node system error, such as `ENOENT`; undefined for anything else. */
export function errnoOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === "string" && /^E[A-Z0-9]+$/.test(code) ? code : undefined;
}

/** Turns an error of a file operation on `path` into the Failure that names the file and a mend. */
export function fileFailure(error: unknown, doing: string, path: string): Failure {
  if (error instanceof Failure) return error;
  const errno = errnoOf(error);
  const details = { where: path, cause: error };
  switch (errno) {
    case "ENOSPC":
    case "EDQUOT":
      return new Failure("E_SPACE", `${doing}: no space is left on the file system`, {
        ...details,
        mend: "free some space, or choose another file system: for the store with ROOTLING_DATA_PATH and ROOTLING_CACHE_PATH",
      });
    case "EROFS":
    case "EACCES":
    case "EPERM":
      return new Failure(
        "E_READ_ONLY",
        `${doing}: ${errno === "EROFS" ? "the file system is read-only" : "permission denied"}`,
        {
          ...details,
          mend: "choose a place that you may write to, or check its owner and mode",
        },
      );
    case "ENOENT":
      return new Failure("E_NOT_FOUND", `${doing}: no such file or directory`, { ...details, mend: "check the path" });
    case "ENOTDIR":
      return new Failure("E_NOT_FOUND", `${doing}: a part of the path is no directory`, {
        ...details,
        mend: "check the path",
      });
    case "ENAMETOOLONG":
      return new Failure("E_NAME", `${doing}: the name is too long`, { ...details, mend: "choose a shorter one" });
    default:
      return new Failure("E_IO", `${doing}: ${errno ?? (error as Error)?.message ?? String(error)}`, {
        ...details,
        mend: "see the system log for errors of the disk or file system",
      });
  }
}

/** What the system refused, a full disk say, is no defect of ours, wherever it was met. */
export function systemFailure(error: unknown): unknown {
  const { syscall, path } = (error ?? {}) as { syscall?: unknown; path?: unknown };
  if (error instanceof Failure || errnoOf(error) === undefined || typeof syscall !== "string") return error;
  return fileFailure(error, `the system call ${syscall}`, typeof path === "string" ? path : "an open file");
}
