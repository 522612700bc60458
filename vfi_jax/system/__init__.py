"""What lies below the models: files, the processes of a run, devices, counting operations, tables as text."""
