/** Work that is under way: a promise of its result, which also tells step by step how far it is. */

/**
 * A promise that can be iterated as well: `for await (const step of work)`. The iteration ends with the work and throws
 * what the work throws. Who leaves it early, or is slow, does not hold the work up: a slow reader gets every kind of step
 * (those that `sameKind` tells apart), of each the newest. It may begin late, too: with the newest step.
 */
export interface Work<Result, Step> extends Promise<Result>, AsyncIterable<Step> {}

interface Reader<Step> {
  readonly steps: Step[];
  wake(): void;
}

/** Begins work. `run` is called at once with the function that it reports its steps to. */
export function beginWork<Result, Step>(
  run: (tell: (step: Step) => void) => Promise<Result>,
  sameKind: (one: Step, other: Step) => boolean,
): Work<Result, Step> {
  const readers = new Set<Reader<Step>>();
  let newest: Step | undefined;
  let over = false;
  const tell = (step: Step): void => {
    newest = step;
    for (const { steps, wake } of readers) {
      const last = steps.at(-1);
      if (last !== undefined && sameKind(last, step)) steps.pop();
      steps.push(step);
      wake();
    }
  };
  const result = run(tell).finally(() => {
    over = true;
    for (const { wake } of readers) wake();
  });
  async function* read(): AsyncGenerator<Step, void, undefined> {
    // Whoever iterates is thrown the failure here; without this it would count as unhandled, too.
    result.catch(() => {});
    let wake = () => {};
    const reader: Reader<Step> = { steps: newest === undefined ? [] : [newest], wake: () => wake() };
    readers.add(reader);
    try {
      for (;;) {
        const step = reader.steps.shift();
        if (step !== undefined) yield step;
        else if (over) break;
        else {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      }
    } finally {
      readers.delete(reader);
    }
    await result;
  }
  return Object.assign(result, { [Symbol.asyncIterator]: () => read() });
}
