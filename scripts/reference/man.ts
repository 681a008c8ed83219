/** Man pages, in the macros of man(7). */
import { failureCodes } from "../../src/base/errors.ts";
import { settingsOf } from "../../src/base/settings.ts";
import { exitStatuses, settingsFor } from "./pages.ts";
import type { CommandWords, OptionWords, ProgramWords } from "./words.ts";

/** Text as roff has it: nothing in it is a request or an escape, and a hyphen is the one that people type. */
const text = (words: string): string =>
  words
    .replaceAll("\\", "\\e")
    .replaceAll("-", "\\-")
    .replaceAll("`", "\\(ga")
    .replaceAll("~", "\\(ti")
    .replaceAll("^", "\\(ha")
    .replaceAll("…", "...")
    .replaceAll("→", "\\(->")
    .replaceAll("·", "\\(pc")
    .split("\n")
    .map((line) => (/^[.']/.test(line) ? `\\&${line}` : line))
    .join("\n");

/** The one argument of a macro. */
const quoted = (words: string): string => `"${text(words).replaceAll('"', "\\(dq")}"`;

const bold = (words: string): string => `\\fB${text(words)}\\fR`;

const section = (name: string, ...lines: string[]): string[] => [`.SH ${quoted(name)}`, ...lines];

const item = (tag: string, about: string): string[] => [".TP", tag, text(about)];

/** Lines that stay as they are. */
const verbatim = (lines: readonly string[]): string[] => [".PP", ".nf", ".RS 4", ...lines.map(text), ".RE", ".fi"];

function typed({ short, long, value, optional }: OptionWords): string {
  const name = [short, long].filter((flag) => flag !== undefined).map(bold);
  const shown = value === undefined ? "" : `\\fI${text(value)}\\fR`;
  return `${name.join(", ")}${optional ? `[=${shown}]` : shown && ` ${shown}`}`;
}

/** Paragraphs; those that begin with a blank stay as they are. */
const paragraphs = (about: string): string[] =>
  about
    .split("\n\n")
    .flatMap((part) => (part.startsWith(" ") ? verbatim(part.split("\n")) : [".PP", ...text(part).split("\n")]));

const page = (name: string, short: string, sections: readonly string[], chapter = 1): string =>
  [
    `.\\" Made by npm run docs.`,
    `.TH ${quoted(name.toUpperCase())} ${chapter} "" "rootling" "${chapter === 1 ? "User Commands" : "System Administration"}"`,
    ".nh",
    ".ad l",
    ...section("NAME", `${text(name)} \\- ${text(short)}`),
    ...sections,
    "",
  ].join("\n");

const settings = (program: ProgramWords["name"], names: ReturnType<typeof settingsOf>): string[] =>
  names.flatMap(({ name, about, shownDefault }) =>
    item(bold(`${program.toUpperCase()}_${name}`), `${about} (default: ${shownDefault})`),
  );

const statuses = (): string[] => exitStatuses.flatMap(([status, meaning]) => item(bold(status), meaning));

function commandPage({ name, ...command }: CommandWords): string {
  const heeded = settingsFor({ name, ...command });
  return page(`rootling-${name}`, command.short, [
    ...section("SYNOPSIS", `${bold(`rootling ${name}`)} ${text(command.usage)}`),
    ...section("DESCRIPTION", ...text(command.about).split("\n")),
    ...command.operands.flatMap((operand) => item(`\\fI${text(operand.name)}\\fR`, operand.about)),
    ...section("OPTIONS", ...command.options.flatMap((option) => item(typed(option), option.about))),
    ...(heeded.length > 0 ? section("ENVIRONMENT", ...settings("rootling", heeded)) : []),
    ...section("EXIT STATUS", "See", ".BR rootling (1)."),
    ...section("EXAMPLES", ...verbatim(command.examples)),
    ...section("SEE ALSO", ".BR rootling (1)"),
  ]);
}

const rootlingPage = ({ name, about, commands }: ProgramWords): string =>
  page(name, about, [
    ...section("SYNOPSIS", `${bold("rootling")} \\fIcommand\\fR [\\fIwords\\fR...]`),
    ...section(
      "DESCRIPTION",
      "Makes root file systems of images, and starts them as sandboxes: without root, without a daemon,",
      "without set\\-id programs.",
    ),
    ...section(
      "COMMANDS",
      ...commands.flatMap((command) => [".TP", `.BR rootling\\-${text(command.name)} (1)`, text(command.short)]),
    ),
    ...section(
      "ENVIRONMENT",
      "Also lines of /etc/rootling/rootling.conf and of files in /etc/rootling/rootling.conf.d.",
      ...settings("rootling", settingsOf("rootling")),
    ),
    ...section("EXIT STATUS", ...statuses()),
    ...section("DIAGNOSTICS", ...Object.entries(failureCodes).flatMap(([code, meaning]) => item(bold(code), meaning))),
    ...section("SEE ALSO", ".BR enroot (1)"),
  ]);

const enrootPage = ({ name, about, commands }: ProgramWords): string =>
  page(name, about, [
    ...section("SYNOPSIS", `${bold("enroot")} \\fIcommand\\fR [\\fIoptions\\fR] [\\fIwords\\fR...]`),
    ...section("DESCRIPTION", "The words, settings and files of enroot, by rootling."),
    ...section(
      "COMMANDS",
      ...commands.flatMap((command) => [
        `.SS ${quoted(`enroot ${command.name}`)}`,
        text(`enroot ${command.name} ${command.usage}`.trimEnd()),
        ...paragraphs(command.about),
        ...command.options.flatMap((option) => item(typed(option), option.about)),
      ]),
    ),
    ...section(
      "ENVIRONMENT",
      "Also lines of /etc/enroot/enroot.conf and of files in /etc/enroot/enroot.conf.d.",
      ...settings("enroot", settingsOf("enroot")),
    ),
    ...section(
      "EXIT STATUS",
      "1 for whatever goes wrong in enroot itself, the payload's own otherwise; once the container is being made 125 for",
      "a step that fails, 126 for a command that cannot be executed, and 127 for one that is not found.",
    ),
    ...section("SEE ALSO", ".BR rootling (1)"),
  ]);

const virtBootstrapPage = ({ name, short, about, usage, options, examples }: CommandWords): string =>
  page(name, short, [
    ...section("SYNOPSIS", `${bold(name)} ${text(usage)}`),
    ...section("DESCRIPTION", text(about)),
    ...section("OPTIONS", ...options.flatMap((option) => item(typed(option), option.about))),
    ...section("EXIT STATUS", "1 for whatever goes wrong, 2 for words that are not known, 130 after ctrl\\-c."),
    ...section("EXAMPLES", ...verbatim(examples)),
    ...section("SEE ALSO", ".BR rootling (1)"),
  ]);

const overlayPage = ({ name, short, about, usage }: CommandWords): string =>
  page(
    name,
    short,
    [
      ...section("SYNOPSIS", `${bold(name)} ${text(usage)}`),
      ...section("DESCRIPTION", text(about)),
      ...section("EXIT STATUS", "1 for whatever goes wrong; of overlay\\-go that of the command."),
      ...section("SEE ALSO", ".BR rootling\\-boot (1)"),
    ],
    8,
  );

/** Those of overlay-boot's commands. */
export const overlayPages = (commands: readonly CommandWords[]): [path: string, text: string][] =>
  commands.map((command) => [`share/compat/man/man8/${command.name}.8`, overlayPage(command)]);

/** Every other man page, by its path in the checkout. */
export function manPages(
  rootling: ProgramWords,
  enroot: ProgramWords,
  virtBootstrap: CommandWords,
): [path: string, text: string][] {
  const all: [string, string][] = [
    ["rootling", rootlingPage(rootling)],
    ...rootling.commands.map((command): [string, string] => [`rootling-${command.name}`, commandPage(command)]),
    ["enroot", enrootPage(enroot)],
    ["virt-bootstrap", virtBootstrapPage(virtBootstrap)],
  ];
  // What has a name that is not ours lies apart: it is installed where that name is.
  const foreign: readonly string[] = [enroot.name, virtBootstrap.name];
  return all.map(([name, roff]) => [`share/${foreign.includes(name) ? "compat/" : ""}man/man1/${name}.1`, roff]);
}
