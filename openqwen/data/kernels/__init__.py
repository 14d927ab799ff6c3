"""C++ for the data room, and the same in Python where it can't be compiled."""
