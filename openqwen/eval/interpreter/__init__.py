"""Our own benchmark of the code interpreter, in the categories of Tables 7 and 8 (§3.4)."""
