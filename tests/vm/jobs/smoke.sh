# A few minutes on one kernel, for CI: the command itself, then the quickest marked tests.
. tests/vm/jobs/common.sh
says_which
. tests/vm/jobs/checks.sh
# no result in this time is no failure: emulation may be slow today
timeout 300 python3 -m pytest -q -p tests.vm.atonce -p no:cacheprovider -n 2 --timeout 250 \
    tests/integration/cgroups/test_limits.py tests/integration/engine/test_run.py
status=$?
[ $status = 124 ] || check 'tests of limits and runs' 0 $status
finish
