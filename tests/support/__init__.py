"""Pieces that several tests need."""
