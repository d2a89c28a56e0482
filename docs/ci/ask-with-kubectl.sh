#!/bin/sh
# Ask for a version and wait for its end with kubectl (1.24 or newer) alone:
#
#     ask-with-kubectl.sh NAMESPACE NAME VERSION REQUEST
#
# REQUEST is an id of this ask that no other ask has had, such as the CI run with its attempt: letters, digits, - _ .
# It ends as `rollouts trigger --wait` does: 0 promoted, 1 failed, 2 usage, 3 rolled back, aborted or superseded, 4 timed out,
# 5 paused (seen only at the end of the time: kubectl waits for one thing, and a pause may end).
set -eu

usage() {
  echo "usage: $0 NAMESPACE NAME VERSION REQUEST" >&2
  exit 2
}
[ $# -eq 4 ] || usage
namespace=$1 name=$2 version=$3 request=$4
case $request in '' | *[!A-Za-z0-9._-]*) usage ;; esac

taken_up_within=${TAKEN_UP_WITHIN:-60s} # by a controller that runs; it takes a second
timeout=${TIMEOUT:-150m}                # longer than the longest attempt

get() { kubectl get tritonrollout "$name" -n "$namespace" -o "jsonpath=$1"; }

kubectl annotate tritonrollout "$name" -n "$namespace" --overwrite \
  "rollouts.triton.dev/version=$version" "rollouts.triton.dev/request=$request"

# First the echo: until it is there, status and conditions are those of an earlier ask. It comes in the same write as
# Reconciling=True. That is over when the attempt is, however it ended.
waited=yes
kubectl wait tritonrollout "$name" -n "$namespace" --for=jsonpath='{.status.observedRequest}'="$request" \
  --timeout="$taken_up_within" || waited=no
if [ "$waited" = yes ]; then
  kubectl wait tritonrollout "$name" -n "$namespace" --for=condition=Reconciling=False --timeout="$timeout" || waited=no
fi

# What became of this ask: the record of its attempt says it, also when a newer ask has taken its place meanwhile.
record="{.status.attempts[?(@.request==\"$request\")]"
outcome=$(get "$record.outcome}")
outcome=${outcome%% *}
observed=$(get '{.status.observedRequest}')
phase=$(get '{.status.phase}')
if [ -n "$outcome" ]; then
  echo "$outcome: $(get "$record.reason.sentence}")"
elif [ "$observed" = "$request" ]; then
  echo "$phase: $(get '{.status.reason.sentence}')"
fi
case $outcome:$phase in
Promoted:*) exit 0 ;;
RolledBack:* | Aborted:* | Superseded:*) exit 3 ;;
?*:*) exit 1 ;;
esac
if [ "$observed" != "$request" ]; then
  if [ "$(get '{.metadata.annotations.rollouts\.triton\.dev/request}')" != "$request" ]; then
    echo "version $version (request $request) was not tried: another ask took its place" >&2
    exit 3
  fi
  echo "no controller has taken it up within $taken_up_within: $(get '{.status.reason.sentence}')" >&2
  exit 4
fi
case $phase in # no record: stable served that version already, or the time is over
Succeeded | Idle) exit 0 ;;
Stalled) exit 1 ;;
Paused) exit 5 ;;
*)
  echo "version $version (request $request) has not ended within $timeout; the rollout goes on by itself" >&2
  exit 4
  ;;
esac
