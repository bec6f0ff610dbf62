"""How this tool compares with the straightforward way: ``python -m peers``."""
