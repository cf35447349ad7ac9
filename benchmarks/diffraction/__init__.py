"""Reconstructions measured: against a known particle, beside the field's programs, on made-up ones, and by size."""
