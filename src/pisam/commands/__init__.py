"""The verbs of the command line, a file each; `shared.command` says how they declare themselves."""
