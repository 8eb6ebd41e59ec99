# Sourced by the jobs: the `knarr` command from the sources in /src, Debian's Python.

# what `pip install --editable` would write, without pip; -I and the command see it too
printf '/src/src\n%s\n' "$VM_SITE" >/usr/lib/python3/dist-packages/knarr-sources.pth
install -m 755 /src/scripts/knarr /usr/local/bin/knarr
install -D -m 755 -t /usr/local/libexec/knarr /src/client/client-*

failures=0
check() { # check DESCRIPTION EXPECTED ACTUAL
    if [ "$2" = "$3" ]; then
        echo "ok   $1"
    else
        echo "FAIL $1: expected '$2', got '$3'"
        failures=$((failures + 1))
    fi
}
finish() {
    echo "$failures failed"
    [ "$failures" = 0 ]
}
