"""The steps of the pipeline of site models: shards of readings in, a live version for every site that passed out."""
