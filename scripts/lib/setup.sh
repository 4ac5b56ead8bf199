# Sourced by the scripts: changes to the project's root and installs exactly what the lockfile says.
CDPATH= cd -- "$(dirname -- "$0")/.."
# Both commands print their own error messages.
./scripts/bun --version > /dev/null || exit 1
./scripts/bun install --frozen-lockfile --silent || {
  echo "the packages of bun.lock could not be installed" >&2
  exit 1
}
