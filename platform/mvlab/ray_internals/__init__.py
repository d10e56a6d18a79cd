"""Every private or undocumented API of Ray that is used. Nothing else names one; Ray is pinned to the exact version.

Each is listed with its use and with the effect of its absence. `tests/ray_internals` fails when one of them changes.
"""
