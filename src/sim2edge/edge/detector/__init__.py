"""Run one release as a process: camera, model, HTTP interface, and its report to the agent."""
