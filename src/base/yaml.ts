/**
 * The parser of YAML, for who loads it when the first such file is read. A file of its own: of a package that is imported
 * here and loaded later there, the bundler makes what every start would have to read.
 */
export { parse } from "yaml";
