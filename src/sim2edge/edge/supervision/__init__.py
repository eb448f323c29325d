"""Start, watch and end the detectors, hand over between them, and tell systemd."""
