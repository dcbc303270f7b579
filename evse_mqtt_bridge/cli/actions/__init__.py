"""What the commands do. A command imports its action when it runs."""
