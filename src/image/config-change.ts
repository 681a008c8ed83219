/** Changes of an image's configuration, in the words of a Dockerfile (Moby, `docker commit --change`). */
import { Failure } from "../base/errors.ts";
import { escapeText } from "../base/text.ts";
import { isStrings } from "./sources/json.ts";

/** OCI's `config` object, of an image's configuration. */
export type ConfigObject = Record<string, unknown>;

const usage = (what: string, instruction: string): Failure =>
  new Failure("E_USAGE", what, {
    where: `--change ${escapeText(instruction.slice(0, 200))}`,
    mend: `use one of ${Object.keys(changes).join(", ")}, such as 'CMD ["tool", "word"]' or 'ENV NAME=value'`,
  });

/** A JSON list of words, or a line for the shell of the image. */
function wordsOf(text: string): string[] {
  if (!text.startsWith("[")) return ["/bin/sh", "-c", text];
  try {
    const list: unknown = JSON.parse(text);
    if (isStrings(list)) return list;
  } catch {
    // Told below.
  }
  throw new Error("not a list of words");
}

function assignment(text: string): [name: string, value: string] {
  const [, name, value] = /^([^=\s]+)=(.*)$/s.exec(text) ?? [];
  if (name === undefined || value === undefined) throw new Error("not NAME=VALUE");
  const [, quoted] = /^"([^"]*)"$/.exec(value) ?? [];
  return [name, quoted ?? value];
}

const object = (value: unknown): Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? { ...value } : {};

function port(text: string): string {
  if (!/^[0-9]{1,5}(\/(tcp|udp|sctp))?$/.test(text)) throw new Error("not a port");
  return text.includes("/") ? text : `${text}/tcp`;
}

const changes: Readonly<Record<string, (config: ConfigObject, text: string) => ConfigObject>> = {
  CMD: (_, text) => ({ Cmd: wordsOf(text) }),
  // As in a Dockerfile: the words of the old one were meant for another program.
  ENTRYPOINT: (_, text) => ({ Entrypoint: wordsOf(text), Cmd: undefined }),
  ENV: ({ Env }, text) => {
    const [name, value] = assignment(text);
    const others = isStrings(Env) ? Env.filter((one) => !one.startsWith(`${name}=`)) : [];
    return { Env: [...others, `${name}=${value}`] };
  },
  LABEL: ({ Labels }, text) => ({ Labels: { ...object(Labels), ...Object.fromEntries([assignment(text)]) } }),
  USER: (_, text) => ({ User: text }),
  WORKDIR: (_, text) => ({ WorkingDir: text }),
  STOPSIGNAL: (_, text) => ({ StopSignal: text }),
  VOLUME: ({ Volumes }, text) => ({ Volumes: { ...object(Volumes), [text]: {} } }),
  EXPOSE: ({ ExposedPorts }, text) => ({ ExposedPorts: { ...object(ExposedPorts), [port(text)]: {} } }),
};

/** The configuration after an instruction such as `ENV A=b`. Throws E_USAGE. */
export function changed(config: ConfigObject, instruction: string): ConfigObject {
  const [, word = "", text = ""] = /^\s*([A-Za-z]+)\s+(\S[\s\S]*?)\s*$/.exec(instruction) ?? [];
  const name = word.toUpperCase();
  const change = Object.hasOwn(changes, name) ? changes[name] : undefined;
  if (change === undefined || text.includes("\0")) throw usage("not a change of a configuration", instruction);
  try {
    return { ...config, ...change(config, text) };
  } catch (error) {
    throw usage((error as Error).message, instruction);
  }
}
