"""The process beside the program: drains rings into parts, samples metrics, takes over what killed processes left."""
