"""How many cores this process may use: what thread pools are sized by.

In a container, libraries count the node's cores and start a thread for each, however few the container may use; the
threads then wait for one another.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def usable_cores(*, cgroup: Path = CGROUP) -> int:
    """Cores by `OMP_NUM_THREADS` where it is set, else by affinity and the container's quota; at least 1."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdigit() and int(wanted) > 0:
        return int(wanted)
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, _quota(cgroup) or allowed))


def _quota(cgroup: Path) -> int | None:
    """Cores by the container's CPU quota (cgroup version 2, then 1), rounded up; null where there is none."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    return math.ceil(int(quota) / int(period)) if quota.isdigit() and int(quota) > 0 else None
