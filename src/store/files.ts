/** The commit rule of the store is that of every output. */
export { makePrivateDirectory, syncDirectory, temporaryName, writeFileSafely } from "../base/files.ts";
