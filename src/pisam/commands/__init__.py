"""What each verb of the command line does, one module each; `pisam.cli` reads their arguments."""
