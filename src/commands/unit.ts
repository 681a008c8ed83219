/** `rootling unit`: a service file for a container, or the AppArmor profile of the executor. */
import { existsSync, readFileSync, realpathSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { InvalidArgumentError } from "commander";
import { Failure, fileFailure } from "../base/errors.ts";
import { signalNumber } from "../base/signals.ts";
import { apparmorProfile, openrcScript, type Service, systemdUnit, sysvinitScript } from "../boot/service-files.ts";
import { type SubhostFile, type SubhostService, subhostFiles } from "../boot/subhost-files.ts";
import { findExecutor } from "../plan/launch.ts";
import { getContainer } from "../store/containers.ts";
import { bindOptionalValues, type Cli, newCommand } from "./cli.ts";
import { storedImage } from "./image-for.ts";

const INITS = { systemd: systemdUnit, openrc: openrcScript, sysvinit: sysvinitScript };

interface Options {
  init: keyof typeof INITS;
  apparmor?: boolean;
  subhosts?: boolean;
  install?: boolean;
}

const readInit = (text: string): string => {
  if (Object.hasOwn(INITS, text)) return text;
  throw new InvalidArgumentError(`It is one of ${Object.keys(INITS).join(", ")}.`);
};

export const define = (cli: Cli) =>
  newCommand("unit", "Print a service file that starts a container at boot, and again when it fails.", [
    "rootling unit web >/etc/systemd/system/web.service",
    "rootling unit web --rw --mount /srv/data:/data >~/.config/systemd/user/web.service",
    "rootling unit --init sysvinit web >/etc/init.d/web",
    "rootling unit --subhosts --install      # those of /etc/subhosts.conf; systemd: overlay-boot@.service",
    "rootling unit --apparmor >/etc/apparmor.d/rootling   # then: apparmor_parser -r /etc/apparmor.d/rootling",
  ])
    .argument("[name]", "a container")
    .argument("[flags...]", "flags that `rootling start` gets")
    .option("--init <system>", `the init system: ${Object.keys(INITS).join(", ")}`, readInit, "systemd")
    .option("--subhosts", "of all subhosts: those that /etc/subhosts.conf lists; for systemd a template for each")
    .option("--install", "with --subhosts: write the file where the init system looks for it")
    .option("--apparmor", "print the AppArmor profile that lets the executor make user namespaces")
    .passThroughOptions()
    .action(async (name: string | undefined, flags: string[], { init, apparmor, subhosts, install }: Options) => {
      if (install && !subhosts)
        throw new Failure("E_USAGE", "only the file of all subhosts is installed", {
          where: "--install",
          mend: "add --subhosts, or send what is printed to a file",
        });
      if (subhosts) {
        const file = subhostFiles[init](commonOf());
        return cli.print(install ? installed(file) : file.text);
      }
      if (apparmor) {
        const executor = realpathSync(await findExecutor(cli.context("none").settings.CACHE_PATH));
        return cli.print(apparmorProfile(executor));
      }
      if (name === undefined) throw new Failure("E_USAGE", "no container is named", { mend: "see `rootling list`" });
      cli.print(INITS[init](await serviceOf(cli, name, flags, init)));
    });

async function serviceOf(cli: Cli, name: string, flags: string[], init: keyof typeof INITS): Promise<Service> {
  const { image, subhost } = getContainer(cli.layout, name);
  if (subhost !== undefined)
    throw new Failure("E_CONFLICT", `${name} is a subhost`, {
      where: subhost.conf,
      mend: "use `rootling unit --subhosts`",
    });
  const ofUser = process.geteuid?.() !== 0;
  if (ofUser && init !== "systemd") {
    throw new Failure("E_CONFLICT", `${init} starts services of root only`, {
      where: "--init",
      mend: "use a user's systemd, or a line with @reboot in your crontab(5) that runs `rootling start`",
    });
  }
  await refuseUnknown(cli, name, flags);
  const { run } = storedImage(cli, image.digest);
  const asked = typeof run.StopSignal === "string" ? signalNumber(run.StopSignal) : undefined;
  return {
    name,
    image: image.name,
    flags,
    ...commonOf(),
    stopSignal: asked ?? 15,
    ofUser,
  };
}

/** What all service files say of us. */
function commonOf(): SubhostService {
  const settings = Object.entries(process.env).filter(([key]) => /^ROOTLING_[A-Z_]*PATHS?$/.test(key));
  return {
    program: realpathSync(join(import.meta.dirname, PROGRAM)),
    environment: Object.fromEntries(settings.map(([key, value = ""]) => [key, value])),
  };
}

/** Writes the file; its path. Throws E_EXISTS where another one is. */
function installed({ path, mode, text }: SubhostFile): string {
  try {
    if (!existsSync(path)) writeFileSync(path, `${text}\n`, { mode, flag: "wx" });
    else if (readFileSync(path, "utf8") !== `${text}\n`)
      throw new Failure("E_EXISTS", "there is another service file", {
        where: path,
        mend: "remove it first, or keep it",
      });
  } catch (error) {
    throw fileFailure(error, "installing a service file", path);
  }
  return path;
}

/** bin/ beside the bundle in dist/, or beside src/. */
const PROGRAM = import.meta.filename.endsWith(".ts") ? "../../bin/rootling" : "../bin/rootling";

/** Throws E_USAGE for what `start` would refuse, now and not at the next boot. */
async function refuseUnknown(cli: Cli, name: string, flags: readonly string[]): Promise<void> {
  const start = (await import("./start.ts")).define(cli).action(() => {});
  const words = [...flags, name];
  await start.parseAsync(bindOptionalValues(start, words), { from: "user" });
  if (start.args.length === 1) return;
  throw new Failure("E_USAGE", "only flags may follow the name", {
    where: "unit",
    mend: "a service runs the image's own command",
  });
}
