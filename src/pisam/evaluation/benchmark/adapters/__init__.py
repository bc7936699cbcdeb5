"""Models of other packages as entrants of the benchmark; what they need is imported when used."""
