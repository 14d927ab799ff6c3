"""C++ of the training step; each kernel runs on one processor, in the thread that calls it."""
