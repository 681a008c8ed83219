/**
 * Prints docs/reference/settings.md, made from the table of settings:
 *   node scripts/settings-page.mjs >docs/reference/settings.md
 */
import { settingsOf } from "../src/base/settings.ts";

const cell = (text) => text.replaceAll("|", "\\|");

const table = (program) => {
  const rows = settingsOf(program).map(({ name, shownDefault, about }) => [
    `\`${program.toUpperCase()}_${name}\``,
    cell(shownDefault),
    cell(about),
  ]);
  const lines = [["setting", "default", "what it does"], ...rows];
  const widths = [0, 1, 2].map((column) => Math.max(...lines.map((line) => line[column].length)));
  const [head, ...body] = lines.map((line) => line.map((text, column) => text.padEnd(widths[column])));
  return [head, widths.map((width) => "-".repeat(width)), ...body].map((line) => `| ${line.join(" | ")} |`).join("\n");
};

process.stdout.write(`# Settings

This page is made from the table in \`src/base/settings.ts\` by \`scripts/settings-page.mjs\`. \`rootling info\` and
\`enroot info\` show what is in force.

## Where a value comes from

The first that says something wins:

1. the command line, where a flag has the same meaning;
2. directives of a container's configuration (\`--conf\`, \`batch\`): lines such as \`#ENROOT_REMAP_ROOT=y\`;
3. the environment;
4. \`rootling.conf.d/*.conf\` in \`/etc/rootling\`, the last by name first; under the name enroot \`enroot.conf.d/*.conf\` in
   \`/etc/enroot\`. ROOTLING_SYSCONF_PATH and ENROOT_SYSCONF_PATH in the environment name another directory;
5. \`rootling.conf\` or \`enroot.conf\` there;
6. the default.

In enroot itself the main file wins over the files of \`enroot.conf.d\`, and earlier ones win over later ones.

## How files are written

A line is \`KEY value\` or \`KEY=value\`; others are passed over. Values may be quoted, and may hold variables of the
environment such as \`$HOME\`, \`\${XDG_RUNTIME_DIR}\` or \`$UID\`. enroot gives them to a shell: rootling does not, and
refuses what would need one, such as \`$(id -u)\`, with the file and the line. Files may also set SSL_CERT_FILE,
SSL_CERT_DIR, http_proxy, https_proxy, all_proxy and no_proxy; and variables with the prefix that are no setting, for hooks.

\`no\`, \`n\`, \`false\` and \`f\` unset a value. A switch is on with \`yes\`, \`y\`, \`true\`, \`t\`, \`on\` or \`1\`. \`0\` is off, where
enroot takes it for on; other words, which enroot takes for on as well, are refused.

## Under the name rootling

${table("rootling")}

## Under the name enroot

${table("enroot")}
`);
