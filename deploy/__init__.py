"""What puts Holdfast on a machine."""
