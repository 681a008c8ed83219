/** User-mode networking by pasta: its words, what it needs of the host, and its ops. Pure but for gatherNetwork. */
import { accessSync, constants, readFileSync } from "node:fs";
import { Failure } from "../base/errors.ts";
import { findProgram } from "../base/process.ts";
import { type Op, OURSELVES, op } from "../plan/plan.ts";
import { from, type Intent, type Value } from "./intent.ts";

/** A port of the host that leads to one inside. */
export interface Publish {
  readonly protocol: "tcp" | "udp";
  /** Address of the host that is listened on. */
  readonly address: string;
  readonly host: number;
  readonly inside: number;
  readonly origin: string;
}

export interface NetworkFacts {
  /** Path of pasta. */
  readonly pasta?: string;
  /** /dev/net/tun: whether it is there, and open to the caller. */
  readonly tun: "usable" | "closed" | "missing";
  /** Lines of a resolv.conf that a container can use: name servers of the host that do not listen on its loopback. */
  readonly resolver: readonly string[];
}

/** podman and docker publish on all addresses unless told otherwise; who forgets to think here opens nothing. */
const DEFAULT_ADDRESS = "127.0.0.1";

const wrongPublish = (text: string, where: string): Failure =>
  new Failure("E_USAGE", `${JSON.stringify(text)} publishes nothing`, {
    where,
    mend: "write [ADDRESS:]HOST_PORT:PORT[/tcp|/udp], such as 8080:80 or 0.0.0.0:5353:53/udp; without ADDRESS it is 127.0.0.1",
  });

/** Reads `[ADDRESS:]HOST:INSIDE[/tcp|/udp]`; an IPv6 address stands in brackets. Throws E_USAGE. */
export function readPublish(text: string, origin = "--publish"): Publish {
  const match = /^(?:(\[[^\]]+\]|[^:[\]]+):)?([0-9]{1,5}):([0-9]{1,5})(?:\/(tcp|udp))?$/.exec(text);
  const address = (match?.[1] ?? DEFAULT_ADDRESS).replace(/^\[|\]$/g, "");
  const [host, inside] = [Number(match?.[2]), Number(match?.[3])];
  const isPort = (port: number) => port >= 1 && port <= 65_535;
  if (match === null || process.getBuiltinModule("node:net").isIP(address) === 0 || !isPort(host) || !isPort(inside))
    throw wrongPublish(text, origin);
  return { protocol: match[4] === "udp" ? "udp" : "tcp", address, host, inside, origin };
}

const LOOPBACK = /^(127\.|::1$)/;

/** The lines of a resolv.conf that mean something to a container with a network of its own (resolv.conf(5)). */
export function usableResolver(text: string): string[] {
  const lines = text.split("\n").map((line) => line.trim());
  const servers = lines.filter((line) => /^nameserver\s+[0-9a-fA-F.:]+$/.test(line));
  const usable = servers.filter((line) => !LOOPBACK.test(line.split(/\s+/)[1] ?? ""));
  return usable.length === 0 ? [] : [...lines.filter((line) => /^(search|domain|options)\s/.test(line)), ...usable];
}

/** Where systemd-resolved, which itself listens on the loopback address, writes the name servers that it asks. */
const RESOLVERS = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

function readResolver(): string[] {
  for (const path of RESOLVERS) {
    try {
      const usable = usableResolver(readFileSync(path, "utf8"));
      if (usable.length > 0) return usable;
    } catch {
      // There is none: the next one may be there.
    }
  }
  return [];
}

function stateOfTun(): NetworkFacts["tun"] {
  try {
    accessSync("/dev/net/tun", constants.R_OK | constants.W_OK);
    return "usable";
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ENOENT" ? "missing" : "closed";
  }
}

export function gatherNetwork(): NetworkFacts {
  const pasta = findProgram("pasta");
  return { ...(pasta === undefined ? {} : { pasta }), tun: stateOfTun(), resolver: readResolver() };
}

/** What stands in the way of user-mode networking, and its mend. */
export function networkObstacle({ pasta, tun }: NetworkFacts): { what: string; mend: string } | undefined {
  if (pasta === undefined)
    return { what: "pasta is not installed", mend: "install it (Debian, Ubuntu: apt-get install passt)" };
  if (tun === "missing") return { what: "there is no /dev/net/tun", mend: "ask the administrator for: modprobe tun" };
  if (tun === "closed") {
    return {
      what: "/dev/net/tun is closed to this user",
      mend: "ask the administrator for: chmod 0666 /dev/net/tun, which is what distributions have",
    };
  }
  return undefined;
}

interface Network {
  readonly kind: "user" | "other";
  readonly origin: string;
}

/** --publish without --net asks for the network that it needs. */
export function networkOf({
  namespaces: { net },
  publish = [],
  cables,
}: Pick<Intent, "namespaces" | "publish" | "cables">): Network {
  const [first] = publish;
  if (cables !== undefined) return { kind: "other", origin: net?.origin ?? OURSELVES };
  if (net === undefined && first !== undefined) return { kind: "user", origin: first.origin };
  if (net?.value === "user" || first === undefined) {
    return { kind: net?.value === "user" ? "user" : "other", origin: net?.origin ?? OURSELVES };
  }
  throw new Failure("E_CONFLICT", "ports can be published of a network of the container's own only", {
    where: first.origin,
    mend: `use --net=user, or leave it out (${net?.origin}=${net?.value})`,
  });
}

/** Connects the network namespace. Throws E_PROGRAM where pasta cannot work here. */
export function lowerNetwork(intent: Intent, facts: NetworkFacts, mark: string): Op[] {
  const { origin } = networkOf(intent);
  const obstacle = networkObstacle(facts);
  if (obstacle !== undefined) throw new Failure("E_PROGRAM", obstacle.what, { where: origin, mend: obstacle.mend });
  const ports = (protocol: Publish["protocol"]): string[] => {
    const flag = protocol === "tcp" ? "--tcp-ports" : "--udp-ports";
    const all = (intent.publish ?? []).filter((one) => one.protocol === protocol);
    return all.length === 0
      ? [flag, "none"]
      : all.flatMap(({ address, host, inside }) => [flag, `${address}/${host}:${inside}`]);
  };
  const options = [
    ...["--config-net", "--quiet"],
    // Nothing that listens on the host's loopback address may be reached from inside.
    ...["--no-map-gw", "--tcp-ns", "none", "--udp-ns", "none"],
    ...ports("tcp"),
    ...ports("udp"),
  ];
  return [op("pasta", origin, mark, facts.pasta ?? "", ...options)];
}

/** Lines of a resolv.conf of the container's own, where it has one. */
export function resolverOf(intent: Intent, facts: NetworkFacts | undefined): Value<readonly string[]> | undefined {
  const { resolver } = intent.cables ?? {};
  if (resolver !== undefined)
    return from(
      resolver.value.map((one) => `nameserver ${one}`),
      resolver.origin,
    );
  return facts === undefined ? undefined : from(facts.resolver, networkOf(intent).origin);
}

/** That resolv.conf. `stage`: the directory of the container's private tmpfs. */
export function lowerResolver({ value, origin }: Value<readonly string[]>, stage: string): Op[] {
  const path = `${stage}/resolv.conf`;
  return [
    op("file", origin, path, "644", value.map((line) => `${line}\n`).join("")),
    op("bind", origin, path, "/etc/resolv.conf", "ro,nosuid,nodev", "", "", "file", "0"),
  ];
}

/** What is said aloud: names that cannot be resolved, answers that may be lost. */
export const networkRemarks = ({ publish = [] }: Pick<Intent, "publish">, facts: NetworkFacts): string[] => [
  ...(facts.resolver.length > 0
    ? []
    : ["names are not resolved inside: all name servers of the host listen on its loopback address"]),
  // Seen with passt 2023_03_09: the question arrives, the answer does not.
  ...(publish.some(({ protocol, host, inside }) => protocol === "udp" && host !== inside)
    ? ["older versions of pasta, such as Debian 12's, lose the answers of a UDP port that has another number inside"]
    : []),
];
