"""The decisions of one PC's boot: architecture, loader, plan, scripts and tickets. Pure."""
