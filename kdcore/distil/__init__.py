"""Distillation: losses, schedules, the teacher's signals, and the loop that trains teacher and students."""
