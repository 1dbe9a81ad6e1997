"""The operator's pages: server-rendered, live, and every action a command like any other."""
