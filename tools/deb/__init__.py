"""The Debian package `netboot-classroom`: ``make deb``. Its own files are in packaging/debian."""
