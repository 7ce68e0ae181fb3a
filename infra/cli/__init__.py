"""The command `twinloop`. Each file is one command group; heavy imports wait until a command runs."""
