"""Keep releases, state and keys on a card that may fail, fill up, rot or lose power at any time."""
