# README's two commands where nothing is installed but Debian's Python and make.
apt-get -o APT::Sandbox::User=root purge -y -qq busybox-static >/dev/null 2>&1 || dpkg --purge busybox-static
rm -rf "$VM_SITE"
make demo || exit 1
make demo || exit 1
# the marked part: emulation is ten times slower than a processor
make test PYTEST_ARGS="--timeout 600 -m vm -p no:cacheprovider"
