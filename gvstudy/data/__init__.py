"""Data sets by name, random crops of them, and downloads."""
