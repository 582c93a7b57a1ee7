"""The parts of bench: libraries that are generated, dumps, the machine, mounts, the table."""
