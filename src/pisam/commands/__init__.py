"""The verbs of the command line, a file each; `pisam.commands.command` says how they declare themselves."""
