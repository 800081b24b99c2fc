"""Data: tasks, raw rows from their sources, prepared rows, token ids, batches, and the metrics of a task."""
