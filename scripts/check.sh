#!/bin/sh
# Checks the sources without running them: types, format and lint, unused files and exports, what would be
# published, the rules of the house.
set -eu
cd "$(dirname "$0")/.."
. scripts/node.sh

"$node" node_modules/typescript/bin/tsc
"$node" node_modules/@biomejs/biome/bin/biome check --error-on-warnings .
# What would be published is there.
sh scripts/build.sh
"$node" node_modules/knip/bin/knip.js --no-progress
"$node" node_modules/publint/src/cli.js --strict
"$node" --test --test-reporter=dot test/house.test.ts
