"""Distil a fine-tuned transformer classifier into a shallower one by matching its internal representations.

Implements *Knowledge Distillation from Internal Representations* (Aguilar et al., AAAI 2020).
"""
