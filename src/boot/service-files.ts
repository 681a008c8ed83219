/** Service files that start a container at boot, and the AppArmor profile that lets it. Pure: texts of texts. */

/** What the files have in common. */
export interface Service {
  readonly name: string;
  readonly image: string;
  /** Absolute path of the program that users start. */
  readonly program: string;
  /** Flags of `start`, before the name. */
  readonly flags: readonly string[];
  /** Settings of whoever asked, by their names in the environment. */
  readonly environment: Readonly<Record<string, string>>;
  /** Number of the signal that asks the container to end. */
  readonly stopSignal: number;
  /** It belongs to an ordinary user. */
  readonly ofUser: boolean;
}

/** A word of systemd.service(5): quoted, without specifiers and variables. */
export const unitWord = (word: string): string => {
  const escaped = word.replace(/[\\"]/g, "\\$&").replaceAll("%", "%%").replaceAll("$", "$$$$");
  return /^[\w@+=:,./%-]+$/.test(escaped) ? escaped : `"${escaped.replaceAll("\n", "\\n").replaceAll("\t", "\\t")}"`;
};

/** An assignment of systemd.exec(5), where `$` means nothing. */
export const unitAssignment = ([name, value]: [string, string]): string =>
  `Environment="${name}=${value.replace(/[\\"]/g, "\\$&").replaceAll("%", "%%").replaceAll("\n", "\\n")}"`;

export const shellWord = (word: string): string =>
  /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;

/** In one line, for a comment. */
const plain = (text: string): string => text.replaceAll(/[^\x20-\x7e]/g, "?");

/**
 * Type=exec: the program that systemd starts becomes the monitor and stays, so that nothing has to be told and no file
 * with a pid to be trusted. The monitor alone is asked to end (KillMode=mixed) and asks the payload.
 */
export function systemdUnit(service: Service): string {
  const { name, image, program, flags, environment, stopSignal, ofUser } = service;
  const start = [program, "start", "--pid", ...flags, name].map(unitWord).join(" ");
  const lines = [
    "[Unit]",
    `Description=${plain(`${name}, a container of ${image}`).replaceAll("%", "%%")}`,
    ...(ofUser ? [] : ["Wants=network-online.target", "After=network-online.target local-fs.target"]),
    "",
    "[Service]",
    "Type=exec",
    ...Object.entries(environment).map(unitAssignment),
    `ExecStart=${start}`,
    `KillSignal=${stopSignal}`,
    "KillMode=mixed",
    "TimeoutStopSec=10",
    `SuccessExitStatus=${128 + stopSignal}`,
    "Restart=on-failure",
    // Words or a container that are wrong do not mend by trying again.
    "RestartPreventExitStatus=2 125 126 127",
    "Delegate=yes",
    "",
    "[Install]",
    `WantedBy=${ofUser ? "default.target" : "multi-user.target"}`,
  ];
  return lines.join("\n");
}

export const exports = (environment: Service["environment"]): string[] =>
  Object.entries(environment).map(([name, value]) => `export ${name}=${shellWord(value)}`);

/** OpenRC's own supervisor starts it again when it fails. */
export function openrcScript({ name, image, program, flags, environment, stopSignal }: Service): string {
  // OpenRC evaluates command_args once more.
  const args = ["start", "--pid", ...flags, name].map(shellWord).join(" ");
  const lines = [
    "#!/sbin/openrc-run",
    `# ${plain(`${name}, a container of ${image}`)}`,
    ...exports(environment),
    "supervisor=supervise-daemon",
    `command=${shellWord(program)}`,
    `command_args=${shellWord(args)}`,
    `retry=${stopSignal}/10/KILL/5`,
    "",
    "depend() {",
    "  need localmount",
    "  after net",
    "}",
  ];
  return lines.join("\n");
}

/** sysvinit has no supervisor: the container is started detached. Exit statuses are those of the LSB. */
export function sysvinitScript({ name, image, program, flags, environment }: Service): string {
  const [command, container] = [shellWord(program), shellWord(name)];
  const start = [command, "start", "--detach", ...flags.map(shellWord), container].join(" ");
  const lines = [
    "#!/bin/sh",
    "### BEGIN INIT INFO",
    `# Provides:          rootling-${name}`,
    "# Required-Start:    $remote_fs",
    "# Required-Stop:     $remote_fs",
    "# Should-Start:      $network",
    "# Default-Start:     2 3 4 5",
    "# Default-Stop:      0 1 6",
    `# Short-Description: ${plain(`${name}, a container of ${image}`)}`,
    "### END INIT INFO",
    "",
    ...exports(environment),
    "",
    "running() {",
    `  ${command} list | while read -r name state rest; do`,
    `    [ "$name $state" = ${shellWord(`${name} running`)} ] && echo yes`,
    "  done | grep -q yes",
    "}",
    "",
    'case "$1" in',
    `  start) running || ${start} >/dev/null ;;`,
    `  stop) ! running || ${command} stop ${container} >/dev/null ;;`,
    '  restart | force-reload) "$0" stop && "$0" start ;;',
    "  status)",
    "    if running; then",
    `      echo ${shellWord(`${name} is running`)}`,
    "    else",
    `      echo ${shellWord(`${name} is not running`)}`,
    "      exit 3",
    "    fi",
    "    ;;",
    "  *)",
    '    echo "usage: $0 start|stop|restart|force-reload|status" >&2',
    "    exit 2",
    "    ;;",
    "esac",
  ];
  return lines.join("\n");
}

/**
 * Ubuntu from 23.10 on lets an unprivileged program make user namespaces only with a profile that says `userns`
 * (sysctl kernel.apparmor_restrict_unprivileged_userns). The executor alone makes them. AppArmor attaches a profile by
 * the path that is executed; the sealed copy, from which the executor goes on, has no path, and a profile of mode
 * unconfined is inherited by what no other profile is attached to.
 */
export function apparmorProfile(executor: string): string {
  const path = executor.replace(/[\\"*?[\]{}^@,]/g, "\\$&");
  return [
    "# Lets rootling make user namespaces; it restricts nothing.",
    "abi <abi/4.0>,",
    "",
    `profile rootling "${path}" flags=(unconfined) {`,
    "  userns,",
    "}",
  ].join("\n");
}
