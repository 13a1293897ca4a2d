"""Networks: tensors in, distributions out. This room knows no files and no wavelengths."""
