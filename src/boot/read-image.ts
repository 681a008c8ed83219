/** An image's configuration (OCI image-spec, config.md) as parts of an intent. Pure. */
import { Failure } from "../base/errors.ts";
import { from, type Intent, type Value, type Variable } from "./intent.ts";

/** The fields that say how an image is run. Values come from an image: nothing of them is taken for granted. */
export interface ImageRunConfig {
  Env?: readonly string[] | null;
  Entrypoint?: readonly string[] | null;
  Cmd?: readonly string[] | null;
  WorkingDir?: string | null;
  User?: string | null;
  StopSignal?: string | null;
}

const ORIGIN = "image config";

const texts = (value: unknown, field: string): string[] => {
  if (value === null || value === undefined) return [];
  if (Array.isArray(value) && value.every((item) => typeof item === "string")) return value;
  throw new Failure("E_MANIFEST", `the field ${field} of the image's configuration is not a list of texts`, {
    where: ORIGIN,
    mend: "ask whoever made the image",
  });
};

const variables = (config: ImageRunConfig): Variable[] =>
  texts(config.Env, "Env").flatMap((line) => {
    const at = line.indexOf("=");
    return at > 0 ? [{ name: line.slice(0, at), value: line.slice(at + 1), origin: ORIGIN }] : [];
  });

/**
 * Entrypoint and the words given; without words Entrypoint and Cmd; without any of them a shell. An entrypoint of the
 * caller's takes the place of both; an empty one is none.
 */
function commandOf(
  config: ImageRunConfig,
  words: readonly string[],
  own: string | undefined,
): Value<readonly string[]> {
  const entrypoint = own === undefined ? texts(config.Entrypoint, "Entrypoint") : own === "" ? [] : [own];
  const origin = own === undefined ? ORIGIN : "--entrypoint";
  if (words.length > 0)
    return from([...entrypoint, ...words], entrypoint.length > 0 ? `${origin}, command line` : "command line");
  const command = [...entrypoint, ...(own === undefined ? texts(config.Cmd, "Cmd") : [])];
  return command.length > 0 ? from(command, origin) : from(["/bin/sh"], "rootling");
}

/** What the image asks for. `entrypoint`: the caller's own. Throws E_MANIFEST for fields of a wrong type. */
export function readImageConfig(
  config: ImageRunConfig,
  words: readonly string[],
  entrypoint?: string,
): Pick<Intent, "environment" | "command" | "workdir" | "user" | "stopSignal"> {
  const workdir = config.WorkingDir;
  return {
    environment: variables(config),
    command: commandOf(config, words, entrypoint),
    workdir: workdir ? from(workdir.startsWith("/") ? workdir : `/${workdir}`, ORIGIN) : from("/", "rootling"),
    ...(config.User ? { user: from(config.User, ORIGIN) } : {}),
    ...(config.StopSignal ? { stopSignal: from(config.StopSignal, ORIGIN) } : {}),
  };
}
