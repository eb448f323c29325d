"""Run the demonstration: one batch through the whole loop, then a virtual device that runs the release."""
