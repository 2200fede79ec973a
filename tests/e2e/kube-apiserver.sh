#!/usr/bin/env bash
# In the place of kube-apiserver in a node's bin/: starts the real one, and again whenever it has ended, but not while
# run/apiserver.away is there. Its process is in run/apiserver.pid. So tests can take the API server away; the node's own
# scripts end the whole node with any of its daemons.
bin=$(cd "$(dirname "$0")" && pwd)
run=$bin/../run
while :; do
    until [ ! -e "$run/apiserver.away" ]; do sleep 0.1; done
    (exec -a kube-apiserver "$bin/kube" "$@") &
    echo $! > "$run/apiserver.pid.new" && mv "$run/apiserver.pid.new" "$run/apiserver.pid"
    wait $!
    echo "kube-apiserver.sh: it ended with status $?" >&2
    sleep 0.2
done
