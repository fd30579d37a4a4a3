# What `up`, `load` and `down` share; sourced by them.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cluster=${CLUSTER:-webstore}
services=(customer product order shopping-command shopping-query)

say() { printf '%s\n' "$*"; }
die() { printf 'webstore: %s\n' "$*" >&2; exit 1; }

need() { # PROGRAM WHERE-TO-GET-IT
  command -v "$1" >/dev/null || die "$1 is not installed, or not on the PATH. Get it from $2 and try again."
}
need_tools() {
  need docker https://docs.docker.com/engine/install/
  need kind https://kind.sigs.k8s.io/docs/user/quick-start/#installation
  need kubectl https://kubernetes.io/docs/tasks/tools/
  need helm https://helm.sh/docs/intro/install/
  docker info >/dev/null 2>&1 || die "Docker's daemon does not answer. Start it, or let this user talk to it, and try again."
}
cluster_exists() { kind get clusters 2>/dev/null | grep -qx "$cluster"; }
k() { kubectl --context "kind-$cluster" "$@"; }
# The charts hold each other as symbolic links, of which Helm tells at each.
h() { helm --kube-context "kind-$cluster" "$@" 2> >(grep -v 'found symbolic link' >&2); }
version() { sed -n 's/^appVersion: *"\{0,1\}\([^"]*\)"\{0,1\}$/\1/p' "$top/charts/webstore/Chart.yaml"; }
