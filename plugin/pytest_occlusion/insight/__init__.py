"""Questions beyond recall: the paper's claims, and which places of a radiograph matter.

Everything is answered from what the engine measured. May import ``engine`` and the rooms below it.
Gives: ``claims``, and ``maps`` on ``sensitivity``.
"""
