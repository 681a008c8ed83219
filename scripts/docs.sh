#!/bin/sh
# npm run docs: makes the pages of docs/reference, the man pages and the completions from the tables in src.
set -eu
cd "$(dirname "$0")/.."
. scripts/node.sh

"$node" scripts/reference/main.ts
"$node" scripts/settings-page.mjs >docs/reference/settings.md.new
mv docs/reference/settings.md.new docs/reference/settings.md
