"""Sections of the HTML report, a module each; :mod:`..html` puts them together."""
