# Every test marked vm.
. tests/vm/jobs/common.sh
says_which
tests -m vm tests/integration tests/contracts tests/crash
