/**
 * Who may see the page. Other users of the machine reach a loopback address as well, and pages of others can make the
 * user's own browser ask it: so each request must have the cookie that the token was exchanged for, name us as its host
 * (a name that was rebound to us is another one), and come from our own page.
 */
import { randomBytes, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";

export type Verdict =
  | { readonly kind: "welcome" }
  /** The token was right: it is used up, and this cookie is to be set. */
  | { readonly kind: "enter"; readonly cookie: string }
  | { readonly kind: "refused"; readonly why: string };

const refused = (why: string): Verdict => ({ kind: "refused", why });

const secret = (): string => randomBytes(32).toString("base64url");

const same = (a: string, b: string): boolean => {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
};

/** Names of loopback, with any port: a socket has no address, and who forwards a port to it chooses one. */
const LOOPBACK = /^(localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]{1,5})?$/;

export class Guard {
  /** Good for one exchange. */
  #token: string | undefined = secret();
  readonly #session = secret();
  /** Cookies are shared by all ports of a host: two of us do not take each other's away. */
  readonly #cookie = `rootling-${randomBytes(4).toString("hex")}`;
  readonly #host: string | undefined;

  /** `host`: ADDRESS:PORT; undefined on a socket. */
  constructor(host: string | undefined) {
    this.#host = host;
  }

  /** The path that is good for one exchange. */
  get entrance(): string {
    return `/?token=${this.#token ?? ""}`;
  }

  /** `url`: of the request, on our host. */
  judge({ method = "", headers }: Pick<IncomingMessage, "method" | "headers">, url: URL): Verdict {
    const { host = "", origin, cookie = "" } = headers;
    if (this.#host === undefined ? !LOOPBACK.test(host) : host !== this.#host)
      return refused("the request is for another host");
    if (origin !== undefined && origin !== `http://${host}`) return refused("the request comes from another origin");
    const site = headers["sec-fetch-site"];
    if (site !== undefined && site !== "same-origin" && site !== "none")
      return refused("the request comes from another site");
    // Browsers name the origin of what changes something.
    if (method !== "GET" && method !== "HEAD" && origin === undefined) return refused("the request has no origin");
    const token = url.searchParams.get("token");
    if (method === "GET" && url.pathname === "/" && token !== null) return this.#exchange(token);
    const given = cookie
      .split(";")
      .map((pair) => pair.trim().split("="))
      .find(([name]) => name === this.#cookie)?.[1];
    if (given !== undefined && same(given, this.#session)) return { kind: "welcome" };
    return refused("the request has no token: open the address that rootling web has printed");
  }

  #exchange(given: string): Verdict {
    if (this.#token === undefined || !same(given, this.#token))
      return refused("the token is wrong, or was used before: start rootling web again for a new one");
    this.#token = undefined;
    return { kind: "enter", cookie: `${this.#cookie}=${this.#session}; HttpOnly; SameSite=Strict; Path=/` };
  }
}
