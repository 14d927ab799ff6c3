"""What is applied to a model from outside: mesh, tensor and context parallel, recompute, FSDP."""
