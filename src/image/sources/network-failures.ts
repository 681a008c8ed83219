/** What goes wrong on the way to a registry, in words. Nothing of a header, a token or a proxy's address is quoted. */
import { interruption } from "../../base/context.ts";
import { errnoOf, Failure, type FailureCode, type FailureDetails } from "../../base/errors.ts";
import { escapeText } from "../../base/text.ts";

/** A failure that may have passed by the next try. `after`: the seconds that the server asks to wait (Retry-After). */
export class Passing extends Failure {
  readonly after: number | undefined;
  /** Whether anybody was there: nothing was sent where not. */
  readonly reached: boolean;

  constructor(code: FailureCode, what: string, details: FailureDetails & { after?: number; reached?: boolean }) {
    super(code, what, details);
    this.after = details.after;
    this.reached = details.reached ?? true;
  }
}

const UNREACHED: Readonly<Record<string, string>> = {
  ECONNREFUSED: "nothing answers there",
  EAI_AGAIN: "the host name cannot be looked up now",
  EHOSTUNREACH: "the host cannot be reached",
  ENETUNREACH: "the network cannot be reached",
  ECONNECT_TIME: "no connection in time",
};

const CUT: Readonly<Record<string, string>> = {
  ECONNRESET: "the connection was cut",
  EPIPE: "the connection was cut",
  ETIMEDOUT: "no answer in time",
  ESTALLED: "no more bytes came in time",
};

/** An error of Node with one of our own codes above, for time limits. */
export const timeError = (code: "ECONNECT_TIME" | "ESTALLED"): Error => Object.assign(new Error(code), { code });

/** OpenSSL's verdicts on certificates, and Node's on host names (nodejs.org/api/tls.html#x509-certificate-error-codes). */
const CERTIFICATE =
  /^(?:CERT_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|ERR_TLS_CERT_|INVALID_(?:CA|PURPOSE)|HOSTNAME_MISMATCH)/;

/** The server does not speak TLS where it should, or plain HTTP. */
export const isProtocolMismatch = (error: unknown): boolean => {
  const code = String((error as { code?: unknown } | null)?.code ?? "");
  return code === "EPROTO" || code.startsWith("ERR_SSL_") || code.startsWith("HPE_");
};

/** Turns an error of node:http into a Failure: a Passing one where another try makes sense. */
export function networkFailure(error: unknown, url: URL, signal: AbortSignal): Failure {
  if (error instanceof Failure) return error;
  if (signal.aborted) return interruption(signal);
  const code = String((error as { code?: unknown }).code ?? "");
  const where = url.host;
  if (CERTIFICATE.test(code)) return certificateFailure(code, url, error);
  if (code === "HPE_HEADER_OVERFLOW") {
    return new Failure("E_LIMIT", "an answer with more than 16 KiB of headers", {
      where,
      mend: "check the name of the registry",
      cause: error,
    });
  }
  const mend = "check the name of the registry and the network, and try again";
  const fail = (why: string) =>
    new Failure("E_NETWORK", `the registry cannot be read: ${why}`, { where, mend, cause: error });
  if (code === "ENOTFOUND") return fail("the host name is not known");
  if (code === "ERR_PROXY_TUNNEL") return fail("the proxy does not lead there (see HTTPS_PROXY)");
  if (isProtocolMismatch(error))
    return fail(`it does not speak ${url.protocol === "https:" ? "TLS" : "HTTP"} as it should`);
  const unreached = UNREACHED[code];
  const why = unreached ?? CUT[code] ?? errnoOf(error) ?? escapeText((error as Error).message.slice(0, 200));
  const details = { where, mend, cause: error, reached: unreached === undefined };
  return new Passing("E_NETWORK", `the registry cannot be read: ${why}`, details);
}

function certificateFailure(code: string, url: URL, cause: unknown): Failure {
  const why: Record<string, string> = {
    CERT_HAS_EXPIRED: "it has expired",
    CERT_NOT_YET_VALID: "it is not valid yet",
    ERR_TLS_CERT_ALTNAME_INVALID: "it is for another host name",
  };
  return new Failure(
    "E_CERTIFICATE",
    `the registry's certificate is not trusted: ${why[code] ?? "its issuer is not known"}`,
    {
      where: url.host,
      mend: `put its CA into ~/.config/containers/certs.d/${url.host}/ca.crt or name it in SSL_CERT_FILE; --insecure trusts anybody`,
      cause,
    },
  );
}

export const registryFailure = (what: string, url: URL): Failure =>
  new Failure("E_REGISTRY", what, { where: url.host, mend: "check the name of the registry" });
