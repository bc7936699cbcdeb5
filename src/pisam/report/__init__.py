"""A benchmark's results as one static page with pictures, figures and tables."""
