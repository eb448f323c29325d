"""Define the Airflow tasks: run stages, register batches, start trainings, approve releases."""
