# README's two commands where nothing is installed but Debian's Python and make.
#   KNARR_VM_BARE_TESTS   what `make test` runs: folders, or "tests" for everything (hours)
apt-get -o APT::Sandbox::User=root purge -y -qq busybox-static >/dev/null 2>&1 || dpkg --purge busybox-static
rm -rf "$VM_SITE"
step() { # step COMMAND: it passes, and says how long it took
    started=$(date +%s)
    "$@" || { status=$?; echo "FAIL $*: status $status"; exit 1; }
    echo "ok   $* ($(($(date +%s) - started)) s)"
}
step make demo
step make demo
# The suite's job has the tests about the kernel; here are those about what was installed: pure
# functions and the command. Emulation is ten times slower than a processor.
step make test TESTS="${KNARR_VM_BARE_TESTS:-tests/unit tests/integration/cli}" \
    PYTEST_ARGS="--timeout 600 -p no:cacheprovider -p tests.vm.atonce"
