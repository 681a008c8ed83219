/** The pages of docs/reference, in Markdown. */
import { EXIT_FAILURE, EXIT_USAGE, failureCodes } from "../../src/base/errors.ts";
import { settingsOf } from "../../src/base/settings.ts";
import type { CommandWords, OptionWords, ProgramWords } from "./words.ts";

const cell = (text: string) => text.replaceAll("|", "\\|");

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [head, ...rows].map((row) => row.map(cell));
  const widths = head.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
  const [first = [], ...rest] = lines.map((line) => line.map((text, column) => text.padEnd(widths[column] ?? 0)));
  return [first, widths.map((width) => "-".repeat(width)), ...rest].map((line) => `| ${line.join(" | ")} |`).join("\n");
}

const made = (from: string) => `This page is made from ${from} by \`npm run docs\`.`;

/** An option as it is typed. */
export function typed({ short, long, value, optional }: OptionWords): string {
  const behind = value === undefined ? "" : optional ? `[=<${value}>]` : ` <${value}>`;
  return `${short ? `${short}, ` : ""}${long}${behind}`;
}

/** Settings that matter where a command has one of these options. */
const concerned: Readonly<Record<string, readonly string[]>> = {
  "--plain-http": [
    "CACHE_PATH",
    "TEMP_PATH",
    "MAX_CONNECTIONS",
    "CONNECT_TIMEOUT",
    "TRANSFER_TIMEOUT",
    "TRANSFER_RETRIES",
    "RETRY_WAIT",
    "MAX_ENTRIES",
    "MAX_RATIO",
    "ALLOW_HTTP",
  ],
  "--comp": ["SQUASH_OPTIONS", "MAX_PROCESSORS"],
  "--enroot-files": ["SYSCONF_PATH", "CONFIG_PATH", "LOGIN_SHELL"],
  "--rw": ["ROOTFS_WRITABLE", "REMAP_ROOT", "UNSHARE_PID", "UNSHARE_NET", "UNSHARE_IPC", "UNSHARE_UTS"],
};

/** The settings that a command of rootling's heeds, beside the places that all of them have. */
export function settingsFor({ options }: CommandWords) {
  const names = new Set(options.flatMap(({ long }) => concerned[long] ?? []));
  return settingsOf("rootling").filter(({ name }) => names.has(name));
}

function commandPage(command: CommandWords): string {
  const settings = settingsFor(command);
  return [
    `# rootling ${command.name}`,
    made(`\`src/commands/${command.name}.ts\``),
    command.about,
    `\`\`\`text\nrootling ${command.name} ${command.usage}\n\`\`\``,
    ...(command.operands.length > 0
      ? [
          table(
            ["word", "meaning"],
            command.operands.map(({ name, about }) => [`\`${name}\``, about]),
          ),
        ]
      : []),
    "## Options",
    table(
      ["option", "what it does"],
      command.options.map((option) => [`\`${typed(option)}\``, option.about]),
    ),
    ...(settings.length > 0
      ? [
          "## Settings",
          "From the environment or [configuration files](../settings.md); an option of the same meaning wins.",
          table(
            ["setting", "default", "what it does"],
            settings.map(({ name, shownDefault, about }) => [`\`ROOTLING_${name}\``, shownDefault, about]),
          ),
        ]
      : []),
    "## Examples",
    `\`\`\`sh each-apart\n${command.examples.join("\n")}\n\`\`\``,
    "[Exit statuses](../exit-codes.md) · [error codes](../error-codes.md) · [all commands](README.md)",
  ].join("\n\n");
}

function overviewPage({ commands }: ProgramWords): string {
  return [
    "# Commands",
    made("`src/commands/table.ts`"),
    table(
      ["command", "what it does"],
      commands.map(({ name, short }) => [`[${name}](${name}.md)`, short]),
    ),
    "`rootling COMMAND --help` shows the words of each. The words of the name enroot: [enroot](../enroot-commands.md).",
  ].join("\n\n");
}

function enrootPage({ commands }: ProgramWords): string {
  return [
    "# Commands of the name enroot",
    made("`src/compat/enroot.ts`"),
    "[The command enroot](enroot.md) says what is different from enroot itself.",
    ...commands.flatMap(({ name, about, usage, options }) => [
      `## ${name}`,
      about
        .split("\n\n")
        .map((part) => (part.startsWith(" ") ? `\`\`\`text\n${part}\n\`\`\`` : part.replaceAll("\n", " ")))
        .join("\n\n"),
      `\`\`\`text\nenroot ${name} ${usage}`.trimEnd().concat("\n```"),
      table(
        ["option", "what it does"],
        options.map((option) => [`\`${typed(option)}\``, option.about]),
      ),
    ]),
  ].join("\n\n");
}

function virtBootstrapPage({ name, about, usage, options, examples }: CommandWords): string {
  return [
    `# The words of the name ${name}`,
    made("`src/compat/virt-bootstrap.ts`"),
    "[The command virt-bootstrap](virt-bootstrap.md) says what is different from virt-bootstrap itself.",
    about,
    `\`\`\`text\n${name} ${usage}\n\`\`\``,
    table(
      ["option", "what it does"],
      options.map((option) => [`\`${typed(option)}\``, option.about]),
    ),
    `\`\`\`text\n${examples.join("\n")}\n\`\`\``,
  ].join("\n\n");
}

/** Each exit status, with its meaning. */
export const exitStatuses: readonly (readonly [status: string, meaning: string])[] = [
  ["0", "all went well; of a payload: it said so"],
  ["1", "of `doctor`: something that is needed does not work; of the name enroot: whatever went wrong in it"],
  [String(EXIT_USAGE), "the words cannot be understood (E_USAGE)"],
  [String(EXIT_FAILURE), "rootling itself failed: standard error has the code and a mend"],
  ["126", "the command was found in the container, but cannot be executed"],
  ["127", "the command was not found in the container"],
  ["128 + n", "signal n ended the payload, or rootling was asked to stop by it (130: ctrl-c)"],
];

function exitPage(): string {
  return [
    "# Exit statuses",
    "This page is made from `scripts/reference/pages.ts` by `npm run docs`.",
    "`run`, `start`, `exec` and `wait` end with the payload's own status. It may be any of these, too: what rootling says on\nstandard error tells them apart.",
    table(["status", "meaning"], exitStatuses),
    "Under the name enroot it is 1 for whatever goes wrong before a container is being made; then 125, 126 and 127 as above.",
    "[Error codes](error-codes.md) say what went wrong.",
  ].join("\n\n");
}

function errorPage(): string {
  return [
    "# Error codes",
    made("`src/base/errors.ts`"),
    "A failure is told in lines of standard error: what happened with its code, `from:` who asked for it, `because:`, and `mend:`\nwhat helps. Codes do not change; new ones may be added.",
    table(
      ["code", "meaning"],
      Object.entries(failureCodes).map(([code, meaning]) => [`\`${code}\``, meaning]),
    ),
    "[Exit statuses](exit-codes.md) say how it ends.",
  ].join("\n\n");
}

/** Every page, by its path in the checkout. */
export function pages(
  rootling: ProgramWords,
  enroot: ProgramWords,
  virtBootstrap: CommandWords,
): [path: string, text: string][] {
  const all: [string, string][] = [
    ["commands/README.md", overviewPage(rootling)],
    ...rootling.commands.map((command): [string, string] => [`commands/${command.name}.md`, commandPage(command)]),
    ["enroot-commands.md", enrootPage(enroot)],
    ["virt-bootstrap-options.md", virtBootstrapPage(virtBootstrap)],
    ["exit-codes.md", exitPage()],
    ["error-codes.md", errorPage()],
  ];
  return all.map(([path, text]) => [`docs/reference/${path}`, `${text}\n`]);
}
