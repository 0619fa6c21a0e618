#!/bin/sh
# What taly is compared with: the same rollback by the vendors' own command-line clients, as
# somebody would write it who knows every id already. Usage: rollback.sh sequence|parallel
set -eu

in_parallel=$1
jobs_file=$WORK/failed
started=
: >"$jobs_file"

go() { # run one component's rollback, behind the others or beside them
    if [ "$in_parallel" = parallel ]; then
        { "$@" >>"$WORK/log" 2>&1 || echo "$*" >>"$jobs_file"; } &
        started="$started $!"
    else
        "$@" >>"$WORK/log" 2>&1 || echo "$*" >>"$jobs_file"
    fi
}

vercel_back() {
    "$VERCEL" rollback "$1" --yes --token "$VERCEL_TOKEN" --api "$VERCEL_API_URL" --scope taly
}

netlify_back() {
    "$NETLIFY" api restoreSiteDeploy --data "{\"site_id\":\"$1\",\"deploy_id\":\"$2\"}"
    "$NETLIFY" api lockDeploy --data "{\"deploy_id\":\"$2\"}"
}

function_back() { (cd "$SERVICES/$1" && "$OSLS" rollback --timestamp "$2"); }

backend_back() { # update-service replaces the whole source: read it, change two values, send it
    "$AWS" apprunner describe-service --service-arn "$1" --output json \
        --query Service.SourceConfiguration |
        sed "s|\"ImageIdentifier\": \"[^\"]*\"|\"ImageIdentifier\": \"$2\"|
             s|\"AutoDeploymentsEnabled\": true|\"AutoDeploymentsEnabled\": false|" \
            >"$WORK/source.json"
    operation=$("$AWS" apprunner update-service --service-arn "$1" --query OperationId \
        --source-configuration "file://$WORK/source.json" --output text)
    until [ "$("$AWS" apprunner list-operations --service-arn "$1" --output text \
        --query "OperationSummaryList[?Id=='$operation'].Status")" = SUCCEEDED ]; do
        sleep 1
    done
}

answers() { # three good answers in a row, as taly asks for
    for _ in 1 2 3; do curl --fail --silent --show-error --output /dev/null "$1"; done
}

# Frontends first, functions beside them; the backend when the frontends are done.
while read -r kind one two; do
    case $kind in
    vercel) go vercel_back "$one" ;;
    netlify) go netlify_back "$one" "$two" ;;
    esac
done <"$WORK/targets"
frontends=$started
while read -r kind one two; do
    case $kind in function) go function_back "$one" "$two" ;; esac
done <"$WORK/targets"
# shellcheck disable=SC2086  # process numbers, one a word
[ "$in_parallel" = parallel ] && wait $frontends
while read -r kind one two; do
    case $kind in backend) go backend_back "$one" "$two" ;; esac
done <"$WORK/targets"
wait
while read -r kind one two; do
    case $kind in health) answers "$one" >>"$WORK/log" 2>&1 || echo "health $one" >>"$jobs_file" ;; esac
done <"$WORK/targets"
if [ -s "$jobs_file" ]; then
    cat "$jobs_file" "$WORK/log" >&2
    exit 1
fi
