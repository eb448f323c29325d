"""From simulated robot drives to signed perception models on Raspberry Pi fleets, and back."""

__version__ = "0.1.0"
