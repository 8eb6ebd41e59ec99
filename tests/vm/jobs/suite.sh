# Every test marked vm.
. tests/vm/jobs/common.sh
echo "kernel $(uname -r), $(stat -f -c %T /sys/fs/cgroup), pid 1 is $(cat /proc/1/comm)"
python3 -m pytest -p no:cacheprovider -n 2 -m vm tests
