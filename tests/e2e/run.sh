#!/usr/bin/env bash
# run.sh [PYTEST ARGUMENTS]: the cluster tests, on the cluster of E2E_KUBECONFIG or on a node that is started for them.
#
# E2E_KUBECONFIG     a cluster that may be changed as one likes (kind, k3d); kubectl and helm are on PATH then.
#                    E2E_LOAD is the command that brings an image there, and gets the archive's path at its end:
#                    E2E_LOAD="kind load image-archive"
# E2E_NODE_SCRIPTS   the scripts that build and start a node (default ../shared/k8s beside the checkout); needs root
# E2E_WORK           where the node's programs are kept between runs (default: a directory that is removed)
# E2E_IMAGE          an image of ours that the cluster has already; E2E_IMAGE_ARCHIVE an archive of it
# E2E_WORKERS        how many tests run at a time (default 3; they wait more than they work)
# E2E_TIMEOUT        seconds for all of it, 1800 when not set
# E2E_OPTIONAL=1     no cluster is no failure: for CI on machines that have none
# E2E_COMMAND        run in place of the tests, with a node up and the same variables: a measurement, a transcript
#
# Exit codes: pytest's; 2 when there is no cluster; 124 when E2E_TIMEOUT is over. Whatever happens, the node's processes,
# mounts, cgroups and files are gone at the end.
set -euo pipefail
limit=${E2E_TIMEOUT:-1800}
if [ -z "${E2E_LIMITED:-}" ]; then # in the foreground: a terminal's Ctrl-C is for us, and not only for timeout
    E2E_LIMITED=1 exec timeout --foreground --kill-after=60 "$limit" "${BASH_SOURCE[0]}" "$@"
fi
unset E2E_LIMITED
checkout=$(cd "$(dirname "$0")/../.." && pwd)
cd "$checkout"
arguments=("$@")
[ $# -gt 0 ] || arguments=(tests/e2e tests/integration/test_rollout_cluster.py)

none() {
    echo "make e2e: no cluster to test on: $1" >&2
    echo "  Set E2E_KUBECONFIG to the kubeconfig of one that may be changed (kind, k3d), or E2E_NODE_SCRIPTS to the" >&2
    echo "  directory of build.sh, up.sh, enter.sh and down.sh, which start a node on this machine (as root)." >&2
    [ -z "${E2E_OPTIONAL:-}" ] || { echo "  E2E_OPTIONAL is set: the cluster tests were NOT run." >&2; exit 0; }
    exit 2
}

child= work= remove=
step() { # a program in a process group of its own, waited for so that a signal to this script is answered at once
    local code=0
    setsid "$@" < /dev/null &
    child=$!
    wait "$child" || code=$?
    child=
    return "$code"
}

tests() { # those that share the cluster at the same time; then those that take its API server away, one by one
    if [ -n "${E2E_COMMAND:-}" ]; then step "$@" bash -c "$E2E_COMMAND"; return; fi
    local code=0 alone=0 command=("$@" .venv/bin/pytest --durations=15 --durations-min=3 -ra)
    twice "e2e and not alone" "${E2E_WORKERS:-3}" || code=$?
    twice "e2e and alone" 0 || alone=$?
    # 5: no test was selected, which is right when arguments name tests of one kind.
    if [ "$alone" -eq 5 ]; then return "$code"; fi
    if [ "$code" -eq 0 ] || [ "$code" -eq 5 ]; then return "$alone"; fi
    return "$code"
}

twice() { # the tests marked $1, $2 at a time; what fails is run once more by itself, as in `make test`
    local code=0
    step "${command[@]}" -m "$1" -n "$2" "${arguments[@]}" || code=$?
    [ "$code" -eq 1 ] || return "$code"
    echo "make e2e: once more, alone: the tests that failed (one that passes now is too sensitive to load)"
    step "${command[@]}" -m "$1" -n 0 --last-failed --last-failed-no-failures=none "${arguments[@]}"
}

end() {
    trap '' HUP INT TERM # what is left is short, and must be whole
    if [ -n "$child" ] && kill -TERM -- "-$child" 2> /dev/null; then
        for _ in $(seq 50); do kill -0 -- "-$child" 2> /dev/null || break; sleep 0.1; done
        kill -KILL -- "-$child" 2> /dev/null || true
    fi
    [ -z "$work" ] || "$scripts/down.sh" "$work" || true
    [ -z "$remove" ] || rm -rf "$remove"
    [ "$SECONDS" -lt "$limit" ] || echo "make e2e: not done after $limit s (E2E_TIMEOUT)" >&2
}
trap end EXIT
# `timeout` passes on a signal that the whole group got: the second one must not end the end.
trap 'trap "" HUP INT TERM; exit 129' HUP
trap 'trap "" HUP INT TERM; exit 130' INT
trap 'trap "" HUP INT TERM; exit 143' TERM

build() { # the image, as $archive; from the base's archive $1, if any
    step .venv/bin/python -m tools.build_image -o "$archive" --tag localhost/injector:e2e --no-compress ${1:+--base "$1"}
}

if [ -n "${E2E_KUBECONFIG:-}" ]; then
    [ -r "$E2E_KUBECONFIG" ] || none "E2E_KUBECONFIG names no readable file"
    command -v kubectl > /dev/null || none "there is no kubectl on PATH"
    KUBECONFIG=$E2E_KUBECONFIG kubectl get --raw /readyz > /dev/null || none "the API server of E2E_KUBECONFIG does not answer"
    if [ -z "${E2E_IMAGE:-}" ]; then
        [ -n "${E2E_LOAD:-}" ] || none "say how an image comes there: E2E_LOAD='kind load image-archive', or E2E_IMAGE"
        remove=$(mktemp -d "${TMPDIR:-/tmp}/injector-e2e.XXXXXX")
        archive=${E2E_IMAGE_ARCHIVE:-$remove/injector.tar}
        [ -n "${E2E_IMAGE_ARCHIVE:-}" ] || build "${E2E_BASE_ARCHIVE:-}"
        # shellcheck disable=SC2086 # a command with its arguments
        step $E2E_LOAD "$archive"
        export E2E_IMAGE=localhost/injector:e2e
    fi
    tests env
    exit
fi

scripts=${E2E_NODE_SCRIPTS:-$checkout/../shared/k8s}
[ -x "$scripts/up.sh" ] || none "E2E_KUBECONFIG is not set, and there is no $scripts/up.sh"
[ "$(id -u)" = 0 ] || none "starting a node needs root"

if [ -n "${E2E_WORK:-}" ]; then
    mkdir -p "$E2E_WORK"
    work=$(cd "$E2E_WORK" && pwd)
else
    remove=$(mktemp -d "${TMPDIR:-/tmp}/injector-e2e.XXXXXX")
    work=$remove
fi
# What kubectl and helm would leave in the home directory.
export KUBECACHEDIR=$work/cache/kubectl HELM_CACHE_HOME=$work/cache/helm HELM_CONFIG_HOME=$work/cache/helm \
    HELM_DATA_HOME=$work/cache/helm
step "$scripts/build.sh" "$work" || none "the node's programs are not to be had; see above"
archive=${E2E_IMAGE_ARCHIVE:-$work/injector.tar}
# Here, since the node's network has no way out to a package index.
[ -n "${E2E_IMAGE_ARCHIVE:-}" ] || build "${E2E_BASE_ARCHIVE:-$work/images/python.tar}"
if [ -e "$work/bin/kube" ]; then # moved there: what is in its place is a link
    install -m 755 tests/e2e/kube-apiserver.sh "$work/bin/kube-apiserver.new"
    mv -f "$work/bin/kube-apiserver.new" "$work/bin/kube-apiserver"
fi
step "$scripts/up.sh" "$work" || none "the node did not start (this machine may not allow namespaces); see above"
inside=("$scripts/enter.sh" "$work")
try() { # a node can be Ready on a machine where no container starts
    step "${inside[@]}" kubectl run try --image=localhost/busybox:1 --image-pull-policy=Never --restart=Never -- true &&
        step "${inside[@]}" kubectl wait --for=jsonpath='{.status.phase}'=Succeeded pod/try --timeout=90s &&
        step "${inside[@]}" kubectl delete pod try --wait=false
}
try > /dev/null || { "${inside[@]}" kubectl get events >&2 || true; none "the node runs no containers on this machine; see above"; }
step "${inside[@]}" ctr images import "$archive" > /dev/null
echo "make e2e: the node is ready after $SECONDS s"
# The tests run in the node's own network; what they start there ends with the node.
export E2E_KUBECONFIG="$work/run/admin.kubeconfig" E2E_IMAGE=${E2E_IMAGE:-localhost/injector:e2e} E2E_NODE_DIRECTORY=$work
code=0
tests "${inside[@]}" || code=$?
echo "make e2e: done after $SECONDS s, exit code $code"
exit "$code"
