/**
 * How src becomes the bundles in dist. The program is CommonJS, since its `require` leaves alone what ES modules would
 * load early; the library is one ES module, for `import` and, in every Node that it runs on, for `require`.
 */
import { fileURLToPath } from "node:url";
import { defineConfig } from "rolldown";

/** What every start, run and exec reads: one file is read faster than twenty. */
const BOOT = [
  /\/commander\//,
  /\/src\/main\.ts$/,
  // Not what entry.ts needs before compiled code can come from the cache, nor what only other commands need.
  /\/src\/(base|boot|plan|store)\/(?!errors|destination|package|progress-listen|work|marks|timeline|bundle-plan|private-directory|settings-places|layout|try|blobs|donors|prune|read-enroot|startup-files|cdi|nvidia|read-devices|yaml|read-init|guest-|lower-guest|shell-words|cable-picture|cable-map|snapshots|subhost|read-subhost|machine-words|lower-machine)/,
  /\/src\/image\/(digest|sources\/(built-)?reference)\.ts$/,
  /\/src\/commands\/((?!alter|disk)[a-z]+-words|cli|direct-root|exec|find-run|image-for|launching|mapped-tree|run|start|table)\.ts$/,
];

/** What a start under the name enroot reads besides. */
const ENROOT = [
  /\/src\/compat\/enroot(-start|-names|-words)?\.ts$/,
  /\/src\/commands\/startup\.ts$/,
  /\/src\/(boot|image)\/(read-enroot|startup-files|enroot-files)\.ts$/,
];

/**
 * commander starts programs for commands of their own files, and ours have none: without this, child_process, net and
 * streams would be loaded at each start.
 */
const withoutChildProcess = {
  name: "without-child-process",
  resolveId: (id, importer) =>
    id === "node:child_process" && importer?.includes("/commander/") ? "\0/commander/nothing" : undefined,
  load: (id) => (id === "\0/commander/nothing" ? "export default {};" : undefined),
};

const common = {
  platform: "node",
  logLevel: "warn",
  checks: { ineffectiveDynamicImport: false },
  plugins: [withoutChildProcess],
  // As ES modules: those of CommonJS would bring a helper that every start loads.
  resolve: { alias: { yaml: fileURLToPath(new URL("../node_modules/yaml/browser/index.js", import.meta.url)) } },
};

const program = defineConfig({
  ...common,
  preserveEntrySignatures: false,
  input: { entry: "src/entry.ts" },
  output: {
    format: "cjs",
    minify: true,
    entryFileNames: "[name].cjs",
    chunkFileNames: "[name]-[hash].cjs",
    codeSplitting: {
      groups: [
        { name: "boot", test: (id) => BOOT.some((pattern) => pattern.test(id)) },
        { name: "enroot", test: (id) => ENROOT.some((pattern) => pattern.test(id)) },
      ],
      includeDependenciesRecursively: false,
    },
  },
});

const library = defineConfig({
  ...common,
  input: { index: "src/index.ts" },
  output: { format: "esm", entryFileNames: "[name].js", codeSplitting: false },
});

export default [program, library];
