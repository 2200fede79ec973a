#!/usr/bin/env bash
# run.sh [PYTEST ARGUMENTS]: the cluster tests, on the cluster of E2E_KUBECONFIG or on a node that is started for them.
#
# E2E_KUBECONFIG     a cluster that may be changed as one likes (kind, k3d); kubectl and helm are on PATH then.
#                    E2E_LOAD is the command that brings an image there, and gets the archive's path at its end:
#                    E2E_LOAD="kind load image-archive"
# E2E_NODE_SCRIPTS   the scripts that build and start a node (default ../shared/k8s beside the checkout); needs root
# E2E_WORK           where the node's programs are kept between runs (default: a directory that is removed)
# E2E_IMAGE          an image of ours that the cluster has already; E2E_IMAGE_ARCHIVE an archive of it
# E2E_OPTIONAL=1     no cluster is no failure: for CI on machines that have none
#
# Exit codes: pytest's, and 2 when there is no cluster.
set -euo pipefail
checkout=$(cd "$(dirname "$0")/../.." && pwd)
cd "$checkout"
started=$SECONDS
pytest=(.venv/bin/pytest -m e2e -p no:xdist --durations=0 --durations-min=1 -ra "$@")
[ $# -gt 0 ] || pytest+=(tests/e2e tests/integration/test_rollout_cluster.py)

none() {
    echo "make e2e: no cluster to test on: $1" >&2
    echo "  Set E2E_KUBECONFIG to the kubeconfig of one that may be changed (kind, k3d), or E2E_NODE_SCRIPTS to the" >&2
    echo "  directory of build.sh, up.sh, enter.sh and down.sh, which start a node on this machine (as root)." >&2
    [ -z "${E2E_OPTIONAL:-}" ] || { echo "  E2E_OPTIONAL is set: the cluster tests were NOT run." >&2; exit 0; }
    exit 2
}

if [ -n "${E2E_KUBECONFIG:-}" ]; then
    [ -r "$E2E_KUBECONFIG" ] || none "E2E_KUBECONFIG names no readable file"
    command -v kubectl > /dev/null || none "there is no kubectl on PATH"
    KUBECONFIG=$E2E_KUBECONFIG kubectl get --raw /readyz > /dev/null || none "the API server of E2E_KUBECONFIG does not answer"
    exec "${pytest[@]}"
fi

scripts=${E2E_NODE_SCRIPTS:-$checkout/../shared/k8s}
[ -x "$scripts/up.sh" ] || none "E2E_KUBECONFIG is not set, and there is no $scripts/up.sh"
[ "$(id -u)" = 0 ] || none "starting a node needs root"

work=${E2E_WORK:-}
[ -n "$work" ] || { work=$(mktemp -d "${TMPDIR:-/tmp}/injector-e2e.XXXXXX"); remove=$work; }
end() {
    "$scripts/down.sh" "$work" || true
    [ -z "${remove:-}" ] || rm -rf "$remove"
}
trap end EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
"$scripts/build.sh" "$work"
base=${E2E_BASE_ARCHIVE:-$work/images/python.tar}
archive=${E2E_IMAGE_ARCHIVE:-$work/injector.tar}
if [ -z "${E2E_IMAGE_ARCHIVE:-}" ]; then # here, since the node's network has no way out to a package index
    .venv/bin/python -m tools.build_image -o "$archive" --tag localhost/injector:e2e --base "$base" --no-compress
fi
"$scripts/up.sh" "$work" || none "the node did not start (this machine may not allow namespaces); see above"
echo "make e2e: the node is ready after $((SECONDS - started)) s"
# The tests run in the node's own network; what they start there ends with the node.
E2E_KUBECONFIG="$work/run/admin.kubeconfig" E2E_LOAD=${E2E_LOAD:-ctr images import} E2E_NODE_DIRECTORY=$work \
    E2E_BASE_ARCHIVE=$base E2E_IMAGE_ARCHIVE=$archive "$scripts/enter.sh" "$work" "${pytest[@]}"
echo "make e2e: done after $((SECONDS - started)) s"
