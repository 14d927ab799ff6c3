"""Published checkpoint layouts in and out: Qwen2 and Llama, Qwen-1."""
