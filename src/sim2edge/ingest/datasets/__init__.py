"""Convert datasets of other robot projects, LeRobot (v3) and donkeycar (tubs), to logs that ingest reads.

    with as_logs(folder, config, progress) as logs:      # the folder itself, if it holds no dataset

Each episode of a LeRobot dataset, and each uninterrupted drive of a tub, becomes one MCAP log.
`docs/datasets.md` has the formats, what is taken and what is lost.
"""
