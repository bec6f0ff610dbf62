"""Reporting: records that cross process borders, and what is made of them."""
