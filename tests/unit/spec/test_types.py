"""The types of the OCI specs exist for the type checker and cost nothing at run time."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest


@pytest.mark.parametrize("name", ["types", "image"])
def test_importing_defines_nothing(name: str) -> None:
    module = importlib.import_module(f"knarr.spec.{name}")
    assert [key for key in vars(module) if not key.startswith("__")] == ["TYPE_CHECKING"]


def test_all_members_of_the_runtime_spec_are_named() -> None:
    path = Path(str(importlib.import_module("knarr.spec.types").__file__))
    classes = {
        node.name: {
            item.target.id
            for item in node.body
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
        }
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    }
    assert classes["Linux"] == {
        "uidMappings", "gidMappings", "sysctl", "resources", "cgroupsPath", "namespaces",
        "devices", "netDevices", "seccomp", "rootfsPropagation", "maskedPaths", "readonlyPaths",
        "mountLabel", "intelRdt", "memoryPolicy", "personality", "timeOffsets",
    }  # fmt: skip
    assert classes["Process"] == {
        "terminal", "consoleSize", "user", "args", "env", "cwd", "capabilities", "rlimits",
        "noNewPrivileges", "apparmorProfile", "oomScoreAdj", "scheduler", "selinuxLabel",
        "ioPriority", "execCPUAffinity",
    }  # fmt: skip
    assert classes["Resources"] == {
        "devices", "memory", "cpu", "pids", "blockIO", "hugepageLimits", "network", "rdma",
        "unified",
    }  # fmt: skip
    assert classes["Hooks"] == {
        "prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop",
    }  # fmt: skip
