"""What is packaged: the compressed grid, the models, the registry of inputs."""
