"""Code behind the notebooks of the DUALRec study."""
