"""The process beside the program: writes parts, samples metrics, takes over what killed processes left."""
