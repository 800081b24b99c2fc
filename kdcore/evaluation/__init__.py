"""Evaluation: a task's metrics, and how faithful a student is to its teacher."""
