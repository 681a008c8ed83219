/** Results as a table for people and as JSON for machines. */
import { formatBytes, formatTable } from "../../src/base/text.ts";
import { type Case, OURS } from "./case.ts";
import { median, type Sample } from "./measure.ts";

export interface CaseResult {
  name: string;
  about: string;
  repetitions: number;
  rates?: number;
  subjects: { name: string; median: Sample; samples: Sample[]; ratio?: Sample }[];
  bars: { text: string; limit: number; value: number; met: boolean }[];
}

/** Medians, the ratios of ours to each peer's, and the bars. */
export function resultOf(measured: Case, samples: ReadonlyMap<string, Sample[]>): CaseResult {
  const medians = new Map([...samples].map(([name, taken]) => [name, median(taken)]));
  const ours = medians.get(OURS);
  return {
    name: measured.name,
    about: measured.about,
    repetitions: [...samples.values()][0]?.length ?? 0,
    ...(measured.rates === undefined ? {} : { rates: measured.rates }),
    subjects: [...medians].map(([name, value]) => ({
      name,
      median: value,
      samples: samples.get(name) ?? [],
      ...(name === OURS || ours === undefined
        ? {}
        : {
            ratio: {
              wall: ours.wall / value.wall,
              cpu: ours.cpu / value.cpu,
              memory: ours.memory / value.memory,
            },
          }),
    })),
    bars: (ours === undefined && measured.subjects.some(({ name }) => name === OURS) ? [] : measured.bars).map(
      (bar) => {
        const value = bar.value(medians);
        return { text: bar.text, limit: bar.limit, value, met: value <= bar.limit };
      },
    ),
  };
}

const seconds = (value: number): string => (value < 1 ? `${(value * 1000).toFixed(1)} ms` : `${value.toFixed(2)} s`);
const times = (value: number | undefined): string => (value === undefined ? "" : value.toFixed(2));

export function showResult(result: CaseResult): string {
  const rows = result.subjects.map(({ name, median: value, ratio }) => [
    name,
    seconds(value.wall),
    seconds(value.cpu),
    formatBytes(value.memory),
    times(ratio?.wall),
    times(ratio?.cpu),
    times(ratio?.memory),
    ...(result.rates === undefined ? [] : [(result.rates / value.wall).toFixed(1)]),
  ]);
  const rate = result.rates === undefined ? [] : ["a second"];
  const heading = ["", "wall", "CPU", "memory", "ours/wall", "ours/CPU", "ours/memory", ...rate];
  const bars = result.bars.map(
    ({ text, value, met }) => `  bar: ${text}: ${value.toFixed(3)}, ${met ? "met" : "NOT met"}`,
  );
  return [
    `${result.name}: ${result.about} (median of ${result.repetitions})`,
    formatTable([heading, ...rows]),
    ...bars,
  ].join("\n");
}
