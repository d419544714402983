"""What a server takes of the machine that it runs on: a plan, a folder, ports, processes."""
