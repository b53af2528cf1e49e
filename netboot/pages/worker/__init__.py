"""The process that moves pages: connections, the hot loop, fairness, its link to the control plane."""
