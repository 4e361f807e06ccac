"""A network that misbehaves on command, for every backend that is reached over TCP."""
