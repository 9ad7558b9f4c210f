"""Data: read any source, check it, publish it in one Parquet schema with a card; load it; mix datasets for training."""
