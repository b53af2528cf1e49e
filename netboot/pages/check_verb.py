"""The verb by which a server checks the program that is to replace it.

Apart from netboot.pages.upgrade, because each start of the command line makes this verb.
"""

CHECK_VERB = "can-serve"  # releases since 0.2.0 check each other with it
WORDS = "NETBOOT_SERVE_WORDS"  # in that verb's environment: the server's command line, as JSON
