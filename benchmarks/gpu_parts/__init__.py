"""The parts of ``python benchmarks/gpu.py``, and what they write down."""
