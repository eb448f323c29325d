"""A device as a service of Debian or Raspberry Pi OS: installer, unit, launcher, and updates of the agent itself."""
