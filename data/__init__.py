"""The study's data files, which an installed package carries as `gvstudy_data`."""
