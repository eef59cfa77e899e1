"""Mixing sets: what makes their pictures, and what stores them."""
