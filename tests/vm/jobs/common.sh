# Sourced by the jobs: the `knarr` command from the sources in /src, Debian's Python.

# what `pip install --editable` would write, without pip; -I and the command see it too
printf '/src/src\n%s\n' "$VM_SITE" >/usr/lib/python3/dist-packages/knarr-sources.pth
install -m 755 /src/scripts/knarr /usr/local/bin/knarr
install -D -m 755 -t /usr/local/libexec/knarr /src/client/client-* /src/client/readonly/readonly-*

says_which() {
    echo "kernel $(uname -r), $(stat -f -c %T /sys/fs/cgroup), pid 1 is $(cat /proc/1/comm)"
}

tests() { # tests WORDS FOR PYTEST; a job that is cut off has told what it did until then
    python3 -m pytest -v -p tests.vm.atonce --tb=short -p no:cacheprovider -n 2 --timeout 600 \
        --durations 15 "$@"
}

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
