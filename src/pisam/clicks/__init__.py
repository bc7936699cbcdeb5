"""Clicks: simulated on the errors of a mask, and made to be obeyed."""
