"""One narrow call: (model, corpus, conditions) -> ranks.

``session`` is its door: a cell asks it for a result. ``pipeline`` measures: radiographs become
canvases (``drawing``), canvases are blocked and become embeddings (``embedding``), embeddings
become ranks, each through the ``store``. May import ``suite`` and the ground floor; knows nothing
of pytest.
"""
