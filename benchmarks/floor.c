/*
 * The floor under every container start: what the kernel alone takes for it.
 *
 *   floor held|plain|volatile LOWER WORK [COUNT]
 *
 * Each round clones a process into seven new namespaces, gives it an overlay
 * over LOWER as its root, the usual /proc, /dev and /sys with masks, pivots,
 * executes /bin/true, waits and cleans up. It prints two numbers a round, in
 * nanoseconds: start to exit, and the clean-up after it.
 *
 * held keeps a descriptor of the overlay until after the exit was seen, plain
 * does not (the last unmount then syncs the upper file system within the exit),
 * volatile neither, on an overlay that is never synced.
 *
 * Kept out: control groups, capabilities, seccomp, logs, names, records.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef FSCONFIG_SET_STRING
#include <linux/mount.h>
#endif

#define FIRST_ID 100000
#define NAMESPACES (CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | \
                    CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWCGROUP)

static const char *const devices[] = {"null", "zero", "full", "random", "urandom", "tty"};
static const char *const hidden_files[] = {"/proc/kcore", "/proc/keys", "/proc/timer_list"};
static const char *const hidden_folders[] = {"/proc/acpi", "/proc/scsi", "/sys/firmware"};
static const char *const frozen[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                                     "/proc/sysrq-trigger"};
#define EACH(item, table) \
    for (size_t i_ = 0; i_ < sizeof table / sizeof *table && ((item) = table[i_], 1); i_++)

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void must(long result, const char *what)
{
    if (result < 0)
        err(1, "%s", what);
}

static void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    must(fd, path);
    must(write(fd, text, strlen(text)), path);
    close(fd);
}

/* Returns a detached overlay mount, made with the rights of the host. */
static int overlay(const char *lower, const char *work, int is_volatile)
{
    char upper[4096], scratch[4096];
    int context = syscall(SYS_fsopen, "overlay", 1 /* FSOPEN_CLOEXEC */), mount_fd;

    must(context, "fsopen overlay");
    snprintf(upper, sizeof upper, "%s/upper", work);
    snprintf(scratch, sizeof scratch, "%s/work", work);
    must(mkdir(upper, 0755), upper);
    must(mkdir(scratch, 0755), scratch);
    must(syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, "lowerdir", lower, 0), "lowerdir");
    must(syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, "upperdir", upper, 0), "upperdir");
    must(syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, "workdir", scratch, 0), "workdir");
    if (is_volatile)
        must(syscall(SYS_fsconfig, context, FSCONFIG_SET_FLAG, "volatile", NULL, 0), "volatile");
    must(syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0), "overlay");
    mount_fd = syscall(SYS_fsmount, context, 1 /* FSMOUNT_CLOEXEC */, 0);
    must(mount_fd, "fsmount");
    close(context);
    return mount_fd;
}

static void remove_overlay(const char *work)
{
    /* what the kernel itself put into the work directory, then the two of ours */
    static const char *const names[] = {"work/work/incompat/volatile/dirty",
                                        "work/work/incompat/volatile", "work/work/incompat",
                                        "work/work", "work", "upper"};
    const char *name;
    char path[4096];

    EACH(name, names) {
        snprintf(path, sizeof path, "%s/%s", work, name);
        if (remove(path) < 0 && errno != ENOENT)
            err(1, "%s", path);
    }
}

static void loopback_up(void)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    must(fd, "socket");
    must(ioctl(fd, SIOCSIFFLAGS, &request), "lo up");
    close(fd);
}

static void furnish(void)
{
    const char *item;
    char from[64], to[64];

    must(mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL), "proc");
    must(mount("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=64k"), "dev");
    must(mkdir("dev/pts", 0755), "dev/pts");
    must(mkdir("dev/shm", 0755), "dev/shm");
    must(mkdir("dev/mqueue", 0755), "dev/mqueue");
    must(mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
               "newinstance,ptmxmode=0666,mode=0620"), "devpts");
    must(mount("shm", "dev/shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=64m"), "shm");
    must(mount("mqueue", "dev/mqueue", "mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL), "mqueue");
    EACH(item, devices) {
        int fd;
        snprintf(from, sizeof from, "/dev/%s", item);
        snprintf(to, sizeof to, "dev/%s", item);
        fd = open(to, O_CREAT | O_WRONLY | O_CLOEXEC, 0666);
        must(fd, to);
        close(fd);
        must(mount(from, to, NULL, MS_BIND, NULL), to);
    }
    must(symlink("pts/ptmx", "dev/ptmx"), "ptmx");
    must(symlink("/proc/self/fd", "dev/fd"), "dev/fd");
    must(mount("sysfs", "sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, NULL), "sys");
}

static void mask(void)
{
    const char *item;

    EACH(item, hidden_files)
        if (mount("/dev/null", item, NULL, MS_BIND, NULL) < 0 && errno != ENOENT)
            err(1, "%s", item);
    EACH(item, hidden_folders)
        if (mount("tmpfs", item, "tmpfs", MS_RDONLY, "size=0k") < 0 && errno != ENOENT)
            err(1, "%s", item);
    EACH(item, frozen) {
        if (mount(item, item, NULL, MS_BIND | MS_REC, NULL) < 0 && errno == ENOENT)
            continue;
        must(mount(NULL, item, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV |
                   MS_NOEXEC, NULL), item);
    }
}

static void child(int mount_fd, int ready)
{
    char byte;
    char *const argv[] = {"true", NULL}, *const environment[] = {"PATH=/bin", NULL};

    must(read(ready, &byte, 1), "ready");
    must(setresgid(0, 0, 0), "setresgid");
    must(setresuid(0, 0, 0), "setresuid");
    must(sethostname("floor", 5), "sethostname");
    loopback_up();
    must(mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL), "slave");
    must(syscall(SYS_move_mount, mount_fd, "", AT_FDCWD, "/tmp", 4 /* F_EMPTY_PATH */), "move");
    must(chdir("/tmp"), "chdir");
    furnish();
    must(syscall(SYS_pivot_root, ".", "."), "pivot_root");
    must(umount2(".", MNT_DETACH), "umount");
    mask();
    execve("/bin/true", argv, environment);
    err(1, "execve");
}

static void map_ids(pid_t pid)
{
    char path[64], line[64];

    snprintf(line, sizeof line, "0 %d 65536\n", FIRST_ID);
    snprintf(path, sizeof path, "/proc/%d/uid_map", pid);
    write_file(path, line);
    snprintf(path, sizeof path, "/proc/%d/gid_map", pid);
    write_file(path, line);
}

static void once(const char *mode, const char *lower, const char *work)
{
    int64_t started = now(), exited;
    int ready[2], status, mount_fd = overlay(lower, work, !strcmp(mode, "volatile"));
    struct clone_args arguments = {.flags = NAMESPACES, .exit_signal = SIGCHLD};
    pid_t pid;

    must(pipe2(ready, O_CLOEXEC), "pipe");
    pid = syscall(SYS_clone3, &arguments, sizeof arguments);
    must(pid, "clone3");
    if (pid == 0)
        child(mount_fd, ready[0]);
    map_ids(pid);
    if (strcmp(mode, "held"))
        close(mount_fd);
    must(write(ready[1], "", 1), "ready");
    must(waitpid(pid, &status, 0), "wait");
    exited = now();
    if (status != 0)
        errx(1, "the child ended with status %#x", status);
    if (!strcmp(mode, "held"))
        close(mount_fd);
    close(ready[0]);
    close(ready[1]);
    remove_overlay(work);
    printf("%lld %lld\n", (long long)(exited - started), (long long)(now() - exited));
}

int main(int argc, char **argv)
{
    int count = argc > 4 ? atoi(argv[4]) : 1;

    if (argc < 4 || (strcmp(argv[1], "held") && strcmp(argv[1], "plain") &&
                     strcmp(argv[1], "volatile")))
        errx(2, "usage: floor held|plain|volatile LOWER WORK [COUNT]");
    setlinebuf(stdout);
    while (count-- > 0)
        once(argv[1], argv[2], argv[3]);
    return 0;
}
