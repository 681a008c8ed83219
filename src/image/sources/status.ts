/** What an HTTP status means for the next step. */
import { type Answer, discard } from "./http.ts";
import { Passing } from "./network-failures.ts";
import { retryAfter } from "./retry.ts";

/** The failure of an answer that may be another one by the next try: overload and faults of the server. */
export function passingStatus(answer: Answer): Passing | undefined {
  const { status, headers, url } = answer;
  if (status !== 408 && status !== 429 && !(status >= 500 && status <= 599 && status !== 501)) return undefined;
  discard(answer);
  const after = retryAfter(headers["retry-after"]);
  return new Passing("E_REGISTRY", `the registry answered ${status}${status === 429 ? " (too many requests)" : ""}`, {
    where: url.host,
    mend: "try again later",
    ...(after === undefined ? {} : { after }),
  });
}
