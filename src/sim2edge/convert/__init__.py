"""Convert a batch of episodes to a dataset of another project: LeRobot (v3), or a tub of donkeycar.

    sim2edge convert lab-1 out/ --to lerobot

The other direction is `sim2edge ingest FOLDER`. `docs/datasets.md` has the formats and what is lost.
"""
