"""Webots as a simulator: worlds, the controller that runs inside Webots, and the process around it (docs/webots.md)."""
