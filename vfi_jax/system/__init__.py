"""Files, processes, devices, plug-ins, counting of operations, Markdown tables."""
