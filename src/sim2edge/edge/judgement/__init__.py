"""Judge releases: by their self-test before they run, by evidence tied to one trial while they run."""
