#!/bin/sh
# npm run docs: makes the pages of docs/reference, the man pages and the completions from the tables in src; those of the
# library only where typedoc is there.
set -eu
cd "$(dirname "$0")/.."
. scripts/node.sh

"$node" scripts/reference/main.ts
"$node" scripts/settings-page.mjs >docs/reference/settings.md.new
mv docs/reference/settings.md.new docs/reference/settings.md

if [ -d scripts/typedoc/node_modules ]; then
  sh scripts/docs-library.sh
else
  echo "docs/reference/library stays as it is: npm run docs:library makes it, and fetches typedoc for that"
fi
