"""How many cores a process may use: affinity, and quotas as both versions of control groups say them."""

import os
import subprocess
import sys

import pytest

from sim2edge.cores import available_cores, count_cores, read_quotas


@pytest.mark.parametrize(
    ("affinity", "quota", "cores"),
    [(4, None, 4), (64, 2.0, 2), (64, 1.5, 2), (64, 0.1, 1), (1, 8.0, 1), (2, 2.0, 2)],
)
def test_the_smaller_of_affinity_and_quota_counts(affinity, quota, cores):
    assert count_cores(affinity, quota) == cores


def group(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def quotas(tmp_path, membership):
    (tmp_path / "membership").write_text(membership)
    return sorted(read_quotas(tmp_path / "groups", tmp_path / "membership"))


def test_version_2_in_a_container_sees_its_own_group_as_the_root(tmp_path):
    group(tmp_path / "groups", cpu__max="150000 100000\n")
    assert quotas(tmp_path, "0::/\n") == [1.5]


def test_version_2_outside_a_container_is_bound_by_outer_groups_too(tmp_path):
    group(tmp_path / "groups" / "a.slice", cpu__max="200000 100000\n")
    group(tmp_path / "groups" / "a.slice" / "b.service", cpu__max="max 100000\n")
    assert quotas(tmp_path, "0::/a.slice/b.service\n") == [2.0]


V1 = {"cpu__cfs_quota_us": "50000\n", "cpu__cfs_period_us": "100000\n"}


@pytest.mark.parametrize("name", ["cpu", "cpu,cpuacct"])
def test_version_1_in_a_container_though_its_path_is_the_one_outside(tmp_path, name):
    group(tmp_path / "groups" / name, **V1)
    assert quotas(tmp_path, f"5:cpuset:/docker/abc\n4:{name}:/docker/abc\n0::/docker/abc\n") == [0.5]


def test_version_1_without_a_quota_bounds_nothing(tmp_path):
    group(tmp_path / "groups" / "cpu", cpu__cfs_quota_us="-1\n", cpu__cfs_period_us="100000\n")
    assert quotas(tmp_path, "4:cpu:/\n") == []


@pytest.mark.parametrize("text", ["", "max", "0 0", "nonsense here"])
def test_what_cannot_be_read_bounds_nothing(tmp_path, text):
    group(tmp_path / "groups", cpu__max=text)
    assert quotas(tmp_path, "0::/\n") == []
    assert list(read_quotas(tmp_path, tmp_path / "nowhere")) == []


def test_a_process_bound_to_one_core_has_one():
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    code += "from sim2edge.cores import available_cores; print(available_cores())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1\n"
    assert 1 <= available_cores() <= len(os.sched_getaffinity(0))
