/** What the failure of a program that writes an output means for the user. */
import { Failure, fileFailure } from "../../base/errors.ts";

/** `error` as a Failure; a full disk is told from what the program said last. */
export function programFailure(error: unknown, doing: string, path: string): Failure {
  if (!(error instanceof Failure)) return fileFailure(error, doing, path);
  if (error.code !== "E_PROGRAM") return error;
  const errno = [
    ["No space left on device", "ENOSPC"],
    // GNU tar's words for a write that a full disk cut short.
    ["Wrote only ", "ENOSPC"],
    ["Disk quota exceeded", "EDQUOT"],
    ["Read-only file system", "EROFS"],
    ["Input/output error", "EIO"],
    ["Permission denied", "EACCES"],
  ].find(([said]) => error.what.includes(said ?? ""))?.[1];
  if (errno !== undefined) return fileFailure(Object.assign(new Error(error.what), { code: errno }), doing, path);
  if (error.what.includes("Too many links")) {
    return new Failure("E_LIMIT", `${doing}: more hard links to a file than the file system allows`, {
      where: path,
      mend: "choose another file system, or another form of output",
      cause: error,
    });
  }
  return new Failure("E_PROGRAM", `${doing}: ${error.what}`, {
    where: path,
    mend: "if the image is sound, please report this",
    cause: error,
  });
}
