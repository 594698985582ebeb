"""The servers on KServe's ModelServer: transformer (events to vectors) and predictor (vectors to decisions)."""
