/** What the failure of a program that writes an output means for the user. */
import { Failure, fileFailure } from "../../base/errors.ts";
import { saidFailure } from "../../base/process.ts";

/** `error` as a Failure; a full disk is told from what the program said last. */
export function programFailure(error: unknown, doing: string, path: string): Failure {
  const said = saidFailure(error, doing, path);
  if (said !== undefined) return said;
  if (!(error instanceof Failure) || error.code !== "E_PROGRAM") return fileFailure(error, doing, path);
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
