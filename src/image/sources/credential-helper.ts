/**
 * Credential helpers: programs `docker-credential-NAME` with the word `get`, the registry on their standard input, and
 * `{"Username": …, "Secret": …}` on their standard output (github.com/docker/docker-credential-helpers). Nothing
 * secret stands on a command line, and nothing that they say is repeated: it may hold what it should not.
 */
import { Failure } from "../../base/errors.ts";
import { findProgram, run } from "../../base/process.ts";
import { escapeText } from "../../base/text.ts";
import type { CredentialContext, Credentials } from "./credentials.ts";
import { isObject } from "./json.ts";

/** Someone may have to unlock a key first. */
const PATIENCE_SECONDS = 120;
const LONGEST_ANSWER = 1 << 20;

/** How helpers say that they know nothing of a registry: the protocol has no other way (credentials/error.go). */
const NOT_FOUND = /credentials not found in native keychain/;

/** Asks a helper. One that fails is told of, and the registry is then asked without credentials. */
export async function askHelper(
  name: string,
  server: string,
  context: CredentialContext,
): Promise<Credentials | undefined> {
  const program = `docker-credential-${name}`;
  if (!/^[A-Za-z0-9_.][A-Za-z0-9_.-]*$/.test(name)) {
    throw new Failure("E_SETTING", `not the name of a credential helper: ${escapeText(name.slice(0, 100))}`, {
      where: "credHelpers, credsStore",
      mend: "it is what follows docker-credential- in the program's name",
    });
  }
  const path = findProgram(program, context.options.env.PATH ?? "");
  if (path === undefined) return void context.warn(`${program} is not installed: going on without credentials`);
  const { output, failed } = await talk(path, server, context);
  if (failed) {
    if (!NOT_FOUND.test(output)) context.warn(`${program} failed: going on without credentials`);
    return undefined;
  }
  const credentials = readAnswer(output, program);
  if (credentials === undefined) context.warn(`${program} gave no credentials: going on without`);
  return credentials;
}

async function talk(path: string, server: string, context: CredentialContext) {
  const environment = Object.entries(context.options.env).flatMap(([key, value]) =>
    value === undefined ? [] : [[key, value] as const],
  );
  const running = run(path, ["get"], {
    stdin: "pipe",
    stdout: "pipe",
    env: Object.fromEntries(environment),
    signal: AbortSignal.any([context.signal, AbortSignal.timeout(PATIENCE_SECONDS * 1000)]),
  });
  let output = "";
  running.child.stdout?.setEncoding("utf8").on("data", (chunk: string) => {
    output += chunk;
    if (output.length > LONGEST_ANSWER) running.child.kill("SIGKILL");
  });
  // It may end without reading.
  running.child.stdin?.on("error", () => {});
  running.child.stdin?.end(`${server}\n`);
  const failed = await running.finished.then(
    () => false,
    () => true,
  );
  return { output, failed };
}

function readAnswer(output: string, origin: string): Credentials | undefined {
  let json: unknown;
  try {
    json = JSON.parse(output);
  } catch {
    return undefined;
  }
  if (!isObject(json) || typeof json.Username !== "string" || typeof json.Secret !== "string") return undefined;
  const { Username: user, Secret: secret } = json;
  if (secret === "") return undefined;
  if (user === "<token>") return { kind: "identity", token: secret, origin };
  return { kind: "password", user, password: secret, origin };
}
