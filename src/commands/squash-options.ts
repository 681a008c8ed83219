/** The setting SQUASH_OPTIONS: which of mksquashfs's options may be given. */
import { Failure } from "../base/errors.ts";

/** Options that change how data is stored, never what: those take no value. */
const FLAGS =
  /^-(no(I|Id|D|F|X|InodeCompression|IdTableCompression|DataCompression|FragmentCompression|XattrCompression)|no-compression|no-fragments|no-tailends|tailends|always-use-fragments|no-duplicates|no-exports|exports|no-sparse|Xhc)$/;
const WITH_VALUE: Readonly<Record<string, RegExp>> = {
  "-comp": /^(gzip|lzo|lz4|xz|zstd|lzma)$/,
  "-b": /^[0-9]{1,8}[kKmM]?$/,
  "-Xcompression-level": /^[0-9]{1,2}$/,
  "-Xwindow-size": /^[0-9]{1,2}$/,
  "-Xdict-size": /^[0-9]{1,8}[%kKmM]?$/,
  "-Xalgorithm": /^lzo1x_[a-z0-9_]+$/,
  "-Xstrategy": /^[a-z,]+$/,
  "-Xbcj": /^[a-z,]+$/,
};

/** Splits the options. Throws E_SETTING for those that would change what is in the file. */
export function squashWords(text: string, where: string): string[] {
  const words = text.split(/\s+/).filter(Boolean);
  for (let at = 0; at < words.length; at++) {
    const word = words[at] ?? "";
    const value = Object.hasOwn(WITH_VALUE, word) ? WITH_VALUE[word] : undefined;
    if (value === undefined && FLAGS.test(word)) continue;
    if (value?.test(words[at + 1] ?? "")) at++;
    else {
      throw new Failure("E_SETTING", `the option ${JSON.stringify(word)} of mksquashfs cannot be given`, {
        where,
        mend: "use -comp, -b, -noI, -noD, -noF, -noX, -no-fragments, -no-duplicates and options of the compressor",
      });
    }
  }
  return words;
}
