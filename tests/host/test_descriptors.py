"""The limit of open files."""

import resource

from netboot.host.descriptors import MOST, limit, raise_limit


def test_the_soft_limit_becomes_the_hard_one() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    try:
        raise_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (min(hard, MOST), hard)
        assert limit() == min(hard, MOST)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
