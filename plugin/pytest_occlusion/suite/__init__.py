"""What is to be run: settings, the suite's TOML, the command line's values, the grid of cells.

Each setting is described once (``table``), from which options, reading and checks come; a suite
(``suites``) and a command line are merged (``merge``) into one frozen record (``settings``). May
import the ground floor, the table nothing at all; measures nothing and reads no data.
"""
