"""Rules that watch a recorded service: what they are, when they fire, and where that is sent."""
