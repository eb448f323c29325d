"""Talk to the update server: metadata and bundles from it, signed statuses to it, its time, who this device is."""
