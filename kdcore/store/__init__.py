"""Where runs are kept and who works on which: a folder with file locks, or a bucket with leases and a cache here."""
