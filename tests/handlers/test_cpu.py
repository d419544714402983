"""Which instructions a CPU has, by what its kernel says of it, and how many cores are ours."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from handlers import cpu


def info(*cores: str, key: str = "flags\t\t") -> str:
    return "\n\n".join(f"processor\t: {n}\n{key}: {said}" for n, said in enumerate(cores))


@pytest.mark.parametrize(
    ("machine", "said", "expected"),
    [
        ("x86_64", info("fpu sse2 avx2 fma"), set()),
        ("AMD64", info("fpu avx2 avx_vnni"), {"vnni"}),
        ("x86_64", info("avx512f avx512_vnni avx512_bf16"), {"vnni", "bf16"}),
        ("x86_64", info("amx_tile amx_int8 amx_bf16"), {"vnni", "bf16"}),
        ("x86_64", info("avx512_vnni avx512_bf16", "avx512_vnni"), {"vnni"}),
        ("x86_64", "", set()),
        ("aarch64", info("fp asimd i8mm bf16", key="Features\t"), {"vnni", "bf16"}),
        ("aarch64", info("fp asimd", key="Features\t"), {"vnni"}),
        ("arm64", "", {"vnni"}),
        ("ppc64le", "cpu\t\t: POWER9", {"vnni"}),
    ],
)
def test_instructions_are_found(machine: str, said: str, expected: set[str]) -> None:
    assert cpu.instructions(said, machine) == expected


def test_this_cpu_can_be_asked() -> None:
    assert cpu.instructions() <= set(cpu.FLAGS)


def test_only_what_is_needed_and_lacking_is_warned_of() -> None:
    assert cpu.warnings((), ()) == []
    assert cpu.warnings(("vnni", "bf16"), ("bf16", "vnni")) == []
    assert [("VNNI" in each, "bf16" in each) for each in cpu.warnings(("vnni",), ("bf16",))] == [
        (True, False)
    ]
    assert len(cpu.warnings(("vnni", "bf16"), ())) == len(cpu.WARNINGS) == len(cpu.FLAGS)


def test_what_a_newer_version_asks_for_is_no_error() -> None:
    assert cpu.warnings(("fp4",), ()) == []


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        ("max 100000", 8),
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("50000 100000", 1),
        ("9900000 100000", 8),
        ("nonsense", 8),
        (None, 8),
    ],
)
def test_cores_keep_to_the_containers_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str | None, expected: int
) -> None:
    monkeypatch.setattr(cpu, "CGROUP_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    if quota is not None:
        (tmp_path / "cpu.max").write_text(quota)
    assert cpu.cores() == expected
