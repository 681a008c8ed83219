/** `rootling unit`: a service file for a container, or the AppArmor profile of the executor. */
import { realpathSync } from "node:fs";
import { join } from "node:path";
import { InvalidArgumentError } from "commander";
import { Failure } from "../base/errors.ts";
import { signalNumber } from "../base/signals.ts";
import { apparmorProfile, openrcScript, type Service, systemdUnit, sysvinitScript } from "../boot/service-files.ts";
import { findExecutor } from "../plan/launch.ts";
import { getContainer } from "../store/containers.ts";
import { bindOptionalValues, type Cli, newCommand } from "./cli.ts";
import { storedImage } from "./image-for.ts";

const INITS = { systemd: systemdUnit, openrc: openrcScript, sysvinit: sysvinitScript };

interface Options {
  init: keyof typeof INITS;
  apparmor?: boolean;
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
    "rootling unit --apparmor >/etc/apparmor.d/rootling   # then: apparmor_parser -r /etc/apparmor.d/rootling",
  ])
    .argument("[name]", "a container")
    .argument("[flags...]", "flags that `rootling start` gets")
    .option("--init <system>", `the init system: ${Object.keys(INITS).join(", ")}`, readInit, "systemd")
    .option("--apparmor", "print the AppArmor profile that lets the executor make user namespaces")
    .passThroughOptions()
    .action(async (name: string | undefined, flags: string[], { init, apparmor }: Options) => {
      if (apparmor) {
        const executor = realpathSync(await findExecutor(cli.context("none").settings.CACHE_PATH));
        return cli.print(apparmorProfile(executor));
      }
      if (name === undefined) throw new Failure("E_USAGE", "no container is named", { mend: "see `rootling list`" });
      cli.print(INITS[init](await serviceOf(cli, name, flags, init)));
    });

async function serviceOf(cli: Cli, name: string, flags: string[], init: keyof typeof INITS): Promise<Service> {
  const { image } = getContainer(cli.layout, name);
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
  const settings = Object.entries(process.env).filter(([key]) => /^ROOTLING_[A-Z_]*PATHS?$/.test(key));
  return {
    name,
    image: image.name,
    program: realpathSync(join(import.meta.dirname, PROGRAM)),
    flags,
    environment: Object.fromEntries(settings.map(([key, value = ""]) => [key, value])),
    stopSignal: asked ?? 15,
    ofUser,
  };
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
