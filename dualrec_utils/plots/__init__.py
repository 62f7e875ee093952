"""Figures from data frames: one module a subject, one style for all."""
