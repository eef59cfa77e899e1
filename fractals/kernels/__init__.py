"""Every compiled loop of the package, and nothing else.

Same bytes on every processor is the contract, so here is no fastmath and no parallel sum. Divisions
by zero give inf or NaN as in IEEE 754, and points that leave are seeded again.
"""
