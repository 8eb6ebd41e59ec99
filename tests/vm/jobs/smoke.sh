# A few minutes on one kernel, for CI: the command itself, then the quickest marked tests.
. tests/vm/jobs/common.sh
says_which
. tests/vm/jobs/checks.sh
# no result in this time is no failure: emulation may be slow today
timeout 300 python3 -m pytest -q -p tests.vm.atonce -p no:cacheprovider -n 2 --timeout 250 \
    tests/integration/oci/test_systemd.py::test_a_scope_of_its_own_for_as_long_as_the_container_is \
    'tests/integration/oci/test_unified.py::test_values_of_v1_are_converted[systemd]' \
    tests/integration/cgroups/test_limits.py tests/integration/engine/test_run.py
status=$?
[ $status = 124 ] || check 'tests of limits, runs and knarr-oci' 0 $status
finish
