/** Service files that boot subhosts with the host. Pure: texts of texts. */
import { exports, type Service, shellWord, unitAssignment, unitWord } from "./service-files.ts";

/** One configuration a line; comments begin with #. */
export const SUBHOSTS = "/etc/subhosts.conf";

/** Seconds until systemd kills what has not ended: the services are stopped first, one after the other. */
const STOP_PATIENCE = 100;

/** What all have in common. */
export type SubhostService = Pick<Service, "program" | "environment">;

export interface SubhostFile {
  /** Where the init system looks for it. */
  readonly path: string;
  readonly mode: number;
  readonly text: string;
}

/**
 * A template whose instance is the escaped path of a configuration. In the foreground, so that systemd watches the
 * monitor itself, and the journal has what services say.
 */
const systemd = ({ program, environment }: SubhostService): SubhostFile => ({
  path: "/etc/systemd/system/overlay-boot@.service",
  mode: 0o644,
  text: [
    "# systemctl enable --now overlay-boot@$(systemd-escape --path /opt/subhost/mta/mta.conf)",
    "[Unit]",
    "Description=the subhost of %f",
    "Wants=network-online.target",
    "After=network-online.target local-fs.target",
    "",
    "[Service]",
    "Type=exec",
    ...Object.entries(environment).map(unitAssignment),
    `ExecStart=${[program, "boot", "--foreground"].map(unitWord).join(" ")} %f`,
    "KillMode=mixed",
    `TimeoutStopSec=${STOP_PATIENCE}`,
    "Restart=on-failure",
    "RestartPreventExitStatus=2 125 126 127",
    "Delegate=yes",
    "",
    "[Install]",
    "WantedBy=multi-user.target",
  ].join("\n"),
});

/** From /etc/subhosts.conf, the last one stopped first. */
const loops = (program: string): string[] => [
  "subhosts() {",
  `  [ -e ${SUBHOSTS} ] || return 0`,
  `  grep -v -e '^[[:blank:]]*#' -e '^[[:blank:]]*$' ${SUBHOSTS}`,
  "}",
  "",
  "boot_all() {",
  "  failed=0",
  "  while read -r conf; do",
  `    ${shellWord(program)} boot "$conf" </dev/null >/dev/null || failed=1`,
  "  done <<END",
  "$(subhosts)",
  "END",
  "  return $failed",
  "}",
  "",
  "stop_all() {",
  "  while read -r conf; do",
  `    ${shellWord(program)} stop "$conf" </dev/null >/dev/null 2>&1`,
  "  done <<END",
  "$(subhosts | sed '1!G;h;$!d')",
  "END",
  "  return 0",
  "}",
];

/** Lines of the loops that name no configuration are none. */
const openrc = ({ program, environment }: SubhostService): SubhostFile => ({
  path: "/etc/init.d/subhosts",
  mode: 0o755,
  text: [
    "#!/sbin/openrc-run",
    `# Boots the subhosts of ${SUBHOSTS}, one configuration a line.`,
    ...exports(environment),
    "",
    "depend() {",
    "  need localmount",
    "  after net",
    "}",
    "",
    ...loops(program),
    "",
    "start() {",
    '  ebegin "Booting subhosts"',
    "  boot_all",
    "  eend $?",
    "}",
    "",
    "stop() {",
    '  ebegin "Stopping subhosts"',
    "  stop_all",
    "  eend $?",
    "}",
  ].join("\n"),
});

const sysvinit = ({ program, environment }: SubhostService): SubhostFile => ({
  path: "/etc/init.d/subhosts",
  mode: 0o755,
  text: [
    "#!/bin/sh",
    "### BEGIN INIT INFO",
    "# Provides:          subhosts",
    "# Required-Start:    $remote_fs",
    "# Required-Stop:     $remote_fs",
    "# Should-Start:      $network",
    "# Should-Stop:       $network",
    "# Default-Start:     2 3 4 5",
    "# Default-Stop:      0 1 6",
    `# Short-Description: the subhosts of ${SUBHOSTS}`,
    "### END INIT INFO",
    "",
    ...exports(environment),
    "",
    ...loops(program),
    "",
    'case "$1" in',
    "  start) boot_all ;;",
    "  stop) stop_all ;;",
    "  restart | force-reload) stop_all && boot_all ;;",
    `  status) ${shellWord(program)} list ;;`,
    "  *)",
    '    echo "usage: $0 start|stop|restart|force-reload|status" >&2',
    "    exit 2",
    "    ;;",
    "esac",
  ].join("\n"),
});

export const subhostFiles = { systemd, openrc, sysvinit } as const;
