"""Table of plain words for the steps of a start."""

from __future__ import annotations

from knarr.engine.explain.words import MOUNTS

# What the maker notes (``runtime.timeline``) -> what it is called, and what was done until then.
MAKER = {
    "request": ("request", ("the engine writes the spec down and asks the launcher, which gives "
                "the request to a supervisor and a maker that were forked ahead")),
    "group": ("control group", ("make the control group and write its limits, before there is a "
              "process to be limited")),
    "keeper": ("keeper", ("tell a process that waits in new user, network, IPC and UTS namespaces "
               "to clone the container's first process")),
    "streams": ("pipes", "make the pipes for standard input and output: they outlive a supervisor"),
    "binds": ("sources of mounts", ("take a detached clone of each directory or file that is to be "
              "mounted (open_tree)")),
    "program": ("program", ("write the steps that follow down as a program of system calls for a "
                "process that runs no Python")),
    "stamps": ("clocks", ("put a clock behind the operations of the program: only since this start "
               "is explained")),
    "process": ("first process", ("clone it into its new namespaces (clone3), or take the one that "
                "the keeper has cloned; it waits")),
    "maps": ("id maps", ("say what the ids of its user namespace are on the host (uid_map, "
             "gid_map)")),
    "root": ("root file system", ("stack the image's layers and the writable directory as a "
             "detached mount (fsopen, fsconfig, fsmount); its owners go through the id map")),
    "idmaps": ("owners of mounts", ("have the clones seen through the id map (mount_setattr), and "
               "let the process go on")),
    "bundle": ("bundle", ("mount the root file system and what is bound into it, and write the "
               "spec down, for another OCI runtime")),
    "created": ("create", ("have that runtime make the process: what it does inside it does not "
                "tell")),
    "network": ("network", ("make its interfaces, addresses and routes, and what publishes its "
                "ports, while the process goes on (rtnetlink, nf_tables)")),
    "record": ("record", ("write the container's state under a name that nobody reads yet, listen "
               "for who attaches, open the gate if the user is known")),
    "ready": ("ready", ("hear that the process has carried its steps out and has descriptors of "
              "its own")),
    "executed": ("command", ("see that the process has become the command: the channel to it has "
                 "closed with execve")),
    "told": ("published", ("give the state its name, note the event, tell the supervisor that the "
             "container runs")),
}  # fmt: skip

# Parts of the last leg.
PARTS = {
    "label": "tell the security module which label the command gets",
    "stdio": "begin a session; put pipes or terminal on descriptors 0, 1 and 2",
    "settings": "set resource limits, scheduling and umask",
    "keep": "close every descriptor that is not the command's",
    "drop": "take capabilities out of the bounding set: nothing that it executes can get them",
    "user": "leave the caller's keys behind and become the command's user and groups",
    "cwd": "enter the working directory, and prove that it lies inside the root",
    "able": "have the command's capabilities for the look at its file",
    "find": "look for the command, in PATH where it is a bare name",
    "arguments": "put the arguments together",
    "signals": "give every signal its default action and unblock all",
    "confine": "load the system call filter and set the five capability sets: from here on there "
    "are no times, as the filter might forbid to ask for them",
    "execute": "become the command (execve)",
}

_STEPS = (
    ("create", ("be cloned by the keeper, let nobody look into it, ask to die with its parent, and "
     "wait")),
    ("cgroup", "enter the control groups by its own hand: it writes 0 to cgroup.procs"),
    ("prepare", ("wait for id maps and root, become root of the user namespace, make a cgroup "
     "namespace in which its own group is the root")),
    ("mount tree", ("cut its copy of the mount tree off: what is mounted here reaches the host no "
     "more")),
    ("attach root", "attach the root file system, so that others can be mounted in it"),
    ("host name", "set the host name of the new UTS namespace"),
    ("loopback", "set lo up: a new network namespace begins with it down"),
    ("bind", "make something of the host visible, through the clone that was taken outside"),
    ("device", "put a device node there: made, or in a user namespace the host's"),
    ("links", "make the links that programs expect in /dev"),
    ("console", "make the terminal in the container's own devpts"),
    ("user", "read passwd and group of the image, where the user has to be looked up"),
    ("working directory", "make the working directory where the image has none"),
    ("sysctl", "set kernel parameters of its own namespaces, through a procfs known to be one"),
    ("read-only", "mount these paths on themselves, read-only"),
    ("mask", "cover these paths: a directory by an empty tmpfs, a file by /dev/null"),
    ("root file system", "settle how the root is mounted, now that all below it is"),
    ("remount", "change the options of what is mounted there already"),
    ("pivot root", "make the new root the only one; the host's tree is gone from here"),
    ("ready", ("get a table of descriptors of its own, say so, and wait at the gate until the "
     "start is recorded")),
)  # fmt: skip


def of_step(name: str, part: str) -> str:
    """Return plain words for a step of the program, by its name; empty for one not known."""
    if part in PARTS:
        return PARTS[part]
    if name.startswith("mount ") and " on " in name:
        place = name.split(" on ", 1)[1].split(" ", 1)[0]
        words = MOUNTS.get(place)
        return f"mount a new file system: {words}" if words else "mount a new file system"
    return next((words for begin, words in _STEPS if name.startswith(begin)), "")


def title(name: str, part: str) -> str:
    """Return what a step of the program is called: the last leg's by its part."""
    return part or name
