#!/bin/sh
# npm run docs:library: makes docs/reference/library from the types of the library, by typedoc.
set -eu
cd "$(dirname "$0")/.."
. scripts/node.sh
sh scripts/build.sh

(cd scripts/typedoc && npm install --no-save --ignore-scripts --no-audit --no-fund --loglevel=error)
# outputFormats is not exported: OutputFormat shows its names.
"$node" scripts/typedoc/node_modules/typedoc/bin/typedoc --options scripts/typedoc/typedoc.json --logLevel Error
