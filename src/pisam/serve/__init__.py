"""`pisam serve`: sessions over HTTP, a page to click on, and what two annotation tools say to a model."""
