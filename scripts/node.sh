# Sourced by the other scripts, in the checkout's root: sets $node to the Node that node_modules brings.
case $(uname -m) in
  x86_64) arch=x64 ;;
  aarch64) arch=arm64 ;;
  *) arch=$(uname -m) ;;
esac
node=$PWD/node_modules/node-linux-$arch/bin/node
if [ ! -x "$node" ]; then
  node=${ROOTLING_NODE:-}
fi
if [ -z "$node" ]; then
  echo "there is no Node.js in node_modules: run scripts/setup.sh, or set ROOTLING_NODE to the path of one that fits" >&2
  exit 125
fi
