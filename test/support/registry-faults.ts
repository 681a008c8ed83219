/** Ways in which a registry of the tests misbehaves. */
import type { Asked, FakeRegistry, Fault } from "./fake-registry.ts";

export const status =
  (code: number, headers: Record<string, string> = {}, body = ""): Fault =>
  ({ response }) => {
    response.writeHead(code, headers).end(body);
    return true;
  };

/** Misbehaves the first `count` times only. */
export const atFirst =
  (count: number, fault: Fault): Fault =>
  (asked) =>
    asked.times <= count ? fault(asked) : false;

export const stall: Fault = () => true;
export const hangUp: Fault = ({ request }) => request.socket.destroy().destroyed;

/** The beginning of the right answer, a `part` of it, and then nothing, or the end of the connection. */
export const begin =
  (part: number, then: "stall" | "cut"): Fault =>
  ({ response, content, type }) => {
    response.writeHead(200, { "content-type": type, "content-length": content.length });
    response.write(content.subarray(0, content.length * part), () => then === "cut" && response.destroy());
    return true;
  };

export const instead =
  (change: (content: Buffer) => Buffer, headers: Record<string, string> = {}): Fault =>
  ({ response, content, type }) => {
    response.writeHead(200, { "content-type": type, ...headers }).end(change(content));
    return true;
  };

export const flipped = (content: Buffer): Buffer => {
  const copy = Buffer.from(content);
  copy.writeUInt8(copy.readUInt8(copy.length >> 1) ^ 1, copy.length >> 1);
  return copy;
};

export const drip: Fault = ({ response, content }) => {
  response.writeHead(200, { "content-length": content.length });
  const timer = setInterval(() => response.write("x"), 100);
  response.on("close", () => clearInterval(timer));
  return true;
};

export const raw =
  (text: string): Fault =>
  ({ request }) => {
    request.socket.end(text);
    return true;
  };

/** To the second server, which has the same content. */
export const redirect =
  (to: (elsewhere: string, asked: Asked) => string, code = 307): Fault =>
  (asked) => {
    const location = to(elsewhereOf.get(asked.registry)?.host ?? "", asked);
    asked.response.writeHead(code, { location }).end();
    return true;
  };
export const elsewhereOf = new WeakMap<FakeRegistry, FakeRegistry>();
export const samePath = (host: string, { request }: Asked) => `http://${host}${request.url}`;

/** Every answer to a Range request is `answer`, and the first to one without is cut. */
export const cutThen =
  (answer: Fault): Fault =>
  (asked) => {
    if (asked.request.headers.range !== undefined) return answer(asked);
    return asked.times <= 2 && asked.content.length > 100_000 ? begin(1 / 3, "cut")(asked) : false;
  };

/** More and more zeros, as many as it says, or without end. */
export const endless =
  (bytes?: number): Fault =>
  ({ response, type }) => {
    response.writeHead(200, { "content-type": type, ...(bytes === undefined ? {} : { "content-length": bytes }) });
    const more = () => void (response.destroyed || response.write(Buffer.alloc(1 << 16), () => setImmediate(more)));
    more();
    return true;
  };

/** At the right token only: elsewhere is the registry's storage. */
export const redirectAllowed =
  (code = 307): Fault =>
  (asked) =>
    asked.request.headers.authorization?.startsWith("Bearer t0ken-") ? redirect(samePath, code)(asked) : false;
