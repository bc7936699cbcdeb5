"""Parts of commands: arguments, models, folders, prompt files; each verb is a file of the folder above."""
