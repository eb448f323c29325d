"""Trigger a batch in Airflow, follow its stages to the end, and summarize them."""
