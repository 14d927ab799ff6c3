"""Tools to begin with: a calculator, files and a search in one folder, plots, Python."""
