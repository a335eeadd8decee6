"""RuDOLPH in plain PyTorch: the reference that training uses and that every backend is tested against."""
