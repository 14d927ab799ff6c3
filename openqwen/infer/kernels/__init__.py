"""C++ for decoding and quantised layers on the CPU; everything works without it, slower."""
