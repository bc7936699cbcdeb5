"""Scores of masks at original size: functions of one pair, sums over data sets, and how a number was made."""
