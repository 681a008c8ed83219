/** `rootling web`: a page to look at, for as long as the command runs. */
import { randomInt } from "node:crypto";
import { once } from "node:events";
import type { Server } from "node:http";
import { type AddressInfo, isIPv4 } from "node:net";
import { InvalidArgumentError } from "commander";
import { errnoOf, Failure, fileFailure } from "../base/errors.ts";
import { Guard } from "../web/guard.ts";
import { Page } from "../web/server.ts";
import { type Cli, newCommand } from "./cli.ts";
import { deedsOf } from "./web-deeds.ts";
import { houseOf } from "./web-house.ts";

interface Options {
  port?: number;
  socket?: string;
  allowActions?: boolean;
}

const readPort = (text: string): number => {
  if (/^[0-9]{1,5}$/.test(text) && Number(text) < 65536) return Number(text);
  throw new InvalidArgumentError("It is a number below 65536.");
};

export const define = (cli: Cli) =>
  newCommand("web", "Show containers and subhosts in a browser of this machine, until Ctrl-C.", [
    "rootling web                        # prints the address to open; it is good for one browser",
    "rootling web --allow-actions        # start, stop and a shell, for whoever has that address",
    "rootling web --socket ~/page.sock   # then elsewhere: ssh -L 8080:page.sock HOST",
  ])
    .option("--port <number>", "of the loopback address; a free one", readPort)
    .option("--socket <path>", "a Unix socket instead, which only its owner may use")
    .option("--allow-actions", "let it start, stop, and run commands inside")
    .action(async (options: Options) => {
      if (options.port !== undefined && options.socket !== undefined)
        throw new Failure("E_CONFLICT", "a socket has no port", { where: "--port", mend: "leave out one of both" });
      await show(cli, options);
    });

async function show(cli: Cli, options: Options): Promise<void> {
  const { signal } = cli.context("none");
  const page = new Page(houseOf(cli.layout), options.allowActions ? deedsOf(cli) : undefined, signal);
  let guard: Guard | undefined;
  const server = page.serve(() => (guard ??= new Guard(undefined)));
  const host = options.socket === undefined ? await listen(server, options.port ?? 0) : undefined;
  if (options.socket !== undefined) await listenOn(server, options.socket);
  guard = new Guard(host);
  cli.print(`http://${host ?? "localhost"}${guard.entrance}`);
  try {
    if (!signal.aborted) await once(signal, "abort");
  } finally {
    // This takes a socket's name away as well.
    server.close();
    server.closeAllConnections();
    await page.end();
  }
}

/**
 * An address of our own below 127.0.0.0/8: cookies belong to all ports of a host, and on 127.0.0.1 a server of another
 * user would get ours.
 */
const ownAddress = (): string => [127, randomInt(1, 255), randomInt(0, 256), randomInt(1, 255)].join(".");

/** Resolves to ADDRESS:PORT. Throws E_BUSY where the port is taken. */
async function listen(server: Server, port: number): Promise<string> {
  server.listen({ host: ownAddress(), port });
  await once(server, "listening").catch((cause: unknown) => {
    throw new Failure("E_BUSY", `the port cannot be used: ${errnoOf(cause) ?? String(cause)}`, {
      where: `--port ${port}`,
      cause,
      mend: "choose another one, or leave it out",
    });
  });
  const { address, port: given } = server.address() as AddressInfo;
  return `${isIPv4(address) ? address : `[${address}]`}:${given}`;
}

/** Throws E_EXISTS where something of that name is there. */
async function listenOn(server: Server, path: string): Promise<void> {
  // Closed to others from its first moment on.
  const before = process.umask(0o177);
  try {
    server.listen(path);
    await once(server, "listening");
  } catch (error) {
    if (errnoOf(error) !== "EADDRINUSE") throw fileFailure(error, "making a socket", path);
    throw new Failure("E_EXISTS", "the socket is there already", {
      where: path,
      mend: "remove it if no other `rootling web` uses it, or choose another name",
    });
  } finally {
    process.umask(before);
  }
}
