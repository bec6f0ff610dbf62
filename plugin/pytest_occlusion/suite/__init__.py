"""What is to be run: settings, the suite's TOML, the command line's values, the grid of cells.

A suite and a command line become one frozen record (``settings``). May import the ground floor;
measures nothing and reads no data.
"""
