"""Training: what is drawn, how a network learns it, what is kept."""
