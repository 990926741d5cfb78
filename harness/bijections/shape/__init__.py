"""What rearranges, splits off, pads or rescales inputs."""
