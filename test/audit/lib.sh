# Sourced by the tests of the audits. An audit that never fails proves nothing, so each is shown
# bad input and must refuse it by name, and good input, which it must accept.
set -u
top=$(realpath "$(dirname "$0")/../..")
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
failed=0
checks=0

# refuses WORDS COMMAND...: the command fails and says WORDS.
refuses() {
    words=$1
    shift
    checks=$((checks + 1))
    if "$@" >"$dir/said" 2>&1; then
        echo "accepted, but should refuse: $words"
        failed=1
    elif ! grep -qF -e "$words" "$dir/said"; then
        echo "refused, but did not say: $words"
        sed 's/^/    /' "$dir/said"
        failed=1
    fi
}

accepts() {
    checks=$((checks + 1))
    "$@" >"$dir/said" 2>&1 || {
        echo "refused good input:"
        sed 's/^/    /' "$dir/said"
        failed=1
    }
}

finish() {
    [ $failed -eq 0 ] && echo "ok, $checks checks"
    exit $failed
}
