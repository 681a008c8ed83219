/** The repositories that an image may be fetched from: mirrors first, the registry itself last. */
import { type Context, throwIfAborted } from "../../base/context.ts";
import { Failure } from "../../base/errors.ts";
import type { Endpoint } from "./endpoints.ts";
import { Repository } from "./registry.ts";
import type { Shared } from "./session.ts";

/** What another place may do better. What was interrupted, forbidden or too large is so everywhere. */
const ELSEWHERE = new Set(["E_NOT_FOUND", "E_DENIED", "E_NETWORK", "E_REGISTRY", "E_CERTIFICATE", "E_DIGEST"]);

export const mayBeElsewhere = (error: unknown): boolean => error instanceof Failure && ELSEWHERE.has(error.code);

export class Repositories {
  readonly #list: Repository[];
  readonly #context: Context;
  /** The first that worked: those before it are not asked again. */
  #from = 0;

  constructor(endpoints: readonly Endpoint[], shared: Shared, context: Context) {
    this.#list = endpoints.map((endpoint) => new Repository(endpoint, shared));
    this.#context = context;
  }

  /** What only some may have, such as a signature: undefined where none has it. Nobody is left out for that. */
  async find<T>(question: (repository: Repository) => Promise<T>): Promise<T | undefined> {
    for (const [index, repository] of this.#list.entries()) {
      if (index < this.#from) continue;
      try {
        return await question(repository);
      } catch (error) {
        throwIfAborted(this.#context.signal);
        const missing = error instanceof Failure && error.code === "E_NOT_FOUND";
        if (!missing && (index === this.#list.length - 1 || !mayBeElsewhere(error))) throw error;
      }
    }
    return undefined;
  }

  /** Asks one after the other until one has it. The failure is that of the last: the registry itself. */
  async ask<T>(question: (repository: Repository) => Promise<T>): Promise<T> {
    for (let i = this.#from; ; i++) {
      const repository = this.#list[i] as Repository;
      try {
        const answer = await question(repository);
        this.#from = Math.max(this.#from, i);
        return answer;
      } catch (error) {
        throwIfAborted(this.#context.signal);
        if (i === this.#list.length - 1 || !mayBeElsewhere(error)) throw error;
        this.#context.warn(`the mirror ${repository.endpoint.host} is left out: ${(error as Failure).what}`);
      }
    }
  }
}
