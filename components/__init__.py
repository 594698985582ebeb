"""The tasks of the pipelines: one thin component a file, whose body calls one function of vigil."""
