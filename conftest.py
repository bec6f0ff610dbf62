"""This repository's wiring only: what users need is in the plugin."""

pytest_plugins = ["pytester"]
