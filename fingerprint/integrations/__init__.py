"""The monitor inside other people's serving code. Each module needs its own extra; none is imported here."""
