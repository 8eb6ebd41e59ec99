# Every test that needs a real kernel and no tools of others: an hour and more.
. tests/vm/jobs/common.sh
says_which
tests -m 'not peer and not network' tests/integration tests/contracts tests/crash
