"""The compiled part: what reads bytes, makes contributions and reduces them to windows.

Integers in, integers out: every result is the same to the bit for one exchange and for ten million.
"""
