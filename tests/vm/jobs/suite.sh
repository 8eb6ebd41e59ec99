# Every test marked vm.
. tests/vm/jobs/common.sh
echo "kernel $(uname -r), $(stat -f -c %T /sys/fs/cgroup), pid 1 is $(cat /proc/1/comm)"
# -v: a job that is cut off has told what it did until then
python3 -m pytest -v --tb=short -p no:cacheprovider -n 2 --timeout 600 -m vm tests
