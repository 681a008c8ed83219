/** Completion of words in shells. What a word may be is read from the descriptions; names are asked of the program. */
import { completionFile } from "../../src/commands/completion.ts";
import type { CommandWords, OptionWords, ProgramWords } from "./words.ts";

/** What the first operand of a command names, beside files. */
const named: Readonly<Record<ProgramWords["name"], Readonly<Record<string, readonly ("containers" | "images")[]>>>> = {
  rootling: {
    attach: ["containers"],
    copy: ["containers"],
    create: ["images"],
    diff: ["containers"],
    exec: ["containers"],
    export: ["containers"],
    inspect: ["images", "containers"],
    logs: ["containers"],
    remove: ["containers"],
    reset: ["containers"],
    run: ["images"],
    start: ["containers", "images"],
    stop: ["containers"],
    unit: ["containers"],
    wait: ["containers"],
  },
  enroot: { exec: ["containers"], export: ["containers"], remove: ["containers"], start: ["containers"] },
};

/** Operands that are all of one kind, however many there are. */
const MANY = new Set(["remove", "stop", "wait"]);

/** The words that a description lists at its end, such as `where it lies: tmpfs or disk`. */
export function choices(about: string): string[] {
  const list = about.split(": ").at(-1) ?? "";
  return /^[a-z]+((, or |, | or )[a-z]+)+$/.test(list) ? list.split(/, or |, | or /) : [];
}

const valuesOf = ({ value, optional, about }: OptionWords): string[] =>
  value === undefined ? [] : optional ? ["private", "host"] : choices(about);

/** What the first operand may be: fixed words, and lists to ask for. */
function operandOf(program: ProgramWords, { name, operands }: CommandWords) {
  return { words: choices(operands[0]?.about ?? ""), lists: named[program.name][name] ?? [] };
}

/** Whether what follows the first operand is the payload's. */
const passesOn = ({ usage }: CommandWords): boolean =>
  /command\.\.\.|words\.\.\.|\[COMMAND\]| COMMAND \[ARG/.test(usage);

const flagsOf = ({ short, long }: OptionWords): string[] => (short ? [short, long] : [long]);

const HELP_WORD = "help";

function bash(program: ProgramWords): string {
  const { name, commands } = program;
  const words = (list: readonly string[]) => list.map((word) => `'${word}'`).join(" ");
  const cases = commands.map((command) => {
    const { options } = command;
    const operand = operandOf(program, command);
    const values = options.filter((option) => valuesOf(option).length > 0);
    const lines = [
      `flags=(${words(options.flatMap(flagsOf))})`,
      `valued=' ${options
        .filter(({ value, optional }) => value !== undefined && !optional)
        .flatMap(flagsOf)
        .join(" ")} '`,
      ...(operand.words.length > 0 ? [`first=(${words(operand.words)})`] : []),
      ...(operand.lists.length > 0 ? [`lists='${operand.lists.join(" ")}'`] : []),
      ...(passesOn(command) ? ["payload=1"] : []),
      ...(MANY.has(command.name) ? ["many=1"] : []),
      ...(values.length > 0
        ? [
            "case $option in",
            ...values.map((option) => `  ${flagsOf(option).join(" | ")}) values=(${words(valuesOf(option))}) ;;`),
            "esac",
          ]
        : []),
    ];
    return `    ${command.name})\n${lines.map((line) => `      ${line}`).join("\n")}\n      ;;`;
  });
  return `# Completion of ${name} for bash. Made by npm run docs.

# Offers those of the words that begin as the current one; readline itself keeps what is before the last : or =.
_${name}_offer() {
  local word
  for word in "$@"; do
    if [[ $word == "$current"* ]]; then COMPREPLY+=("\${word:\${#kept}}"); fi
  done
}

# What the program lists: names of containers or images. Nothing else passes.
_${name}_names() {
  local name rest
  ${
    name === "enroot"
      ? `"$program" list 2>/dev/null`
      : `case $1 in containers) "$program" list ;; images) "$program" images ;; esac 2>/dev/null`
  } | while read -r name rest; do
    if [[ $name =~ ^[A-Za-z0-9][A-Za-z0-9._:/@+-]*$ && $name != NAME ]]; then printf '%s\\n' "$name"; fi
  done
}

# Sets flags, valued, first, lists, payload, many and values for a command, and the option whose value is asked for.
_${name}_words() {
  local command=$1 option=$2
  case $command in
${cases.join("\n")}
  esac
}

_${name}() {
  local program=$1 words=() current kept= flags=() valued= first=() lists= payload= many= values=()
  local i word operands=0 over= option= list names
  COMPREPLY=()
  # Words are split at : and = as well: put together again.
  for ((i = 0; i <= COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    if ((i > 1)) && [[ $word == [:=]* || \${COMP_WORDS[i - 1]} == [:=] ]]; then
      words[\${#words[@]} - 1]+=$word
    else
      words+=("$word")
    fi
  done
  current=\${words[\${#words[@]} - 1]}
  if [[ $current == *[:=]* ]]; then kept=\${current%"\${current##*[:=]}"}; fi
  case $kept in *:) [[ $COMP_WORDBREAKS == *:* ]] || kept= ;; esac
  case $kept in *=) [[ $COMP_WORDBREAKS == *=* ]] || kept= ;; esac

  if ((\${#words[@]} == 2)) || { ((\${#words[@]} == 3)) && [[ \${words[1]} == ${HELP_WORD} ]]; }; then
    _${name}_offer ${[...commands.map((command) => command.name), HELP_WORD].join(" ")}
    return
  fi
  _${name}_words "\${words[1]}" ''
  for ((i = 2; i < \${#words[@]} - 1; i++)); do
    word=\${words[i]}
    if [[ -z $over && $word == -- ]]; then
      over=1
    elif [[ -z $over && $word == -?* ]]; then
      if [[ $valued == *" $word "* ]]; then
        if ((++i == \${#words[@]} - 1)); then option=$word; fi
      fi
    else
      operands=$((operands + 1))
      if [[ -n $payload ]]; then over=1; fi
    fi
  done

  if [[ -n $option ]]; then
    _${name}_words "\${words[1]}" "$option"
    _${name}_offer "\${values[@]}"
  elif [[ -z $over && $current == --*=* ]]; then
    _${name}_words "\${words[1]}" "\${current%%=*}"
    _${name}_offer "\${values[@]/#/\${current%%=*}=}"
  elif [[ -z $over && $current == -* ]]; then
    _${name}_offer "\${flags[@]}"
  elif ((operands == 0)) || [[ -n $many ]]; then
    _${name}_offer "\${first[@]}"
    for list in $lists; do
      mapfile -t names < <(_${name}_names "$list")
      _${name}_offer "\${names[@]}"
    done
  fi
}

# Where nothing of ours fits, the names of files do.
complete -o bashdefault -o default -F _${name} ${name}
`;
}

/** A word of zsh or fish: in single quotes. */
const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

function zsh(program: ProgramWords): string {
  const { name, commands } = program;
  const plain = (text: string) => text.replace(/[[\]\\:]/g, "\\$&");
  const spec = (option: OptionWords) => {
    const { value, optional, about } = option;
    const values = valuesOf(option);
    const action = values.length > 0 ? `(${values.join(" ")})` : "_files";
    const behind = value === undefined ? "" : optional ? `::${plain(value)}:${action}` : `:${plain(value)}:${action}`;
    return flagsOf(option).map((flag) =>
      quote(
        `*${flag}${value === undefined || !flag.startsWith("--") ? "" : optional ? "=-" : "="}[${plain(about)}]${behind}`,
      ),
    );
  };
  const cases = commands.map((command) => {
    const operand = operandOf(program, command);
    const first =
      operand.words.length > 0
        ? `(${operand.words.join(" ")})`
        : operand.lists.length > 0
          ? `{${operand.lists.map((list) => `_${name}_names ${list}`).join("; ")}; _files}`
          : "_files";
    const operands = MANY.has(command.name)
      ? [quote(`*:name:${first}`)]
      : [quote(`1:name:${first}`), quote("*:word:_files")];
    const specs = [...command.options.flatMap(spec), ...operands];
    return `    ${command.name})\n      _arguments ${passesOn(command) ? "-A '-*' " : ""}\\\n${specs
      .map((line) => `        ${line}`)
      .join(" \\\n")}\n      ;;`;
  });
  return `#compdef ${name}
# Completion of ${name} for zsh. Made by npm run docs.

# What the program lists: names of containers or images.
_${name}_names() {
  local -a names
  ${
    name === "enroot"
      ? `names=(\${(f)"$(_call_program names enroot list 2>/dev/null)"})`
      : `local what=list
  if [[ $1 == images ]]; then what=images; fi
  names=(\${\${\${(f)"$(_call_program names rootling $what 2>/dev/null)"}[2,-1]}%% *})`
  }
  compadd -a names
}

_${name}() {
  local -a commands
  commands=(
${commands.map(({ name: command, short }) => `    ${quote(`${command}:${short.replaceAll(":", "\\:")}`)}`).join("\n")}
    'help:show the words of a command'
  )
  if ((CURRENT == 2)); then
    _describe command commands
    return
  fi
  if [[ $words[2] == help ]]; then
    if ((CURRENT == 3)); then _describe command commands; fi
    return
  fi
  local command=$words[2]
  shift words
  ((CURRENT--))
  case $command in
${cases.join("\n")}
  esac
}

# As a function of a directory of fpath it is the completion; sourced, it defines it.
if [[ $funcstack[1] == _${name} ]]; then
  _${name} "$@"
else
  compdef _${name} ${name}
fi
`;
}

function fish(program: ProgramWords): string {
  const { name, commands } = program;
  const plain = (text: string) => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
  const all = commands.map((command) => command.name);
  const none = `not __fish_seen_subcommand_from ${[...all, HELP_WORD].join(" ")}`;
  const lines = [
    ...commands.map(
      ({ name: command, short }) => `complete -c ${name} -f -n ${plain(none)} -a ${command} -d ${plain(short)}`,
    ),
    `complete -c ${name} -f -n ${plain(none)} -a ${HELP_WORD} -d 'show the words of a command'`,
    `complete -c ${name} -f -n '__${name}_is ${HELP_WORD}' -a '${all.join(" ")}'`,
  ];
  for (const command of commands) {
    const when = plain(`__${name}_is ${command.name}`);
    for (const option of command.options) {
      const values = valuesOf(option);
      const { short, long, value, optional, about } = option;
      const takes = value === undefined || optional ? "" : values.length > 0 ? " -x" : " -r";
      const given = values.length > 0 ? ` -a '${values.join(" ")}'` : "";
      const flag = `${short ? `-s ${short.slice(1)} ` : ""}-l ${long.slice(2)}`;
      lines.push(`complete -c ${name} -n ${when} ${flag}${takes}${optional ? "" : given} -d ${plain(about)}`);
    }
    const { words, lists } = operandOf(program, command);
    if (words.length > 0) lines.push(`complete -c ${name} -f -n ${when} -a '${words.join(" ")}'`);
    for (const list of lists) lines.push(`complete -c ${name} -n ${when} -a '(__${name}_names ${list})'`);
  }
  return `# Completion of ${name} for fish. Made by npm run docs.

# Whether the command is this one.
function __${name}_is
    set -l words (commandline -opc)
    test (count $words) -ge 2; and test $words[2] = $argv[1]
end

# What the program lists: names of containers or images.
function __${name}_names
${
  name === "enroot"
    ? "    enroot list 2>/dev/null"
    : `    set -l what list
    test $argv[1] = images; and set what images
    rootling $what 2>/dev/null | string match -rg '^([A-Za-z0-9]\\S*)' | string match -v NAME`
}
end

${lines.join("\n")}
`;
}

const shells: Readonly<Record<string, (program: ProgramWords) => string>> = { bash, zsh, fish };

/** Every completion, by its path in the checkout. */
export const completions = (programs: readonly ProgramWords[]): [path: string, text: string][] =>
  programs.flatMap((program) =>
    Object.entries(shells).map(([shell, make]): [string, string] => [
      completionFile(shell, program.name),
      make(program),
    ]),
  );
