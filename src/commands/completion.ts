/** `rootling completion`: what shells need to know to complete our words. Made by scripts/reference, printed as it is. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Failure, fileFailure } from "../base/errors.ts";
import { packageRoot } from "../base/package.ts";
import { isOverlayName } from "../base/settings-places.ts";
import { type Cli, newCommand } from "./cli.ts";

/** The names that words are completed of, and where what is made of each lies: what is not ours to name apart. */
const shares: Readonly<Record<string, string>> = { rootling: "share", enroot: "share/compat" };

/** Where each shell looks for the words of a program, below a directory such as /usr/share. */
const places: Readonly<Record<string, (name: string) => string>> = {
  bash: (name) => `bash-completion/completions/${name}`,
  zsh: (name) => `zsh/site-functions/_${name}`,
  fish: (name) => `fish/vendor_completions.d/${name}.fish`,
};

/** The file of the package that holds a completion. Throws E_USAGE for a shell or a name that there is none of. */
export function completionFile(shell: string, name: string): string {
  const place = Object.hasOwn(places, shell) ? places[shell] : undefined;
  const share = Object.hasOwn(shares, name) ? shares[name] : undefined;
  const wrong = (what: string, words: Readonly<Record<string, unknown>>) =>
    new Failure("E_USAGE", what, { where: "completion", mend: `use ${Object.keys(words).join(", ")}` });
  if (place === undefined) throw wrong(`there is no completion for ${JSON.stringify(shell)}`, places);
  if (share === undefined) throw wrong(`rootling does not go by the name ${JSON.stringify(name)}`, shares);
  return `${share}/${place(name)}`;
}

/** Commands of the administrator have a section of their own. */
const sectionOf = (name: string): number => (isOverlayName(name) ? 8 : 1);

/** The man page of a name and its completions: where the package has them, and where they belong below /usr/share. */
export const sharedFiles = (name: string): { readonly source: string; readonly place: string }[] =>
  [`man/man${sectionOf(name)}/${name}.${sectionOf(name)}`, ...Object.values(places).map((place) => place(name))].map(
    (place) => ({
      source: `${shares[name] ?? "share/compat"}/${place}`,
      place,
    }),
  );

export const define = (cli: Cli) =>
  newCommand("completion", "Print the completion of a shell.", [
    "source <(rootling completion bash)      # in ~/.bashrc",
    "source <(rootling completion zsh)       # in ~/.zshrc, after compinit",
    "rootling completion fish | source       # in ~/.config/fish/config.fish",
    "rootling completion bash enroot         # of the name enroot",
  ])
    .argument("<shell>", Object.keys(places).join(", "))
    .argument("[name]", `of which name: ${Object.keys(shares).join(" or ")}`, "rootling")
    .action((shell: string, name: string) => {
      const file = join(packageRoot(), completionFile(shell, name));
      try {
        cli.print(readFileSync(file, "utf8").trimEnd());
      } catch (error) {
        throw fileFailure(error, "reading the completion", file);
      }
    });
