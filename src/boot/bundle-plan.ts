/**
 * The plans of a bundle, as functions of its shell script: made here, by `lower`, of facts that hold on every machine;
 * what only the machine knows that it runs on is filled in there. Pure.
 */
import { Failure } from "../base/errors.ts";
import { check } from "../plan/check.ts";
import type { Op } from "../plan/plan.ts";
import { DEVICES, type Facts } from "./facts.ts";
import { VARIABLE } from "./fstab.ts";
import { from, type Intent, type Startup, type Value, type Variable } from "./intent.ts";
import { lower } from "./lower.ts";
import { DEFAULT_PATH } from "./lower-payload.ts";
import { type ImageRunConfig, readImageConfig } from "./read-image.ts";

/** What a bundle is made of, apart from its root. */
export interface BundleParts {
  /** That it runs on, as Node names it. */
  readonly architecture: string;
  readonly run: ImageRunConfig;
  /** The root has files that steer a start. */
  readonly rootFiles: boolean;
  readonly login: boolean;
  readonly devices: Intent["devices"];
  /** Of environ.d and mounts.d; a value or line holds ${NAME} for what the machine has. */
  readonly environment: readonly Variable[];
  readonly lines: Startup["lines"];
  /** Of hooks.d: the scripts themselves. */
  readonly hooks: readonly Value<string>[];
}

/** Begins a field of which the script knows the rest; no path and no text of an image holds this character. */
const MARK = "\u0001";
const WORK = `${MARK}work`;
const ROOT = `${MARK}root`;
const CONF = `${MARK}conf`;
/** An id that stands for the caller's. */
const ID = 2_147_483_001;

/** Texts that the script takes from elsewhere. */
const filled: readonly (readonly [mark: string, text: string])[] = [
  [WORK, '"$work"'],
  [ROOT, '"$root"'],
  [CONF, '"$conf"'],
];

/** A word of the shell that is this text, whatever is in it. */
export const shellText = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

/** A word of the shell for a field of an op. */
function fieldWord(field: string): string {
  const [mark, text] = filled.find(([one]) => field.startsWith(one)) ?? ["", ""];
  const rest = field.slice(mark.length);
  if (rest.includes(MARK) || rest.includes("\0")) {
    throw new Failure("E_MANIFEST", "a text of the image holds a character that a bundle cannot hold", {
      mend: "ask whoever made the image",
    });
  }
  return rest === "" && text !== "" ? text : text + shellText(rest);
}

/** The same for a line of a configuration file, with ${NAME} replaced on the machine. */
const lineWord = (line: string): string =>
  line
    .split(VARIABLE)
    .map((part, index) => (index % 2 === 1 ? `"$(value_of ${part})"` : part === "" ? "" : fieldWord(part)))
    .join("") || "''";

const opLine = ({ verb, origin }: Op, words: readonly string[]): string =>
  ["op", verb, shellText(origin), ...words].join(" ");

/** Files of a site and a user, whose lines the machine completes. */
const isConfigured = (origin: string): boolean => /^(environ|mounts)\.d\//.test(origin);

/** One op as a line of the script. */
function scriptLine(one: Op, entrypoint: readonly string[]): string {
  const { verb, origin, fields } = one;
  if (verb === "caller") return "op_caller";
  if (verb === "id-map") return opLine(one, fields.map(idWord));
  if (verb === "login") return loginLines(one, entrypoint);
  if (origin === "--env") return "op_environment";
  if (origin === "--mount") return "op_mounts";
  if (origin === "terminal") return '[ -z "${TERM-}" ] || op variables terminal "TERM=$TERM"';
  if (isConfigured(origin)) return opLine(one, fields.map(lineWord));
  const plain = fields.map(fieldWord);
  if (verb === "hook-rc") return `[ -z "$conf" ] || [ -n "$rc" ] || ${opLine(one, plain)}`;
  if (origin === "--conf, rc()") return `[ -z "$conf" ] || [ -n "$rc" ] || ${opLine(one, plain)} "$@"`;
  if (origin.startsWith("--conf")) return `[ -z "$conf" ] || ${opLine(one, plain)} "$@"`;
  return opLine(one, plain);
}

/** A field of an id map, such as `ID ID 1`. */
const idWord = (field: string, kind: number): string =>
  `"${field.replaceAll(String(ID), kind === 0 ? "$uid" : "$gid")}"`;

/** The end: the image's own command, or the words that were given; `$rc` is a script that comes first. */
function loginLines(one: Op, entrypoint: readonly string[]): string {
  const [mode = "", , , ...command] = one.fields.map(fieldWord);
  const begin = entrypoint.map(fieldWord);
  return [
    '[ -z "$rc" ] || op rc --rc "$rc"',
    "if [ $# = 0 ]; then",
    `  ${opLine(one, [mode, '"$script"', "0", ...command])}`,
    "else",
    `  op login 'command line' ${[mode, '"$script"', "$#", '"$@"', ...begin, '"$@"'].join(" ")}`,
    "fi",
  ].join("\n");
}

const factsOf = (uid: number, architecture: string): Facts => ({
  uid,
  architecture,
  gid: uid,
  // Of the machine, or of a container in which a bundle runs: what holds in both.
  initialRoot: false,
  kernel: [6, 6],
  places: {
    stage: `${WORK}/stage`,
    ephemeral: `${WORK}/upper`,
    record: `${WORK}/pid`,
    hidden: [],
  },
  devices: DEVICES,
  networkFiles: ["/etc/resolv.conf", "/etc/hosts"],
  realPaths: {},
});

const variable = (name: string, value: string, origin: string): Variable => ({ name, value, origin });

function intentOf(parts: BundleParts, uid: number, remap: boolean, writable: boolean): Intent {
  const { environment, command, ...image } = readImageConfig(parts.run, []);
  return {
    ...image,
    root: from({ kind: "directory", path: ROOT }, "bundle"),
    writes: writable ? from("kept", "--rw") : from("refused", "bundle"),
    temporary: from(WORK, "bundle"),
    idMap: remap ? from("root", "--root") : from("caller", "rootling"),
    // Root has no user namespace, and can change owners.
    ...(uid === 0 ? {} : { seccomp: from("compat" as const, "bundle") }),
    namespaces: {},
    devices: parts.devices,
    mounts: [],
    environment: [variable(MARK, "", "--env")],
    command: command.origin === "rootling" ? from([], "rootling") : command,
    startup: {
      ...(parts.rootFiles ? { rootFiles: from(true, "bundle") } : {}),
      caller: [],
      environment: [
        variable("PATH", DEFAULT_PATH, "rootling"),
        variable("TERM", "", "terminal"),
        ...environment,
        ...parts.environment,
      ],
      conf: { path: CONF, origin: "--conf" },
      lines: parts.lines,
      lastLines: [{ line: MARK, origin: "--mount" }],
      hooks: parts.hooks.map(({ origin }, index) => from(`${WORK}/hook${index}`, origin)),
      login: parts.login,
      words: [],
    },
  };
}

const USERS = [
  { name: "user", uid: ID },
  { name: "root", uid: 0 },
] as const;

/** `plan_WHO_root_rw` and the like for every way to start it, and `write_hooks`. */
export function planFunctions(parts: BundleParts): string {
  const entrypoint = parts.run.Entrypoint ?? [];
  const plans = USERS.flatMap(({ name, uid }) =>
    [false, true].flatMap((remap) =>
      [false, true].map((writable) => {
        const plan = check(lower(intentOf(parts, uid, remap, writable), factsOf(uid, parts.architecture)));
        const lines = plan.ops.map((one) => scriptLine(one, entrypoint));
        const called = `plan_${name}${remap ? "_root" : ""}${writable ? "_rw" : ""}`;
        return `${called}() {\ntopology=${plan.topology}\n${lines.join("\n")}\n}`;
      }),
    ),
  );
  const hooks = parts.hooks.map(({ value }, index) => `hook ${index} ${shellText(value)}`);
  return [`write_hooks() {\n:\n${hooks.join("\n")}\n}`, ...plans].join("\n");
}
