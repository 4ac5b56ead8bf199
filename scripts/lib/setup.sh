# Sourced by the scripts: goes to the project's root and installs exactly what the lockfile says.
cd -- "$(dirname -- "$0")/.."
./scripts/bun install --frozen-lockfile --silent || {
  echo "the packages of bun.lock could not be installed; is the npm registry reachable?" >&2
  exit 1
}
