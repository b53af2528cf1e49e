"""The number of files and connections that this process may have open."""

import resource

# Some programs and containers allow 2^30, for which the kernel would keep a table.
MOST = 1 << 20


def raise_limit() -> None:
    """Raise the soft limit of open descriptors to the hard limit, or to ``MOST``.

    A shell's soft limit is 1024, for programs that use select(2). This one uses epoll(7).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def limit() -> int:
    """Return how many descriptors this process may have open, ``MOST`` if there is no limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if soft == resource.RLIM_INFINITY else min(soft, MOST)
