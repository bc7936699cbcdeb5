"""The models of a comparison, trained and loaded, behind one interface."""
