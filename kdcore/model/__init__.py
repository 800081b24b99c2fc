"""Encoders: capture, layers, how a student is built from its teacher, and what a pass costs."""
