"""The number of files and connections that this process may have open."""

import resource


def raise_limit() -> None:
    """Raise the soft limit of open descriptors to the hard limit.

    A shell's soft limit is 1024, for programs that use select(2). This one uses epoll(7).
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
