"""The layouts that a baked set can have."""
