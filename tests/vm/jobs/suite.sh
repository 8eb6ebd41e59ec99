# What a user sees of the command, then every test marked vm.
. tests/vm/jobs/common.sh
says_which
. tests/vm/jobs/checks.sh
tests -m vm tests/integration tests/contracts tests/crash
check 'every test marked vm' 0 $?
finish
