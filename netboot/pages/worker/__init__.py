"""The process that moves pages: connections, hot loop, fairness, link to the control plane."""
