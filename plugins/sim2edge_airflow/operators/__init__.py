"""Run stages, and decide about batches, trainings and releases, as Airflow tasks."""
