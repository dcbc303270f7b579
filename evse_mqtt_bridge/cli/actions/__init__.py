"""The actions of the commands. A command imports its action when it runs."""
