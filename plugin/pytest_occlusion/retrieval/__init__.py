"""Retrieval: ranks, recall, floors, intervals, degradation.

Usable as a library on its own: imports no other room but :mod:`pytest_occlusion.errors`. Only the
rank kernel needs torch; everything after it is numpy.
"""

from __future__ import annotations
