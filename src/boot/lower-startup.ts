/** The configuration of a start: environment, mounts and hooks in enroot's order, and the command as a login has it. Pure. */
import { Failure } from "../base/errors.ts";
import { type Op, OURSELVES, op } from "../plan/plan.ts";
import type { Facts } from "./facts.ts";
import type { Intent, Startup } from "./intent.ts";
import type { Lender } from "./lower-lend.ts";
import { place } from "./lower-root.ts";

/** Files of the root that count. */
const ENVIRONMENT = "/etc/environment";
const FSTAB = "/etc/fstab";

/**
 * Everything up to the payload: environment (root, environ.d, conf, flags; the last one wins), mounts of pass -1, hooks
 * with the mounts that they list, mounts of pass 0, the script. After the system's own mounts.
 */
export function lowerStartup(intent: Intent, facts: Facts, lent: Lender): Op[] {
  const { startup } = intent;
  if (startup === undefined) return [];
  refuseLent(startup, lent);
  const stage = place(facts, lent);
  const { rootFiles, lines, lastLines, hooks, rc, local } = startup;
  const conf = confOf(startup, stage);
  const ofPass = (pass: -1 | 0) =>
    lines.filter((line) => line.pass === pass).map(({ line, origin }) => op("fstab", origin, String(pass), line));
  const rootFstab = (pass: -1 | 0) => (rootFiles ? [op("fstab-file", rootFiles.origin, FSTAB, String(pass))] : []);
  const mountsOfHooks = op("hook-mounts", OURSELVES, stage);
  const anyHook = hooks.length > 0 || startup.conf !== undefined;
  return [
    op("caller", OURSELVES, ...startup.caller),
    op("hidden", OURSELVES, stage, ...facts.places.hidden),
    ...scriptFile(startup.conf, stage),
    ...(rootFiles ? [op("variables-file", rootFiles.origin, ENVIRONMENT)] : []),
    ...variables(startup.environment),
    ...conf("environ", "environment"),
    ...variables(intent.environment),
    ...rootFstab(-1),
    ...ofPass(-1),
    ...hooks.map(({ value, origin }) => op("hook", origin, "none", stage, value)),
    ...conf("hooks", "none"),
    ...(anyHook ? [mountsOfHooks] : []),
    ...rootFstab(0),
    ...ofPass(0),
    ...conf("mounts", "mounts"),
    ...(startup.conf ? [mountsOfHooks] : []),
    ...lastLines.map(({ line, origin }) => op("fstab", origin, "0", line)),
    ...(rc ? [op("rc", rc.origin, rc.value)] : conf("rc", "rc")),
    ...(rc === undefined && startup.conf ? [op("hook-rc", startup.conf.origin, stage)] : []),
    ...(local ? [op("rc-local", local.origin, local.value)] : []),
  ];
}

const variables = (list: Intent["environment"]): Op[] =>
  list.map(({ name, value, origin }) => op("variables", origin, `${name}=${value}`));

/**
 * What bash runs of a conf script, under the options that enroot sets: one of its functions, if it has it; of `rc`, whose
 * body is a script, the text. The script itself is run once, with the words of the start; what it and its functions have
 * set is kept on the stage for the functions that come later.
 */
const confScript = (called: string): string =>
  [
    "set -euo pipefail; shopt -s lastpipe",
    'if [ -e "${ENROOT_MOUNTS%/*}/conf.state" ]; then . "${ENROOT_MOUNTS%/*}/conf.state" 2>/dev/null || :',
    'else . "$0" "${@:2}" >&2; fi',
    `if declare -F "$1" >/dev/null; then ${called}; fi`,
    'umask 077; { set +o; shopt -p || :; declare -p; declare -f; printf "cd %q\\n" "$PWD"; } >"${ENROOT_MOUNTS%/*}/conf.state"',
  ].join("\n");
const FUNCTION = confScript('"$1"');
const BODY = confScript('declare -f rc | sed "1,2d;\\$d"');

type Conf = NonNullable<Startup["conf"]>;

const scriptOf = (conf: Conf, stage: string): string => ("path" in conf ? conf.path : `${stage}/conf`);

/** A script without a path becomes a file of the stage. */
const scriptFile = (conf: Conf | undefined, stage: string): Op[] =>
  conf !== undefined && "text" in conf ? [op("file", conf.origin, scriptOf(conf, stage), "600", conf.text)] : [];

type ConfFunction = "environ" | "hooks" | "mounts" | "rc";

const confOf =
  ({ conf, words }: Startup, stage: string) =>
  (name: ConfFunction, output: string): Op[] =>
    conf === undefined
      ? []
      : [
          op(
            "hook",
            `${conf.origin}, ${name}()`,
            output,
            stage,
            ...["/bin/bash", "-c", name === "rc" ? BODY : FUNCTION, scriptOf(conf, stage), name, ...words],
          ),
        ];

/** Root's ids are others once its container is made: no path leads to the host's files any more. */
function refuseLent({ conf, hooks, lines, lastLines }: Startup, lent: Lender): void {
  const first = conf ?? hooks[0] ?? lines[0] ?? lastLines[0];
  if (!lent.lends || first === undefined) return;
  throw new Failure("E_CONFLICT", "hooks and lines of fstab are not possible where root maps ids", {
    where: first.origin,
    mend: "leave out --map, or do it as an ordinary user",
  });
}

/** What the payload becomes, in the place of `exec`. */
export const lowerLogin = ({ login, rootFiles, rc, local, conf, words }: Startup, command: Intent["command"]): Op =>
  op(
    "login",
    command.origin,
    login ? "login" : "plain",
    rootFiles ? "root" : rc || (conf && !local) ? "given" : "none",
    String(words.length),
    ...words,
    ...command.value,
  );
