"""What is checked and measured on one card: `make gpu`."""
