"""What one PC boots, decided: architectures, attempts, the plan, scripts, tickets. Pure."""
