"""The room on a page: a process of its own that listens to servers, keeps history and serves the panel."""
